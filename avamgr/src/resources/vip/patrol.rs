//! Where nothing of the resource should be, a look now and then whether it is so: an address that somebody puts on a node
//! whose group is elsewhere is on two nodes. The decision is told, and orders a stop unless an operator wants hands off.

use avamgr_core::config::IpNet;
use avamgr_core::node::Report;

use super::Task;
use super::plan::list;
use crate::clock;

impl Task {
    pub(super) fn patrol_later(&mut self) {
        self.patrol = clock::now() + self.timers.guard_lifetime;
    }

    pub(super) async fn look_for_strays(&mut self) {
        self.patrol_later();
        let ground = match self.ground().await {
            Ok(ground) => ground,
            Err(why) => {
                if !std::mem::replace(&mut self.in_trouble, true) {
                    let notice = format!("cannot look whether {} is free of it: {why}", self.name);
                    self.report(Report::Notice(notice)).await;
                }
                return;
            }
        };
        self.in_trouble = false;
        if let Some((index, strays)) = self.leaving(&ground).first_key_value() {
            self.has_strays = true;
            let nets: Vec<IpNet> = strays.iter().map(|present| present.net).collect();
            let found = format!("{} is on {} without an order", list(&nets), ground.name(*index));
            self.report(Report::Stray(found)).await;
        } else if std::mem::take(&mut self.has_strays) {
            self.report(Report::Gone(format!("nothing of it is on {} any more", self.name))).await;
        }
    }
}
