//! Edits without an end: the other node must keep up.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Context;
use crate::bed::{Bed, Size};
use crate::figures::{Figures, Row, figure, verdict};
use crate::load::Load;
use crate::processes::Watch;
use crate::system::System;
use crate::tree::{Tree, text};

pub(crate) const HEADER: [&str; 10] = [
    "system",
    "edits",
    "edits/s",
    "lag ms: median / p99 / max",
    "never seen",
    "CPU % of a core A / B",
    "rsyncs started",
    "identical at the end",
    "target; met",
    "other load",
];

/// One edit in this time.
const INTERVAL: Duration = Duration::from_millis(10);
/// Each file has its turn again after so many edits.
const FILES: usize = 1000;
const BYTES: usize = 2048;

/// The other node is looked at so often.
const PACE: Duration = Duration::from_millis(20);

/// What is not there so long after the last edit never comes.
const TAIL: Duration = Duration::from_secs(30);

const LAG_MS: f64 = 2000.0;

/// Edits at a steady pace; each carries its number, which is looked for on the other node.
pub(crate) fn measure(system: &dyn System, context: &Context) -> Result<Vec<Row>> {
    let edits = if context.quick { 1000 } else { 6000 };
    if edits > system.most_changes() {
        let why = format!("not measured: beyond {} changes it endangers the machine", system.most_changes());
        return Ok(vec![vec![system.name().to_owned(), edits.to_string(), String::new(), why]]);
    }
    let mut bed = Bed::make(system, Size::SMALL, &context.attic)?;
    let (load, cpu, mark) = (Load::start(&bed), bed.cpu(), bed.mark());
    let watch = Watch::start(bed.site.hosts.clone())?;
    let begin = Instant::now();
    let copy = bed.copy.clone();
    let (lags, took) = thread::scope(|scope| -> Result<(Vec<f64>, f64)> {
        let follow = scope.spawn(|| follow(&copy, edits, begin, &|| !watch.runaway()));
        let took = edit(&mut bed.tree, edits, begin)?;
        let lags = follow.join().map_err(|_| anyhow::anyhow!("the follower has panicked"))?;
        Ok((lags, took))
    })?;
    let (spent, rsyncs) = (bed.cpu(), bed.rsyncs_since(mark)?);
    let identical = bed.expect_identical(Duration::from_secs(5));
    let (others, runaway) = (load.others(&bed), watch.runaway());
    watch.end()?;
    let never = edits - lags.len();
    let lags = Figures::of(lags);
    let met = never == 0 && lags.percentile(100).is_some_and(|most| most <= LAG_MS) && identical.is_ok();
    let percent = |node: usize| figure(100.0 * spent[node].saturating_sub(cpu[node]).as_secs_f64() / took);
    Ok(vec![vec![
        system.name().to_owned(),
        edits.to_string(),
        figure(edits as f64 / took),
        lags.to_string(),
        if runaway { format!("{never}: killed, too many processes") } else { never.to_string() },
        format!("{} / {}", percent(0), percent(1)),
        rsyncs.to_string(),
        identical.map_or_else(|error| no(&error), |_| "yes".to_owned()),
        format!("lag <= {} s; {}", LAG_MS / 1000.0, verdict(system.is_ours(), met)),
        others,
    ]])
}

/// What goes wrong, without what the programs said last.
fn no(error: &anyhow::Error) -> String {
    format!("no: {}", error.to_string().lines().next().unwrap_or_default())
}

fn file(number: usize) -> String {
    format!("d{:03}/steady{:04}.rules", number % Size::SMALL.dirs, number % FILES)
}

/// When an edit is due.
fn due(begin: Instant, number: usize) -> Instant {
    begin + INTERVAL * u32::try_from(number).unwrap_or(u32::MAX)
}

fn edit(tree: &mut Tree, edits: usize, begin: Instant) -> Result<f64> {
    for number in 0..edits {
        thread::sleep(due(begin, number).saturating_duration_since(Instant::now()));
        tree.write(&file(number), &text(&number.to_string(), BYTES))?;
    }
    Ok(begin.elapsed().as_secs_f64())
}

/// The lag of each edit that was seen, in their order: one that comes before its predecessor waits for it.
fn follow(copy: &Path, edits: usize, begin: Instant, go_on: &dyn Fn() -> bool) -> Vec<f64> {
    let mut lags = Vec::new();
    let end = due(begin, edits) + TAIL;
    while lags.len() < edits && Instant::now() < end && go_on() {
        let path: PathBuf = copy.join(file(lags.len()));
        if number_in(&path).is_some_and(|seen| seen >= lags.len()) {
            lags.push(due(begin, lags.len()).elapsed().as_secs_f64() * 1000.0);
        } else {
            thread::sleep(PACE);
        }
    }
    lags
}

/// The number of the edit that a file is of.
fn number_in(path: &Path) -> Option<usize> {
    let content = fs::read_to_string(path).ok()?;
    content.split(' ').next()?.parse().ok()
}
