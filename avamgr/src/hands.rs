//! The loop's ends of the channels to the hands plane. Nothing here waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use avamgr_core::cluster::{GroupId, NodeId, ResourceId};
use avamgr_core::control::Answer;
use avamgr_core::node::action::{FenceId, ProbeId, RequestId};
use avamgr_core::node::{Durable, Event, Input, Order};
use tokio::sync::mpsc;

use crate::control::Outbox;
use crate::fencing::Fencer;
use crate::inputs::Inputs;
use crate::resources::OrderSender;
use crate::resources::vip::group::{Question, probe_group};
use crate::state_file::Writer;

/// Probes that may wait: one per group at a time, and groups are few.
const PROBES: usize = 32;

/// Orders to turn a node off that may wait: one per node at a time.
const FENCES: usize = 32;

/// One order to turn a node off.
#[derive(Clone, Copy, Debug)]
pub struct FenceOrder {
    fence: FenceId,
    target: NodeId,
}

/// One VIP probe.
#[derive(Clone, Copy, Debug)]
pub struct ProbeOrder {
    probe: ProbeId,
    group: GroupId,
    time: Duration,
}

/// The other plane, as the loop sees it.
#[derive(Debug)]
pub struct Hands {
    resources: BTreeMap<ResourceId, OrderSender>,
    probes: mpsc::Sender<ProbeOrder>,
    fences: mpsc::Sender<FenceOrder>,
    writer: Writer,
    outbox: Outbox,
}

impl Hands {
    /// Joins the ends; the others go to [`serve_probes`] and [`serve_fences`].
    pub fn new(
        resources: BTreeMap<ResourceId, OrderSender>,
        writer: Writer,
        outbox: Outbox,
    ) -> (Self, mpsc::Receiver<ProbeOrder>, mpsc::Receiver<FenceOrder>) {
        let (probes, asked) = mpsc::channel(PROBES);
        let (fences, ordered) = mpsc::channel(FENCES);
        (Self { resources, probes, fences, writer, outbox }, asked, ordered)
    }

    /// Gives an order to a resource's task; `false` = it does not take any.
    pub fn order(&self, resource: ResourceId, order: Order) -> bool {
        self.resources.get(&resource).is_some_and(|sender| sender.give(order))
    }

    /// Asks the service network; a probe that cannot be asked now is asked again by the node.
    pub fn probe(&self, probe: ProbeId, group: GroupId, time: Duration) {
        let _ = self.probes.try_send(ProbeOrder { probe, group, time });
    }

    /// Turns a node off; `false` = too many are being turned off already.
    pub fn fence(&self, fence: FenceId, target: NodeId) -> bool {
        self.fences.try_send(FenceOrder { fence, target }).is_ok()
    }

    /// Writes what must survive.
    pub fn write(&self, order: u64, durable: Durable) {
        self.writer.write(order, durable);
    }

    /// The last word on a request.
    pub fn answer(&self, request: RequestId, answer: Answer) {
        self.outbox.answer(request, answer);
    }

    /// A fact for humans.
    pub fn event(&self, event: Event) {
        self.outbox.event(event);
    }
}

/// The task that asks the service network: every probe on its own, as many as there are groups.
pub async fn serve_probes(mut orders: mpsc::Receiver<ProbeOrder>, questions: Vec<Vec<Question>>, inputs: Inputs) {
    while let Some(order) = orders.recv().await {
        let questions = questions.get(order.group.index()).cloned().unwrap_or_default();
        let inputs = inputs.clone();
        tokio::spawn(async move {
            let answer = probe_group(&questions, order.time).await;
            let (probe, group) = (order.probe, order.group);
            let (asked, owner, error) = (answer.asked, answer.owner, answer.error);
            inputs.send(Input::VipProbe { probe, group, asked, owner, error }).await;
        });
    }
}

/// The task that turns nodes off. It must be run by the thread that lives as long as the daemon: the agents are its children.
pub async fn serve_fences(mut orders: mpsc::Receiver<FenceOrder>, fencer: Fencer, inputs: Inputs) {
    let fencer = Arc::new(fencer);
    while let Some(FenceOrder { fence, target }) = orders.recv().await {
        let (fencer, inputs) = (Arc::clone(&fencer), inputs.clone());
        tokio::spawn(async move {
            let result = fencer.fence(target).await.map_err(|error| error.to_string());
            inputs.send(Input::Fenced { fence, result }).await;
        });
    }
}
