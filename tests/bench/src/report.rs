//! The table at the end, and every run on the way.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::measure::{Outcome, Scenario};
use crate::peer::Peer;
use crate::summary::Summary;

/// Gathers outcomes.
pub(crate) struct Report {
    table: Table,
    json: Option<File>,
}

/// A run as it is stored.
#[derive(Serialize)]
struct Stored<'a> {
    peer: &'a str,
    version: &'a str,
    scenario: String,
    run: std::collections::BTreeMap<&'static str, f64>,
}

impl Report {
    /// An empty one; runs go to `json` too if given.
    pub(crate) fn new(json: Option<&Path>) -> Result<Self> {
        let json = json.map(|path| File::create(path).with_context(|| format!("create {}", path.display())));
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["peer", "version", "scenario", "figure", "min / median / max (n)", "thrown away"]);
        Ok(Self { table, json: json.transpose()? })
    }

    /// Adds a scenario's outcome, a line per figure.
    pub(crate) fn add(&mut self, peer: &dyn Peer, scenario: Scenario, outcome: Outcome) -> Result<()> {
        let (profile, version) = (peer.profile(), peer.version());
        if let Some(json) = &mut self.json {
            for run in &outcome.runs {
                let run = run.iter().copied().collect();
                let stored = Stored { peer: &profile, version: &version, scenario: scenario.to_string(), run };
                writeln!(json, "{}", serde_json::to_string(&stored)?)?;
            }
        }
        let discarded = outcome.discarded.len().to_string();
        let figures = outcome.runs.first().map(|run| run.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for figure in figures.unwrap_or_default() {
            let of_figure = outcome.runs.iter().flatten().filter(|(name, _)| *name == figure);
            let Some(summary) = Summary::of(of_figure.map(|(_, value)| *value).collect()) else {
                continue;
            };
            eprintln!("{profile}: {scenario}: {figure} {summary}");
            self.table.add_row([&profile, &version, &scenario.to_string(), figure, &summary.to_string(), &discarded]);
        }
        Ok(())
    }

    /// The table as text.
    pub(crate) fn table(&self) -> String {
        self.table.to_string()
    }
}
