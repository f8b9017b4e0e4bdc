//! The interface as it comes and goes, and what that means for the addresses.

use avamgr_core::node::Report;

use super::{Phase, Task};

impl Task {
    pub(super) async fn link_changed(&mut self) {
        self.announcer.close();
        self.responder = None;
        self.rivals = None;
        let obstacle = self.obstacle();
        match (self.phase, obstacle) {
            (Phase::Down, _) => self.say_ability().await,
            (Phase::Starting, Some(why)) => self.start_failed(why).await,
            (Phase::Up, Some(_)) => {
                self.mending.link_was_away = true;
                if self.said.take().is_some() {
                    self.report(Report::Failed(self.loss())).await;
                }
            }
            (Phase::Starting | Phase::Up, None) => {
                // Another hardware address is told like a link that was away.
                self.mending.link_was_away = true;
                self.mend_routes_soon();
                self.mend_soon();
                if let Err(error) = self.open_sockets() {
                    self.report(Report::Notice(format!("could not announce: {error}"))).await;
                }
                let was_lost = self.phase == Phase::Up && self.said.is_none();
                self.say_ability().await;
                if was_lost {
                    self.report(Report::Well(format!("the link of {}", self.name))).await;
                }
            }
        }
    }

    /// What keeps addresses from being of use on the interface.
    pub(super) fn obstacle(&self) -> Option<String> {
        let name = &self.name;
        match &self.link {
            None => Some(format!("interface {name} does not exist")),
            Some(link) if !link.up => Some(format!("interface {name} is down")),
            Some(link) if !link.carrier => Some(format!("interface {name} has no carrier")),
            Some(_) => None,
        }
    }

    /// The same as something that has just happened.
    fn loss(&self) -> String {
        let name = &self.name;
        match &self.link {
            None => format!("interface {name} disappeared"),
            Some(link) if !link.up => format!("interface {name} went down"),
            Some(_) => format!("interface {name} lost its carrier"),
        }
    }

    pub(super) async fn say_ability(&mut self) {
        let ability = self.obstacle().map_or(Ok(()), Err);
        if self.said.as_ref() == Some(&ability) {
            return;
        }
        self.said = Some(ability.clone());
        self.report(ability.map_or_else(Report::Unable, |()| Report::Able)).await;
    }
}
