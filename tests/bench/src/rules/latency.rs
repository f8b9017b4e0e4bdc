//! How long a single change takes: from the return of `close`, `unlink` or `rename` on one node until the whole effect can
//! be read on the other.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Context;
use crate::bed::{Bed, RULE_BYTES, Size};
use crate::chance;
use crate::figures::{Figures, Row, figure, verdict};
use crate::load::Load;
use crate::system::System;
use crate::tree::{put, text};

pub(crate) const HEADER: [&str; 10] = [
    "system",
    "files",
    "change",
    "n",
    "latency ms: median / p99 / max",
    "not within 10 s",
    "target",
    "met",
    "CPU ms per change, A+B",
    "other load",
];

/// The other node is looked at so often.
const PACE: Duration = Duration::from_micros(500);

/// A change that takes longer is missed.
const MISSED: Duration = Duration::from_secs(10);

/// Between the sight of a change and the next one.
const PAUSE_LEAST: Duration = Duration::from_millis(200);
const PAUSE_MORE: Duration = Duration::from_millis(600);

/// Targets, in milliseconds, and how much a large tree may cost.
const MEDIAN_MS: f64 = 50.0;
const P99_MS: f64 = 120.0;
const LARGE_TIMES: f64 = 1.3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Write,
    Delete,
    Rename,
    Save,
}

impl Change {
    const ALL: [Self; 4] = [Self::Write, Self::Delete, Self::Rename, Self::Save];

    fn name(self) -> &'static str {
        match self {
            Self::Write => "write 4 KiB",
            Self::Delete => "delete",
            Self::Rename => "rename",
            Self::Save => "atomic save",
        }
    }
}

/// What must be seen.
struct Effect {
    there: Option<(PathBuf, Vec<u8>)>,
    gone: Option<PathBuf>,
}

impl Effect {
    fn is_seen(&self) -> bool {
        self.gone.as_ref().is_none_or(|path| is_gone(path))
            && self.there.as_ref().is_none_or(|(path, content)| fs::read(path).is_ok_and(|found| found == *content))
    }
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// What the client itself adds: a thread makes the change right there, and it is seen by the same look.
pub(crate) fn overhead(runs: usize) -> Result<Row> {
    let dir = std::env::temp_dir().join(format!("rules-bench-{}", std::process::id()));
    fs::create_dir_all(&dir).context("make a directory")?;
    let path = dir.join("file");
    let mut seen = Vec::new();
    for run in 0..runs {
        let content = text(&format!("alone {run}"), RULE_BYTES);
        let effect = Effect { there: Some((path.clone(), content.clone())), gone: None };
        let writer = {
            let path = path.clone();
            thread::spawn(move || {
                chance::pause(Duration::from_millis(5), Duration::from_millis(20));
                put(&path, &content)
            })
        };
        while !effect.is_seen() {
            thread::sleep(PACE);
        }
        let at = Instant::now();
        let written = writer.join().map_err(|_| anyhow::anyhow!("the writer has panicked"))??;
        // The look may come between the last write and the return of `close`.
        seen.push(at.saturating_duration_since(written).as_secs_f64() * 1000.0);
    }
    fs::remove_dir_all(&dir).context("remove a directory")?;
    let figures = Figures::of(seen);
    let nothing = || "-".to_owned();
    Ok(vec![
        "(no system: the client alone)".into(),
        nothing(),
        "write 4 KiB".into(),
        runs.to_string(),
        figures.to_string(),
    ])
}

/// All kinds of changes in random order, each to a file of its own.
pub(crate) fn measure(system: &dyn System, size: Size, context: &mut Context) -> Result<Vec<Row>> {
    let size = Size { files: size.files.max(Change::ALL.len() * context.runs), ..size };
    let mut bed = Bed::make(system, size, &context.attic)?;
    let mut order: Vec<Change> = Change::ALL.iter().copied().cycle().take(Change::ALL.len() * context.runs).collect();
    chance::shuffle(&mut order);
    let (load, cpu) = (Load::start(&bed), bed.cpu());
    let mut taken: Vec<(Change, Option<f64>)> = Vec::new();
    for (turn, change) in order.iter().enumerate() {
        let number = turn * (size.files / order.len());
        taken.push((*change, sample(&mut bed, *change, number)?));
        bed.check_alive()?;
        chance::pause(PAUSE_LEAST, PAUSE_MORE);
    }
    let spent = bed.cpu();
    let spent = (spent[0] + spent[1]).saturating_sub(cpu[0] + cpu[1]).as_secs_f64() * 1000.0 / order.len() as f64;
    let others = load.others(&bed);
    bed.expect_identical(Duration::from_secs(30)).context("after the changes")?;
    let mut rows = Vec::new();
    for change in Change::ALL {
        let of_kind: Vec<Option<f64>> = taken.iter().filter(|(kind, _)| *kind == change).map(|(_, ms)| *ms).collect();
        rows.push(row(&bed, change, &of_kind, context, (spent, &others)));
    }
    Ok(rows)
}

fn sample(bed: &mut Bed<'_>, change: Change, number: usize) -> Result<Option<f64>> {
    let path = bed.size.file(number);
    let new = text(&format!("new {number} {}", chance::below(u64::MAX)), RULE_BYTES);
    let renamed = format!("{path}.renamed.rules");
    let (seen, seen_renamed) = (bed.copy.join(&path), bed.copy.join(&renamed));
    let (effect, at) = match change {
        Change::Write => {
            let at = bed.tree.write(&path, &new)?;
            (Effect { there: Some((seen, new)), gone: None }, at)
        }
        Change::Save => {
            let at = bed.tree.save(&path, &new)?;
            (Effect { there: Some((seen, new)), gone: None }, at)
        }
        Change::Delete => (Effect { there: None, gone: Some(seen) }, bed.tree.delete(&path)?),
        Change::Rename => {
            let content = fs::read(bed.tree.root().join(&path)).context("read a rule")?;
            let at = bed.tree.rename(&path, &renamed)?;
            (Effect { there: Some((seen_renamed, content)), gone: Some(seen) }, at)
        }
    };
    while at.elapsed() < MISSED {
        if effect.is_seen() {
            return Ok(Some(at.elapsed().as_secs_f64() * 1000.0));
        }
        thread::sleep(PACE);
    }
    Ok(None)
}

fn row(bed: &Bed<'_>, change: Change, taken: &[Option<f64>], context: &mut Context, cost: (f64, &str)) -> Row {
    let figures = Figures::of(taken.iter().flatten().copied().collect());
    let missed = taken.len() - figures.count();
    let large = bed.size.dirs > Size::SMALL.dirs;
    let key = (bed.system.name(), change.name());
    let median = figures.median().unwrap_or(f64::INFINITY);
    let small = context.medians.get(&key).copied();
    if !large {
        context.medians.insert(key, median);
    }
    let (target, met) = match (large, small) {
        (false, _) => {
            let met = median <= MEDIAN_MS && figures.percentile(99).is_some_and(|p99| p99 <= P99_MS);
            (format!("median <= {MEDIAN_MS}, p99 <= {P99_MS}"), verdict(bed.system.is_ours(), met && missed == 0))
        }
        (true, Some(small)) => {
            let times = median / small;
            let target = format!("median <= {LARGE_TIMES} x small tree (is {times:.2})");
            (target, verdict(bed.system.is_ours(), times <= LARGE_TIMES && missed == 0))
        }
        (true, None) => (format!("median <= {LARGE_TIMES} x small tree (not measured)"), "-".to_owned()),
    };
    vec![
        bed.system.name().to_owned(),
        bed.size.files.to_string(),
        change.name().to_owned(),
        taken.len().to_string(),
        figures.to_string(),
        missed.to_string(),
        target,
        met,
        figure(cost.0),
        cost.1.to_owned(),
    ]
}
