//! The status in the text format of Prometheus.

use std::fmt::Write as _;

use avamgr_core::courier::{DirectoryStatus, PeerStatus, Status};
use avamgr_core::time::Instant;

/// All figures.
pub(super) fn text(status: &Status, now: Instant) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let one = |value: f64| vec![(String::new(), value)];
    let peers = |value: &dyn Fn(&PeerStatus) -> f64| -> Vec<(String, f64)> {
        status.peers.iter().map(|peer| (format!("{{peer=\"{}\"}}", peer.node), value(peer))).collect()
    };
    let directories = |value: &dyn Fn(&DirectoryStatus) -> f64| -> Vec<(String, f64)> {
        status.directories.iter().map(|it| (format!("{{directory=\"{}\"}}", it.name), value(it))).collect()
    };
    family("rules_sync_in_sync", "gauge", "1 when everything is where it should be.", &one(flag(status.in_sync())));
    family(
        "rules_sync_status_age_seconds",
        "gauge",
        "Age of these figures.",
        &one(now.since(status.now).as_secs_f64()),
    );
    family("rules_sync_peer_up", "gauge", "1 while the node answers.", &peers(&|it| flag(it.reachable)));
    family("rules_sync_backlog_paths", "gauge", "Paths the node has not confirmed.", &peers(&|it| real(it.owed)));
    let lag = |it: &PeerStatus| it.lag.unwrap_or_default().as_secs_f64();
    family("rules_sync_lag_seconds", "gauge", "How long the first of them waits.", &peers(&lag));
    let same = |it: &PeerStatus| it.compared.map_or(f64::NAN, |(_, same)| flag(same));
    family("rules_sync_trees_same", "gauge", "1 when both trees were the same at the last comparison.", &peers(&same));
    let failed = status.peers.iter().flat_map(|peer| {
        let labels = |cause: &str| format!("{{peer=\"{}\",cause=\"{cause}\"}}", peer.node);
        peer.errors.iter().map(move |(cause, count)| (labels(cause), real(*count)))
    });
    let failed: Vec<_> = failed.collect();
    family("rules_sync_failed_transfers_total", "counter", "Transfers that failed, by cause.", &failed);
    family("rules_sync_paths", "gauge", "Paths that are replicated.", &directories(&|it| real(it.paths)));
    let troubled = |it: &DirectoryStatus| flag(it.trouble.is_some() || it.held.is_some());
    family("rules_sync_directory_troubled", "gauge", "1 when it is not replicated, or held.", &directories(&troubled));
    family("rules_sync_conflicts", "gauge", "Conflicts an operator has not settled.", &one(real(status.conflicts)));
    family("rules_sync_trash_contents", "gauge", "Contents that are kept for a while.", &one(real(status.trash)));
    let troubles = u64::try_from(status.troubles.len()).unwrap_or(u64::MAX).saturating_add(status.troubles_omitted);
    family("rules_sync_troubled_paths", "gauge", "Paths that cannot be replicated now.", &one(real(troubles)));
    text
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn real(count: u64) -> f64 {
    count as f64
}
