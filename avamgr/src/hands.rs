//! The loop's ends of the channels to the hands plane. Nothing here waits.

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr_core::cluster::{GroupId, ResourceId};
use avamgr_core::control::Answer;
use avamgr_core::node::action::{ProbeId, RequestId};
use avamgr_core::node::{Durable, Event, Input, Order};
use tokio::sync::mpsc;

use crate::control::Outbox;
use crate::inputs::Inputs;
use crate::resources::OrderSender;
use crate::resources::vip::group::{Question, probe_group};
use crate::state_file::Writer;

/// Probes that may wait: one per group at a time, and groups are few.
const PROBES: usize = 32;

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
    writer: Writer,
    outbox: Outbox,
}

impl Hands {
    /// Joins the ends; the probes' other end goes to [`serve_probes`].
    pub fn new(
        resources: BTreeMap<ResourceId, OrderSender>,
        writer: Writer,
        outbox: Outbox,
    ) -> (Self, mpsc::Receiver<ProbeOrder>) {
        let (probes, receiver) = mpsc::channel(PROBES);
        (Self { resources, probes, writer, outbox }, receiver)
    }

    /// Gives an order to a resource's task; `false` = it does not take any.
    pub fn order(&self, resource: ResourceId, order: Order) -> bool {
        self.resources.get(&resource).is_some_and(|sender| sender.give(order))
    }

    /// Asks the service network; a probe that cannot be asked now is asked again by the node.
    pub fn probe(&self, probe: ProbeId, group: GroupId, time: Duration) {
        let _ = self.probes.try_send(ProbeOrder { probe, group, time });
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
