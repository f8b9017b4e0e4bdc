//! What a resource hears: the kernel's news, questions of neighbours, claims of others. And what it does when it is deaf.

use std::time::Duration;

use avamgr_core::node::Report;

use super::{Phase, RETRY, Task};
use crate::clock;
use crate::neighbours::{self, Responder, Rivals};
use crate::netlink::{self, Change, Scope, Watcher};

/// From a claim of somebody else to our announcement.
const DEFEND_AFTER: Duration = Duration::from_secs(1);
/// From one such announcement to the next (RFC 5227, section 2.4).
const DEFEND_PAUSE: Duration = Duration::from_secs(10);

impl Task {
    /// Sockets for the interface as it is now.
    pub(super) fn open_sockets(&mut self) -> Result<(), neighbours::Error> {
        self.responder = None;
        self.rivals = None;
        if let Some(link) = &self.link {
            self.announcer.open(link)?;
            self.responder = Responder::open(link, &self.wanted.ranges)?;
            let addresses: Vec<_> = self.wanted.addresses.iter().map(|net| net.address).collect();
            self.rivals = Rivals::open(link, &addresses)?;
        }
        Ok(())
    }

    pub(super) async fn deaf(&mut self, error: &netlink::Error) {
        self.watcher = None;
        self.listen_again = Some(clock::now() + RETRY);
        self.report(Report::Notice(format!("does not see changes of {}: {error}", self.name))).await;
    }

    pub(super) async fn listen_again(&mut self) {
        self.listen_again = None;
        match Watcher::open(&self.name, Scope::Everything).await {
            Ok(watcher) => {
                let link = watcher.link().cloned();
                self.watcher = Some(watcher);
                if link != self.link {
                    self.changed(Change::Link(link)).await;
                }
                self.changed(Change::Missed).await;
            }
            Err(error) => self.deaf(&error).await,
        }
    }

    /// Somebody else claims an address of ours: the neighbours now look for it there. A moment later all is announced
    /// again; not at once, because a node that takes over rightly would lose its clients to us until we let go. Two that
    /// both insist would only make the clients move to and fro, so not often either.
    pub(super) async fn claimed(&mut self, claim: neighbours::Claim) {
        let now = clock::now();
        let rested = self.defended.is_none_or(|before| now.since(before) > DEFEND_PAUSE);
        if self.phase != Phase::Up || !rested || neighbours::is_own(&mut self.netlink, claim.mac).await.unwrap_or(true)
        {
            return;
        }
        self.defended = Some(now);
        self.second_burst = Some(now + DEFEND_AFTER);
        let notice = format!("{} is claimed by {} on {}; announced again", claim.address, claim.mac, self.name);
        self.report(Report::Notice(notice)).await;
    }

    pub(super) async fn mute(&mut self, error: &neighbours::Error) {
        self.responder = None;
        self.rivals = None;
        // An interface that went down takes its sockets' right to receive with it; its return opens new ones.
        if !matches!(error, neighbours::Error::Down { .. } | neighbours::Error::Missing { .. }) {
            self.report(Report::Notice(format!(
                "does not hear its neighbours, and does not answer for IPv6 ranges: {error}"
            )))
            .await;
        }
    }
}

pub(super) async fn listen(watcher: Option<&mut Watcher>) -> Result<Change, netlink::Error> {
    match watcher {
        Some(watcher) => watcher.next().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn serve(responder: Option<&Responder>) -> neighbours::Error {
    match responder {
        Some(responder) => responder.serve().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn rival(rivals: Option<&mut Rivals>) -> Result<neighbours::Claim, neighbours::Error> {
    match rivals {
        Some(rivals) => rivals.next().await,
        None => std::future::pending().await,
    }
}
