//! The way from every task to the loop.

use avamgr_core::cluster::ResourceId;
use avamgr_core::node::{Input, Report};
use tokio::sync::mpsc;

/// Inputs that may wait for the loop: far more than all tasks together have under way.
const DEPTH: usize = 4096;

/// The sending side; every task has one.
#[derive(Clone, Debug)]
pub struct Inputs(mpsc::Sender<Input>);

/// A pair of ends.
pub fn channel() -> (Inputs, mpsc::Receiver<Input>) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    (Inputs(sender), receiver)
}

impl Inputs {
    /// Hands over an input that must not be lost; waits while the loop is behind. An ended loop swallows it.
    pub async fn send(&self, input: Input) {
        // The loop ends only with the daemon: nobody is left who would want to know.
        let _ = self.0.send(input).await;
    }

    /// As [`Self::send`], from a thread that has no runtime.
    pub fn send_blocking(&self, input: Input) {
        let _ = self.0.blocking_send(input);
    }

    /// Hands over an input that may be lost under pressure (heartbeats, verdicts). `false` = dropped.
    pub fn offer(&self, input: Input) -> bool {
        self.0.try_send(input).is_ok()
    }

    /// Hands over a resource's report.
    pub async fn report(&self, resource: ResourceId, report: Report) {
        self.send(Input::Report { resource, report }).await;
    }
}
