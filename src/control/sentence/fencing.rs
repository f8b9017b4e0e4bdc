//! Sentences about nodes that are turned off from outside.

use super::Speaker;
use crate::config::Rejoin;
use crate::control::words::duration;
use crate::node::event::Fencing;

impl Speaker<'_> {
    pub(super) fn fencing(&self, fencing: &Fencing) -> String {
        match fencing {
            Fencing::Begun { node } => format!("{} is being turned off by its fence devices", self.node(*node)),
            Fencing::Fenced { node, how } => {
                let node = self.node(*node);
                let until = match self.config.fencing.rejoin {
                    Rejoin::Clear => format!("it stays out until `avamgr fence clear {node}`"),
                    Rejoin::Auto => "it may take part again as soon as it is back".to_owned(),
                };
                format!("{node} is off: {how}; {until}")
            }
            Fencing::Failed { node, reason } => {
                let node = self.node(*node);
                format!(
                    "{node} could not be turned off, so nothing that it may own is taken over: {reason} (when you have seen to \
                     it yourself that it is off: `avamgr fence confirm {node}`)"
                )
            }
            Fencing::Lied { node } => format!(
                "{} is heard although its fence device says that it is off: the device is not believed, check its wiring and \
                 its options",
                self.node(*node)
            ),
            Fencing::Recovered { node } => format!("{} can be counted on again to be off or on", self.node(*node)),
            Fencing::Cleared { node } => format!("{} may take part again after it was fenced", self.node(*node)),
            Fencing::Outcast { by } => {
                let by = self.node(*by);
                format!("{by} had this node turned off: it takes nothing over until `avamgr fence clear` there")
            }
            Fencing::Readmitted { by } => format!("{} lets this node take part again", self.node(*by)),
            Fencing::Unfed { resource, within } => format!(
                "{} could not be brought down and others may have it: the watchdog is not fed any more and resets this machine \
                 within {}",
                self.resource(*resource),
                duration(*within)
            ),
            Fencing::Fed => "everything is down after all: the watchdog is fed again".to_owned(),
        }
    }
}
