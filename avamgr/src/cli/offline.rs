//! One resource started or stopped by the command line itself, on a host where no daemon runs.
//!
//! The same tasks do it as in the daemon, on a runtime of their own that lives for this one order.

use std::time::Duration;

use avamgr_core::cluster::{NodeId, ResourceId};
use avamgr_core::config::{Config, ResourceKind};
use avamgr_core::control::ResourceVerb;
use avamgr_core::node::{Input, Order, Report};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::inputs;
use crate::process::shim;
use crate::resources::{self, OrderSender, Place};
use crate::right::runtime_of;

/// What a resource's task may take beyond the times of the config before it is given up.
const MARGIN: Duration = Duration::from_secs(30);

/// Carries out an order; the error says why it could not be. What was done is a word: `started`, `stopped`.
pub(super) fn act(
    config: &Config,
    node: NodeId,
    resource: ResourceId,
    verb: ResourceVerb,
) -> Result<&'static str, String> {
    let settings = config.resource(resource).ok_or("no such resource")?;
    let orders: &[Order] = match verb {
        ResourceVerb::Start => &[Order::Start],
        ResourceVerb::Stop => &[Order::Stop { within: None }],
        ResourceVerb::Restart => &[Order::Stop { within: None }, Order::Start],
        ResourceVerb::Clear => return Err("its failures are known to the daemon only".to_owned()),
    };
    if orders.contains(&Order::Start) {
        outlives_us(&settings.kind)?;
    }
    let place = Place {
        cluster: config.cluster.clone(),
        node_name: config.node_name(node).to_owned(),
        node,
        group: config.group_name(resource.group).to_owned(),
        timers: config.timers.clone(),
        guard: None,
        bus: None,
        runtime: runtime_of(&config.daemon.socket),
        shim: shim::OWN_PROGRAM.into(),
    };
    let patience = settings.start_timeout + settings.stop_timeout + MARGIN;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(LocalSet::new().run_until(async {
        let (inputs, mut reports) = inputs::channel();
        let task = resources::spawn(resource, settings, &place, inputs);
        let mut done = "done";
        for order in orders {
            done = tokio::time::timeout(patience, carry_out(&task, &mut reports, *order))
                .await
                .unwrap_or_else(|_| Err("it took too long and was given up".to_owned()))?;
        }
        Ok(done)
    }))
}

/// Some resources end with the process that started them: starting them from here would be a promise not kept.
fn outlives_us(kind: &ResourceKind) -> Result<(), String> {
    match kind {
        ResourceKind::Lsb(_) | ResourceKind::Systemd(_) => Ok(()),
        ResourceKind::Exec(_) => Err("runs only under the daemon, which supervises it: start the daemon".to_owned()),
        ResourceKind::Vip(_) => {
            Err("an address is held only while the daemon renews it in the kernel: start the daemon".to_owned())
        }
    }
}

async fn carry_out(
    task: &OrderSender,
    reports: &mut mpsc::Receiver<Input>,
    order: Order,
) -> Result<&'static str, String> {
    if !task.give(order) {
        return Err("its task takes no orders".to_owned());
    }
    while let Some(input) = reports.recv().await {
        let Input::Report { report, .. } = input else { continue };
        match report {
            Report::Started => return Ok("started"),
            Report::Stopped => return Ok("stopped"),
            Report::StartFailed(reason) | Report::StopFailed(reason) => return Err(reason),
            Report::Failed(_) | Report::Well(_) | Report::Stray(_) | Report::Gone(_) => {}
            Report::Able | Report::Unable(_) | Report::Notice(_) => {}
        }
    }
    Err("its task ended without a word".to_owned())
}
