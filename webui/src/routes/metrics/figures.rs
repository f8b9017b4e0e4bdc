//! Each figure with its name, its unit and what it says.

use std::fmt::Result;

use avamgr::clock;
use avamgr_core::cluster::Role;
use avamgr_core::control::{BearerStatus, LinkStatus, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::daemon::Said;

/// The figures of a moment. A daemon that is not known to be well has no other figure than that it is not.
#[derive(Debug)]
pub(super) struct Figures(pub(super) Said);

/// Names and values of the labels of a sample.
type Labels<'a> = Vec<(&'static str, &'a str)>;
/// The samples of a figure.
type Samples<'a, T> = Vec<(Labels<'a>, T)>;

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result {
        let mut out = Out(encoder);
        let document = self.0.document();
        out.gauge("up", "1 while the daemon answers and its decision goes on.", one(flag(document.status.is_some())))?;
        let Some(status) = document.status else { return Ok(()) };
        let age = document.age_millis.map(millis).unwrap_or_default();
        out.gauge("status_age_seconds", "Age of these figures.", one(age))?;
        node(&mut out, status)?;
        groups(&mut out, status)?;
        peers(&mut out, status)?;
        links(&mut out, status)?;
        bearers(&mut out, status)
    }
}

fn node(out: &mut Out<'_>, status: &Status) -> Result {
    let class = status.safety_class.to_string();
    let info = vec![
        ("node", status.node.as_str()),
        ("cluster", status.cluster.as_str()),
        ("version", status.driver.version.as_str()),
        ("safety_class", class.as_str()),
    ];
    out.gauge("node_info", "1; which node of which cluster this is.", vec![(info, 1.0)])?;
    out.gauge(
        "isolated",
        "1 while all links are silent and the arbitrator is unreachable.",
        one(flag(status.isolated)),
    )?;
    out.gauge("alarms", "Things that need a human now.", one(real(count(&status.alarms))))?;
    out.gauge("holds", "Why this node may not become ACTIVE, counted.", one(real(count(&status.holds))))?;
    if let Some(arbitrator) = &status.arbitrator {
        let reachable = flag(arbitrator.state == "reachable");
        out.gauge("arbitrator_reachable", "1 while an address of the arbitrator answers.", one(reachable))?;
    }
    if let Some(witness) = &status.witness {
        let labels = vec![("voter", witness.voter.as_str())];
        let reachable = flag(witness.state == "reachable");
        out.gauge("witness_reachable", "1 while the voter that is no node answers.", vec![(labels, reachable)])?;
    }
    let ready = status.ready.iter().filter_map(|it| Some((vec![("check", it.check.as_str())], flag(it.ready?))));
    out.gauge("check_ready", "1 while the ready check passes.", ready.collect())
}

fn groups(out: &mut Out<'_>, status: &Status) -> Result {
    let each = |value: &dyn Fn(&avamgr_core::control::GroupStatus) -> f64| -> Samples<'_, f64> {
        status.groups.iter().map(|it| (vec![("group", it.group.as_str())], value(it))).collect()
    };
    out.gauge("group_active", "1 while this node is ACTIVE.", each(&|it| flag(it.role == Role::Active)))?;
    let roles = status.groups.iter().flat_map(|group| {
        let labels = |role: &'static str| vec![("group", group.group.as_str()), ("role", role)];
        Role::ALL.into_iter().map(move |role| (labels(word(role)), flag(group.role == role)))
    });
    out.gauge("group_role", "1 for the role this node has, 0 for the others.", roles.collect())?;
    out.gauge("group_term", "Term of the group.", each(&|it| real(it.term.0)))?;
    out.gauge("group_able", "1 while this node could take over.", each(&|it| flag(it.able)))?;
    let since = |it: &avamgr_core::control::GroupStatus| status.now.since(it.since).as_secs_f64();
    out.gauge("group_role_age_seconds", "How long this node has had its role.", each(&since))?;
    let failovers = "Automatic takeovers within the flap window.";
    out.gauge("group_failovers", failovers, each(&|it| f64::from(it.failovers)))?;
    let leases = status.groups.iter().filter_map(|it| {
        let held = it.lease.as_ref()?.held_until;
        let left = held.map_or(0.0, |until| until.since(clock::now()).as_secs_f64());
        Some((vec![("group", it.group.as_str())], left))
    });
    out.gauge("group_lease_left_seconds", "How long the lease of this node lasts.", leases.collect())?;
    let resources = || {
        status.groups.iter().flat_map(|group| {
            let labels = |name| vec![("group", group.group.as_str()), ("resource", name)];
            group.resources.iter().map(move |it| (labels(it.resource.as_str()), it))
        })
    };
    let started = resources().map(|(labels, it)| (labels, flag(it.state == "started")));
    out.gauge("resource_started", "1 while the resource is started here.", started.collect())?;
    let failures = resources().map(|(labels, it)| (labels, f64::from(it.failures)));
    out.gauge("resource_failures", "Failures within the restart window.", failures.collect())
}

fn peers(out: &mut Out<'_>, status: &Status) -> Result {
    let each = |value: &dyn Fn(&avamgr_core::control::PeerStatus) -> Option<f64>| -> Samples<'_, f64> {
        status.peers.iter().filter_map(|it| Some((vec![("peer", it.node.as_str())], value(it)?))).collect()
    };
    out.gauge(
        "peer_degraded",
        "1 while the node is alive and not heard on every link it should be.",
        each(&|it| Some(flag(it.state == "degraded"))),
    )?;
    out.gauge(
        "peer_alive",
        "1 while the node is alive, degraded or not.",
        each(&|it| Some(flag(matches!(it.state.as_str(), "alive" | "degraded")))),
    )?;
    let heard = |it: &avamgr_core::control::PeerStatus| Some(status.now.since(it.heard?).as_secs_f64());
    out.gauge("peer_heard_age_seconds", "Since its last sign of life.", each(&heard))?;
    let offset = |it: &avamgr_core::control::PeerStatus| Some(signed_millis(it.clock_offset_millis?));
    out.gauge("peer_clock_offset_seconds", "Its wall clock minus ours.", each(&offset))?;
    let matches = |it: &avamgr_core::control::PeerStatus| it.config_matches.map(flag);
    out.gauge("peer_config_matches", "1 while its config is ours.", each(&matches))
}

fn links(out: &mut Out<'_>, status: &Status) -> Result {
    let all = || status.peers.iter().flat_map(|peer| peer.links.iter().map(move |link| (peer.node.as_str(), link)));
    let each = |value: &dyn Fn(&LinkStatus) -> Option<f64>| -> Samples<'_, f64> {
        all().filter_map(|(peer, it)| Some((vec![("peer", peer), ("link", it.link.as_str())], value(it)?))).collect()
    };
    let counted = |value: &dyn Fn(&LinkStatus) -> u64| -> Samples<'_, u64> {
        all().map(|(peer, it)| (vec![("peer", peer), ("link", it.link.as_str())], value(it))).collect()
    };
    out.gauge(
        "link_up",
        "1 while both sides hear each other, or the path is not needed.",
        each(&|it| Some(flag(matches!(it.state.as_str(), "up" | "suspect" | "idle")))),
    )?;
    out.gauge("link_carrier", "Carrier of our interface.", each(&|it| Some(flag(it.carrier))))?;
    out.gauge("link_rtt_seconds", "Smoothed round-trip time.", each(&|it| it.rtt_micros.map(micros)))?;
    out.gauge(
        "link_jitter_seconds",
        "Smoothed variation of the arrival distance.",
        each(&|it| it.jitter_micros.map(micros)),
    )?;
    let loss = |it: &LinkStatus| it.loss_percent.map(|percent| f64::from(percent) / 100.0);
    out.gauge("link_loss_ratio", "Frames lost of the last 100.", each(&loss))?;
    out.counter("link_frames_sent", "Frames sent.", counted(&|it| it.sent))?;
    out.counter("link_frames_received", "Good frames received.", counted(&|it| it.received))?;
    out.counter("link_frames_late", "Frames that came later than the suspect time.", counted(&|it| it.late))?;
    let refused = all().flat_map(|(peer, it)| {
        let labels = move |cause| vec![("peer", peer), ("link", it.link.as_str()), ("cause", cause)];
        it.refused.iter().map(move |(cause, count)| (labels(cause.as_str()), *count))
    });
    out.counter("link_frames_refused", "Frames that were refused, by cause.", refused.collect())
}

/// What carries links over TIPC.
fn bearers(out: &mut Out<'_>, status: &Status) -> Result {
    let all = || {
        status.peers.iter().flat_map(|peer| peer.links.iter().map(move |link| (peer, link))).flat_map(|(peer, link)| {
            let labels = |bearer| vec![("peer", peer.node.as_str()), ("link", link.link.as_str()), ("bearer", bearer)];
            link.bearers.iter().map(move |it| (labels(it.bearer.as_str()), it))
        })
    };
    let each = |value: &dyn Fn(&BearerStatus) -> Option<f64>| -> Samples<'_, f64> {
        all().filter_map(|(labels, it)| Some((labels, value(it)?))).collect()
    };
    out.gauge("bearer_up", "1 while the bearer reaches the peer.", each(&|it| Some(flag(it.up))))?;
    let tolerance = |it: &BearerStatus| it.tolerance_millis.map(|time| millis(time.into()));
    out.gauge("bearer_tolerance_seconds", "Silence after which TIPC gives the bearer up.", each(&tolerance))?;
    out.gauge(
        "bearer_priority",
        "Priority of the bearer: TIPC uses those with the highest.",
        each(&|it| it.priority.map(f64::from)),
    )?;
    for (counter, help) in [
        ("sent", "Packets sent over the bearer."),
        ("received", "Packets received over the bearer."),
        ("retransmitted", "Packets sent again, because the peer had missed them."),
        ("duplicates", "Packets that came twice."),
        ("out_of_order", "Packets that came before their turn."),
        ("congested", "Times the send queue was full."),
    ] {
        let counted = all().filter_map(|(labels, it)| Some((labels, *it.counters.get(counter)?)));
        out.counter(&format!("bearer_{counter}"), help, counted.collect())?;
    }
    Ok(())
}

/// Where figures go.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, samples: Samples<'_, f64>) -> Result {
        self.family(name, help, MetricType::Gauge, samples, |metric, value| metric.encode_gauge(value))
    }

    /// `_total` is added to the name.
    fn counter(&mut self, name: &str, help: &str, samples: Samples<'_, u64>) -> Result {
        let encode =
            |metric: &mut MetricEncoder<'_>, value: &u64| metric.encode_counter::<NoLabelSet, _, u64>(value, None);
        self.family(name, help, MetricType::Counter, samples, encode)
    }

    /// One without samples is left out.
    fn family<T>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: Samples<'_, T>,
        encode: impl Fn(&mut MetricEncoder<'_>, &T) -> Result,
    ) -> Result {
        if samples.is_empty() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        samples.iter().try_for_each(|(labels, value)| match labels.as_slice() {
            [] => encode(&mut metric, value),
            _ => encode(&mut metric.encode_family(labels)?, value),
        })
    }
}

fn one<'a>(value: f64) -> Samples<'a, f64> {
    vec![(Vec::new(), value)]
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Standby => "standby",
        Role::Activating => "activating",
        Role::Active => "active",
        Role::Deactivating => "deactivating",
        Role::Fault => "fault",
    }
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

fn count<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn real(count: u64) -> f64 {
    count as f64
}

fn millis(millis: u64) -> f64 {
    real(millis) / 1e3
}

fn micros(micros: u64) -> f64 {
    real(micros) / 1e6
}

fn signed_millis(value: i64) -> f64 {
    let size = millis(value.unsigned_abs());
    if value < 0 { -size } else { size }
}
