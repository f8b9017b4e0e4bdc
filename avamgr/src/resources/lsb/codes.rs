//! Exit codes of init scripts, exactly as the Linux Standard Base (3.1 to 5.0, "Init Script Actions") defines them.

use std::fmt;

use crate::process::Exit;

/// What `status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 0.
    Running,
    /// 1: dead, its pid file is still there.
    DeadPidFile,
    /// 2: dead, its lock file is still there.
    DeadLockFile,
    /// 3.
    NotRunning,
    /// 4, a reserved code, or a signal: nobody knows.
    Unknown(Exit),
}

impl Status {
    /// Whether it certainly does not run.
    pub(crate) fn dead(self) -> bool {
        match self {
            Self::DeadPidFile | Self::DeadLockFile | Self::NotRunning => true,
            Self::Running | Self::Unknown(_) => false,
        }
    }
}

impl From<Exit> for Status {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(0) => Self::Running,
            Exit::Code(1) => Self::DeadPidFile,
            Exit::Code(2) => Self::DeadLockFile,
            Exit::Code(3) => Self::NotRunning,
            Exit::Code(_) | Exit::Signal { .. } | Exit::Unknown | Exit::ShimLost => Self::Unknown(exit),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("0: running"),
            Self::DeadPidFile => f.write_str("1: dead, its pid file is still there"),
            Self::DeadLockFile => f.write_str("2: dead, its lock file is still there"),
            Self::NotRunning => f.write_str("3: not running"),
            Self::Unknown(Exit::Code(4)) => f.write_str("4: unknown"),
            Self::Unknown(Exit::Code(code)) => write!(f, "{code}: {}", reserved(*code)),
            Self::Unknown(exit) => write!(f, "unknown, the script {exit}"),
        }
    }
}

/// What an exit of any other action means: 0 is success.
pub(crate) fn explain(exit: Exit) -> String {
    let Exit::Code(code) = exit else {
        return exit.to_string();
    };
    let words = match code {
        0 => "success",
        1 => "generic or unspecified error",
        2 => "invalid or excess arguments",
        3 => "action not implemented",
        4 => "insufficient privileges",
        5 => "program not installed",
        6 => "program not configured",
        7 => "program not running",
        _ => reserved(code),
    };
    format!("exited with status {code}: {words}")
}

fn reserved(code: i32) -> &'static str {
    match code {
        5..=99 => "reserved by the LSB",
        126 => "the shell found a command that it may not run",
        127 => "the shell did not find a command",
        100..=149 => "reserved for the distribution",
        150..=199 => "the script's own code",
        _ => "reserved",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_status_means_what_the_standard_says() {
        let dead: Vec<i32> = (0..=255).filter(|code| Status::from(Exit::Code(*code)).dead()).collect();
        assert_eq!(dead, [1, 2, 3]);
        let running: Vec<i32> = (0..=255).filter(|code| Status::from(Exit::Code(*code)) == Status::Running).collect();
        assert_eq!(running, [0]);
        assert!(!Status::from(Exit::Signal { number: 9, core: false }).dead());
        assert!(!Status::from(Exit::Unknown).dead());
    }

    #[test]
    fn codes_of_actions_are_explained_in_words() {
        let words =
            ["generic", "arguments", "not implemented", "privileges", "not installed", "not configured", "not running"];
        for (code, word) in (1..).zip(words) {
            assert!(explain(Exit::Code(code)).contains(word), "{code}: {}", explain(Exit::Code(code)));
        }
        assert!(explain(Exit::Code(127)).contains("shell"));
        assert!(explain(Exit::Code(151)).contains("own"));
    }
}
