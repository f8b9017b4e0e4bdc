//! What callers may say: names that could be somebody's, and nothing else, find their way into log and history.

use std::path::Path;

use avamgr_core::control::{Command, FenceVerb, ResourceVerb};
use avamgr_core::courier;

/// Longest name a caller may use, `group/resource` included.
const NAME_BYTES_MAX: usize = 256;

/// The verb alone: none of the caller's own text.
pub(super) fn verb(command: &Command) -> &'static str {
    match command {
        Command::Switchover { .. } => "switchover",
        Command::Offline { .. } => "offline",
        Command::Online => "online",
        Command::Maintenance { .. } => "maintenance",
        Command::Fence { verb: FenceVerb::Shoot, .. } => "fence now",
        Command::Fence { verb: FenceVerb::Confirm, .. } => "fence confirm",
        Command::Fence { verb: FenceVerb::Clear, .. } => "fence clear",
        Command::ConfirmVoters => "voters confirm",
        Command::ResetTerm { .. } => "term reset",
        Command::Upgrade { .. } => "upgrade",
        Command::Resource { verb: ResourceVerb::Start, .. } => "resource start",
        Command::Resource { verb: ResourceVerb::Stop, .. } => "resource stop",
        Command::Resource { verb: ResourceVerb::Restart, .. } => "resource restart",
        Command::Resource { verb: ResourceVerb::Clear, .. } => "resource clear",
    }
}

/// Why a command of `who` cannot mean anything, whatever the config says.
pub(super) fn nonsense(command: &Command, who: &str) -> Option<String> {
    let names = match command {
        Command::Switchover { group, to, dry_run: _ } => [group.as_deref(), to.as_deref()],
        Command::Resource { resource, verb: _ } => [Some(resource.as_str()), None],
        Command::Upgrade { binary } => [binary.as_deref().and_then(Path::to_str), None],
        Command::Fence { node, verb: _ } => [Some(node.as_str()), None],
        Command::ResetTerm { group } => [group.as_deref(), None],
        Command::Offline { .. } | Command::Online | Command::Maintenance { .. } | Command::ConfirmVoters => {
            [None, None]
        }
    };
    cannot_be(verb(command), names.into_iter().flatten().chain([who]))
}

/// The same of an order about the rules.
pub(super) fn nonsense_about_rules(order: &courier::Request, who: &str) -> Option<String> {
    let name = match order {
        courier::Request::Diff { peer: name } | courier::Request::Settle { name } => name.as_deref(),
        courier::Request::Restore { name } => Some(name.as_str()),
        courier::Request::Status | courier::Request::Resync { .. } | courier::Request::Kept { .. } => None,
    };
    cannot_be("rules-sync", name.into_iter().chain([who]))
}

fn cannot_be<'a>(verb: &str, mut names: impl Iterator<Item = &'a str>) -> Option<String> {
    let bad = |name: &str| name.len() > NAME_BYTES_MAX || name.chars().any(is_unprintable);
    names.any(bad).then(|| {
        format!("{verb}: a name is longer than {NAME_BYTES_MAX} bytes or cannot be printed: nothing is called that")
    })
}

/// Control characters steer the terminal of whoever reads them; so do marks that turn the direction of a text.
pub(crate) fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str) -> Command {
        Command::Resource { resource: name.to_owned(), verb: ResourceVerb::Stop }
    }

    #[test]
    fn only_names_that_could_be_somebodys_pass() {
        assert_eq!(nonsense(&resource("dre/traffic"), "root"), None);
        assert_eq!(nonsense(&resource("größe-1"), "alice at ::1 through web"), None);
        assert_eq!(nonsense(&Command::Online, "root"), None);
        for bad in ["a\x1b[2Jb", "a\nb", "\u{202e}evil", &"x".repeat(257)] {
            let why = nonsense(&resource(bad), "root").unwrap();
            assert!(why.starts_with("resource stop: a name") && !why.contains(bad), "{why}");
            let to = Command::Switchover { group: None, to: Some(bad.to_owned()), dry_run: true };
            assert!(nonsense(&to, "root").is_some());
            assert!(nonsense(&Command::Online, bad).is_some());
        }
    }
}
