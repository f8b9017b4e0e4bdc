//! Rules about the replication of directories: none in another, a group that exists, and somebody to replicate to.

use crate::config::error::{Finding, Findings, Place};
use crate::config::file::{File, Link, Rules};
use crate::config::keys::nearest;
use crate::config::reader::Placed;
use crate::config::value::overlap;

pub(super) fn check(file: &File, findings: &Findings<'_>) {
    let Some(rules) = &file.rules else { return };
    directories(rules, findings);
    group(rules, file, findings);
    way(rules, file, findings);
}

/// Rules travel over IP, which TIPC is not.
fn way(rules: &Rules, file: &File, findings: &Findings<'_>) {
    let neutral = file.arbitrator.as_ref().is_some_and(|found| found.neutral.is_some());
    if !file.links.is_empty() && file.links.iter().all(Link::is_tipc) && !neutral {
        let rule = "needs a way with IP addresses: every dedicated link is over TIPC, and there is no neutral path";
        let hint = "add address = { ... } to [arbitrator], or a [[link]] over UDP";
        findings.put(Finding::conflict(&rules.place, rule).without_value().hint(hint));
    }
}

/// What lies in two directories would be replicated as two files that change each other, and what we write down about it
/// would be replicated itself.
fn directories(rules: &Rules, findings: &Findings<'_>) {
    let mut ordered: Vec<(&String, &Placed<String>)> =
        rules.directories.iter().map(|(name, path)| (name, path)).collect();
    ordered.sort_by_key(|(_, path)| path.place.span);
    for (index, (name, path)) in ordered.iter().enumerate() {
        if let Some((other, first)) = ordered[..index].iter().find(|(_, first)| overlap(first, path)) {
            let rule = format!("must neither be the directory `{other}`, nor lie in it or hold it: {}", first.value);
            let hint = format!("leave `{name}` or `{other}` out: what is below a directory is replicated as well");
            findings.put(Finding::conflict(&path.place, rule).related(&first.place, "the other one").hint(hint));
        }
        if let Some(own) = rules.state_dir.as_ref().filter(|own| overlap(own, path)) {
            let rule = format!("must be apart from `state_dir`: {}", own.value);
            let hint = "what is kept of the rules lies there, and must not be replicated with them";
            findings.put(Finding::conflict(&path.place, rule).related(&own.place, "the state").hint(hint));
        }
    }
}

/// Where there are groups, one that is not among them does not exist.
fn group(rules: &Rules, file: &File, findings: &Findings<'_>) {
    let Some(named) = &rules.group else { return };
    let names: Option<Vec<&str>> = file.groups.iter().map(|group| Some(group.name.as_ref()?.as_str())).collect();
    // One whose name could not be read may be the one that is meant.
    let Some(names) = names else { return };
    if names.is_empty() || names.contains(&named.as_str()) {
        return;
    }
    let hint = match nearest(named, names.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("the groups are {}", names.join(", ")),
    };
    findings.put(Finding::conflict(&named.place, "must be a [[group]]").hint(hint));
}

/// What replication cannot do without: another node, a link to it, and something to replicate.
pub(super) fn counts(file: &File, findings: &Findings<'_>) {
    let at = |key: &str| Place { key: key.to_owned(), ..Place::default() };
    let say = |place: &Place, rule: &str, hint: &str| {
        findings.put(Finding::conflict(place, rule).without_value().hint(hint));
    };
    if file.cluster.standalone {
        let rule = "leaves nobody to replicate rules to";
        let finding = Finding::conflict(&file.cluster.standalone_place, rule);
        findings.put(finding.hint("leave it out, or do not run rules-sync"));
    }
    super::two_nodes(file, "name the other node: rules are replicated to it", findings);
    if file.links.is_empty() {
        let rule = "must be there: rules travel over dedicated links";
        say(&at("link"), rule, "add a [[link]] table with the address of each node");
    }
    if file.rules.is_none() {
        let rule = "is missing: there is nothing to replicate";
        say(&at("rules"), rule, "add a [rules] table with directories = { re = \"$RE_CONFDIR\" }");
    }
}
