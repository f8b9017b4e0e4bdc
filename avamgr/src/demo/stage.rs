//! The stage: cluster and terminal together. Whatever is waited for, events are shown as they come and keys are heard.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use avamgr_core::control::HistoryEntry;
use avamgr_core::node::event::{Fact, ResourceChange, Severity};

use super::cluster::Cluster;
use super::expect::Moment;
use super::panel;
use super::screen::{Screen, Woken};
use super::text::{Line, folded, offset};
use crate::clock;

/// Between two looks at everything: fine enough for the eye and for a condition.
const TICK: Duration = Duration::from_millis(10);

/// Looks between two redraws of the panel.
const TICKS_PER_PANEL: u32 = 10;

/// Events are folded to so many columns, wherever they go.
const COLUMNS: usize = 100;

/// How long an event is held back for those that another node tells later of an earlier moment.
const HELD_BACK: Duration = Duration::from_millis(80);

/// Somebody wants the demo to end.
#[derive(Debug, thiserror::Error)]
#[error("ended before its time")]
pub(super) struct Ended;

/// Everything the steps and the keys work with.
#[derive(Debug)]
pub(super) struct Stage {
    // The terminal first: what is said while the cluster goes down comes after the panel.
    pub(super) screen: Screen,
    pub(super) cluster: Cluster,
    /// Since when times are counted.
    pub(super) begin: Moment,
    /// What the panel says besides the nodes.
    pub(super) foot: Vec<Line>,
    /// The places in the histories up to which events were shown.
    shown: Vec<u64>,
    /// Events that wait for their line.
    held: Vec<Arc<HistoryEntry>>,
    ticks: u32,
}

impl Stage {
    pub(super) fn new(screen: Screen, cluster: Cluster) -> Self {
        let shown = vec![0; cluster.nodes().len()];
        Self { screen, cluster, begin: Moment::now(), foot: Vec::new(), shown, held: Vec::new(), ticks: 0 }
    }

    pub(super) fn say(&mut self, lines: &[Line]) -> Result<()> {
        Ok(self.screen.print(lines)?)
    }

    /// Something is done now: everything after it is measured from here.
    pub(super) fn begin(&mut self, what: &str) -> Result<()> {
        self.show_events(Duration::ZERO)?;
        self.begin = Moment::now();
        self.say(&[Line::faint(format!("     {}  ", offset(Duration::ZERO))).then(Line::strong(what))])
    }

    /// Waits until the condition holds, at most so long; returns whether it does.
    pub(super) fn wait(&mut self, limit: Duration, mut condition: impl FnMut(&Cluster) -> bool) -> Result<bool> {
        let begun = Moment::now();
        loop {
            if condition(&self.cluster) {
                return Ok(true);
            }
            if begun.elapsed() >= limit {
                return Ok(false);
            }
            if let Some('q' | 'Q') = self.tick()? {
                return Err(Ended.into());
            }
        }
    }

    /// Shows what is new and waits a moment; returns the key that was pressed.
    pub(super) fn tick(&mut self) -> Result<Option<char>> {
        self.show_events(HELD_BACK)?;
        if self.screen.is_live() && self.ticks.is_multiple_of(TICKS_PER_PANEL) {
            let mut lines = panel::nodes(&self.cluster.views());
            lines.extend(self.foot.iter().cloned());
            self.screen.show(lines)?;
        }
        self.ticks = self.ticks.wrapping_add(1);
        match self.screen.wait(TICK)? {
            Woken::Key(key) => Ok(Some(key)),
            Woken::Ended => Err(Ended.into()),
            Woken::Elapsed => Ok(None),
        }
    }

    /// Shows the events that are this old, those of all nodes in the order in which they happened.
    pub(super) fn show_events(&mut self, age: Duration) -> Result<()> {
        for (node, shown) in self.cluster.nodes().iter().zip(&mut self.shown) {
            let (entries, place) = node.watch().events_from(*shown);
            *shown = place;
            self.held.extend(entries.into_iter().filter(|entry| is_worth_a_line(entry)));
        }
        self.held.sort_by_key(|entry| entry.event.at);
        let now = clock::now();
        let due = self.held.partition_point(|entry| now.since(entry.event.at) >= age);
        let due: Vec<_> = self.held.drain(..due).collect();
        let lines: Vec<Line> = due.iter().flat_map(|entry| self.event_lines(entry)).collect();
        if lines.is_empty() { Ok(()) } else { self.say(&lines) }
    }

    fn event_lines(&self, entry: &HistoryEntry) -> Vec<Line> {
        let since = offset(entry.event.at.since(self.begin.node));
        let head = Line::faint(format!("     {since}  ")).then(Line::calm(&entry.node)).text("  ");
        let indent = Line::default().padded(head.width());
        let heads = std::iter::once(head).chain(std::iter::repeat(indent.clone()));
        let texts = folded(&entry.text, COLUMNS.saturating_sub(indent.width()));
        let coloured = |text: String| match entry.severity {
            Severity::Info => Line::plain(text),
            Severity::Warning => Line::notable(text),
            Severity::Alarm => Line::bad(text),
        };
        heads.zip(texts).map(|(head, text)| head.then(coloured(text))).collect()
    }
}

/// What a newcomer wants to see; the daemon's own history has it all.
fn is_worth_a_line(entry: &HistoryEntry) -> bool {
    let dull = matches!(
        entry.event.fact,
        Fact::LinkSuspect { .. }
            | Fact::PeerRole { .. }
            | Fact::Started { .. }
            | Fact::Upgrade { .. }
            | Fact::Resource {
                change: ResourceChange::Able | ResourceChange::Stopped | ResourceChange::Notice { .. },
                ..
            }
    );
    entry.severity != Severity::Info || !dull
}
