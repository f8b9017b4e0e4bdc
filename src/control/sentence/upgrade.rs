//! An upgrade, step by step.

use crate::control::words::duration;
use crate::node::event::{Severity, UpgradeStep};

impl UpgradeStep {
    pub(crate) fn severity(&self) -> Severity {
        match self {
            Self::Announced { .. } | Self::Begun | Self::Done { moved: false, .. } => Severity::Info,
            Self::GivenUp { .. } | Self::Done { moved: true, .. } => Severity::Warning,
        }
    }

    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Announced { binary, absence } => {
                let binary = binary.as_ref().map_or(String::new(), |path| format!(" to {path}"));
                let absence = duration(*absence);
                format!("upgrade{binary}: the others are told that this daemon may be silent for {absence}")
            }
            Self::GivenUp { reason } => format!("upgrade given up: {reason}; nothing has changed"),
            Self::Begun => "upgrade: everybody knows; the program is replaced, everything runs on".to_owned(),
            Self::Done { from, to, silence, moved } => {
                let what = if from == to {
                    format!("restarted in place, version {to}")
                } else {
                    format!("upgraded from version {from} to {to}")
                };
                let moved = if *moved { "not everything was as it had been left" } else { "nothing moved" };
                format!("{what}: silent for {}, {moved}", duration(*silence))
            }
        }
    }
}
