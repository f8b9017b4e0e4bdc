//! How both programs end.

/// What the exit code says. The numbers are a promise to scripts: docs/exit-codes.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was done, or shown.
    Done,
    /// It was begun and failed, or a check found an error.
    Failed,
    /// The command line is wrong.
    Usage,
    /// It was not begun: not permitted, or something stands in the way.
    Refused,
    /// The daemon cannot be reached or does not answer: how things stand is UNKNOWN.
    Unreachable,
    /// The config is invalid.
    ConfigInvalid,
}

impl Exit {
    /// Its number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::ConfigInvalid => 5,
        }
    }
}
