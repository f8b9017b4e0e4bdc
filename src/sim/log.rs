//! A run as text: one line per event, one column per node, so that a failover can be read at a glance.

use std::fmt::Write as _;

use super::note::{DaemonChange, KernelChange, Note, What};
use super::phrase;
use crate::cluster::NodeId;
use crate::config::Config;
use crate::node::event::ResourceChange;
use crate::node::{Action, Fact, Order};
use crate::time::Instant;

/// How much a log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What a human would want to know.
    Story,
    /// Every input and every action.
    Full,
}

impl Detail {
    fn column_width(self) -> usize {
        match self {
            Self::Story => 58,
            Self::Full => 110,
        }
    }
}

/// One line.
#[derive(Clone, Debug)]
struct Row {
    at: Instant,
    /// An order to the world as a whole stands on a line of its own.
    order: Option<String>,
    cells: Vec<String>,
}

/// A run as text.
#[derive(Clone, Debug)]
pub struct Log {
    config: Config,
    detail: Detail,
    rows: Vec<Row>,
}

impl Log {
    /// An empty log.
    pub fn new(config: &Config, detail: Detail) -> Self {
        Self { config: config.clone(), detail, rows: Vec::new() }
    }

    /// Writes down what was seen, if this log tells of such things.
    pub fn add(&mut self, note: &Note) {
        let text = match self.detail {
            Detail::Story => self.in_a_story(&note.what),
            Detail::Full => Some(self.in_full(&note.what)),
        };
        let Some(text) = text else { return };
        match (note.host, &note.what) {
            (None, _) | (_, What::Order(_)) => self.add_order(note, text),
            (Some(host), _) => self.add_cell(note.at, host, text),
        }
    }

    /// Takes the lines written since the last time.
    pub fn take_lines(&mut self) -> Vec<String> {
        let rows = std::mem::take(&mut self.rows);
        rows.iter().map(|row| self.line(row)).collect()
    }

    /// A line with the name of each column.
    pub fn head(&self) -> String {
        let cells = self.config.nodes.clone();
        self.line(&Row { at: Instant::BOOT, order: None, cells }).replacen("0.000", " time", 1)
    }

    fn add_order(&mut self, note: &Note, text: String) {
        let text = note.host.map_or(text.clone(), |host| format!("{}: {text}", self.config.node_name(host)));
        self.rows.push(Row { at: note.at, order: Some(text), cells: Vec::new() });
    }

    fn add_cell(&mut self, at: Instant, host: NodeId, text: String) {
        let millis = |at: Instant| at.as_nanos() / 1_000_000;
        let shared = self.detail == Detail::Story;
        let free = |row: &Row| row.order.is_none() && row.cells.get(host.index()).is_some_and(String::is_empty);
        if let Some(row) = self.rows.last_mut().filter(|row| shared && millis(row.at) == millis(at) && free(row))
            && let Some(cell) = row.cells.get_mut(host.index())
        {
            *cell = text;
            return;
        }
        let mut cells = vec![String::new(); self.config.nodes.len()];
        if let Some(cell) = cells.get_mut(host.index()) {
            *cell = text;
        }
        self.rows.push(Row { at, order: None, cells });
    }

    fn line(&self, row: &Row) -> String {
        let mut line = match self.detail {
            Detail::Story => format!("{:>8}", row.at.to_string()),
            Detail::Full => format!("{:>8}{:03}", row.at.to_string(), row.at.as_nanos() / 1_000 % 1_000),
        };
        if let Some(order) = &row.order {
            line += "  > ";
            line += order;
            return line;
        }
        let width = self.detail.column_width();
        for cell in &row.cells {
            // Writing to a string cannot fail.
            let _ = write!(line, " | {cell:<width$}");
        }
        line.trim_end().to_owned()
    }

    fn in_full(&self, what: &What) -> String {
        match what {
            What::Order(text) => text.clone(),
            What::Handled(input) => format!("< {}", phrase::input(&self.config, input)),
            What::Did(Action::Event(event)) => {
                format!("* {}", phrase::fact(&self.config, &event.fact))
            }
            What::Did(action) => format!("> {}", phrase::action(&self.config, action)),
            What::Daemon(change) => daemon(*change).to_owned(),
            What::Kernel(change) => self.kernel(*change),
        }
    }

    fn in_a_story(&self, what: &What) -> Option<String> {
        match what {
            What::Order(_) | What::Handled(_) => None,
            What::Did(Action::Event(event)) => {
                // The kernel's own word on these is told already, and the peer's.
                let told = matches!(
                    event.fact,
                    Fact::Resource { change: ResourceChange::Started | ResourceChange::Stopped, .. }
                        | Fact::PeerRole { .. }
                        | Fact::Started { .. }
                );
                (!told).then(|| phrase::fact(&self.config, &event.fact))
            }
            What::Did(
                action @ (Action::Answer { .. }
                | Action::Exit
                | Action::Fence { .. }
                | Action::Continue
                | Action::Resource { order: Order::Announce, .. }),
            ) => Some(phrase::action(&self.config, action)),
            What::Did(
                Action::Send { .. }
                | Action::Ask { .. }
                | Action::ProbeVips { .. }
                | Action::Persist { .. }
                | Action::Right { .. }
                | Action::Resource { .. },
            ) => None,
            What::Daemon(change) => Some(daemon(*change).to_owned()),
            What::Kernel(change) => Some(self.kernel(*change)),
        }
    }

    fn kernel(&self, change: KernelChange) -> String {
        let name = |id| self.config.resource_name(id);
        match change {
            KernelChange::Booted => "=== power on".to_owned(),
            KernelChange::PowerLost => "=== power lost".to_owned(),
            KernelChange::Up(id) => format!("[+] {}", name(id)),
            KernelChange::Down(id) => format!("[-] {}", name(id)),
            KernelChange::Expired(id) => format!("[-] {}: lifetime in the kernel over", name(id)),
            KernelChange::Lost(id) => format!("[-] {}: lost", name(id)),
        }
    }
}

fn daemon(change: DaemonChange) -> &'static str {
    match change {
        DaemonChange::Started => "=== daemon started",
        DaemonChange::Died => "=== daemon died",
        DaemonChange::Exited => "=== daemon ended",
        DaemonChange::Paused => "=== daemon stands still",
        DaemonChange::Resumed => "=== daemon goes on",
    }
}
