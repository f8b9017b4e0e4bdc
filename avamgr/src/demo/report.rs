//! The verdict on a step, the table at the end, and what is left behind when a step misbehaved.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cluster::{Cluster, Node};
use super::config::LINKS;
use super::expect::{Expected, Finding};
use super::panel;
use super::text::{Line, columns, millis};

/// Events of each node that are shown when a step misbehaved.
const LAST_EVENTS: usize = 10;
/// Lines of a log that are shown when its daemon has ended.
const LAST_LINES: usize = 5;

/// What became of a step.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    /// The node that was ACTIVE before.
    pub(super) before: Option<String>,
    /// The node that is ACTIVE after it.
    pub(super) after: Option<String>,
    /// The dedicated links after it, as the nodes see them.
    pub(super) links: [String; 2],
    /// None: the step was not played.
    pub(super) expected: Option<Expected>,
    /// What the client measured, for IPv4 and IPv6.
    pub(super) silences: Option<[Duration; 2]>,
    /// By how much the client itself was late at most, if it was.
    pub(super) late: Option<Duration>,
    pub(super) findings: Vec<Finding>,
}

impl Outcome {
    pub(super) fn not_played(name: &'static str) -> Self {
        let (links, findings) = (Default::default(), Vec::new());
        Self { name, before: None, after: None, links, expected: None, silences: None, late: None, findings }
    }

    pub(super) fn ok(&self) -> bool {
        self.expected.is_some() && self.findings.iter().all(|finding| finding.ok)
    }
}

/// What is said when a step is over.
pub(super) fn verdict(cluster: &Cluster, outcome: &Outcome) -> Vec<Line> {
    if !outcome.ok() {
        return misbehaved(cluster, outcome);
    }
    let mut line = Line::good(" ok  ");
    for view in cluster.views() {
        line = line.text(&view.name).text(" ").then(panel::role(&view)).text("; ");
    }
    let outage = match outcome.silences {
        Some([v4, v6]) => format!("the client waited for at most {} (IPv4), {} (IPv6)", millis(v4), millis(v6)),
        None => "the client is answered at both addresses".to_owned(),
    };
    let mut lines = vec![line.text(outage)];
    let late = outcome.late.map(|late| format!("     the client itself was late by {}: this machine is busy", millis(late)));
    lines.extend(late.map(Line::notable));
    lines
}

fn misbehaved(cluster: &Cluster, outcome: &Outcome) -> Vec<Line> {
    let mut lines = vec![Line::bad(format!("  !  {}: not as expected", outcome.name))];
    for finding in outcome.findings.iter().filter(|finding| !finding.ok) {
        lines.push(Line::faint("     expected  ").text(&finding.expected));
        lines.push(Line::faint("     seen      ").then(Line::bad(&finding.seen)));
    }
    for node in cluster.nodes() {
        lines.extend(last_words(node));
    }
    lines
}

fn last_words(node: &Node) -> Vec<Line> {
    let mut lines = vec![Line::strong(format!("     last events of {}", node.host.name()))];
    for entry in node.watch().last_events(LAST_EVENTS) {
        lines.push(Line::faint(format!("       {}  ", entry.time)).text(&entry.text));
    }
    if let Some(status) = node.daemon_ended() {
        lines.push(Line::bad(format!("     the daemon of {} has ended ({status}); the end of its log", node.host.name())));
        let log = fs::read_to_string(node.log_file()).unwrap_or_default();
        let all: Vec<&str> = log.lines().collect();
        let last = all.iter().skip(all.len().saturating_sub(LAST_LINES));
        lines.extend(last.map(|line| Line::plain(format!("       {line}"))));
    }
    lines
}

/// All steps under each other.
pub(super) fn table(outcomes: &[Outcome]) -> Vec<Line> {
    let head = ["step", "ACTIVE", LINKS[0].0, LINKS[1].0, "outage IPv4", "IPv6", "allowed", "result"];
    let mut rows = vec![head.map(Line::strong).to_vec()];
    rows.extend(outcomes.iter().map(row));
    columns(rows).into_iter().map(|line| Line::plain("  ").then(line)).collect()
}

fn row(outcome: &Outcome) -> Vec<Line> {
    let mut cells = vec![Line::plain(outcome.name)];
    let Some(expected) = &outcome.expected else {
        cells.extend(std::iter::repeat_n(Line::faint("-"), 6));
        cells.push(Line::faint("not played"));
        return cells;
    };
    cells.push(match (&outcome.before, &outcome.after) {
        (_, None) => Line::bad("nobody known"),
        (Some(before), Some(after)) if before != after => Line::plain(format!("{before} -> ")).then(Line::active(after)),
        (Some(_) | None, Some(after)) => Line::active(after),
    });
    cells.extend(outcome.links.each_ref().map(|link| match link.as_str() {
        "up" => Line::good(link),
        "down" => Line::bad("DOWN"),
        mixed => Line::notable(mixed),
    }));
    cells.extend(outcome.silences.map_or([None, None], |both| both.map(Some)).map(|silence| {
        silence.map_or_else(|| Line::faint("-"), |silence| Line::plain(millis(silence)))
    }));
    cells.push(expected.silence_max.map_or_else(|| Line::faint("-"), |max| Line::faint(millis(max))));
    cells.push(if outcome.ok() { Line::good("ok") } else { Line::bad("NOT AS EXPECTED") });
    cells
}

/// The last lines: what the figures are, and how it went.
pub(super) fn summary(outcomes: &[Outcome], took: Duration) -> Vec<Line> {
    let behaved = outcomes.iter().filter(|outcome| outcome.ok()).count();
    let words = format!("  {behaved} of {} steps behaved, in {:.1} s", outcomes.len(), took.as_secs_f64());
    vec![
        Line::faint("  outage: the longest time without an answer, for a client that asks each address every 2 ms;"),
        Line::faint("          a few ms more than that are this machine taking turns"),
        Line::default(),
        if behaved == outcomes.len() { Line::good(words) } else { Line::bad(words) },
    ]
}

/// Copies what the daemons wrote to a place that outlives the demo.
pub(super) fn keep_logs(cluster: &Cluster) -> io::Result<PathBuf> {
    let kept = std::env::temp_dir().join(format!("avamgr-demo-{}", std::process::id()));
    for node in cluster.nodes() {
        let into = kept.join(node.host.name());
        fs::create_dir_all(&into)?;
        fs::copy(node.log_file(), into.join("avamgrd.log"))?;
        fs::copy(node.host.path("/etc/avamgr/avamgr.toml"), into.join("avamgr.toml"))?;
        copy_files(&node.host.path("/var/lib/avamgr"), &into)?;
    }
    Ok(kept)
}

fn copy_files(from: &Path, into: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), into.join(entry.file_name()))?;
        }
    }
    Ok(())
}
