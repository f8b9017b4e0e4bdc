//! Faults: the link goes away and comes back; the kernel's queue of changes overflows.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::Context;
use crate::bed::{Bed, RULE_BYTES, Size};
use crate::compare::Ended;
use crate::figures::{Figures, Row, verdict};
use crate::load::Load;
use crate::processes::Watch;
use crate::system::{INTERFACE, System};
use crate::tree::text;

pub(crate) const HEADER: [&str; 8] = [
    "system",
    "changes",
    "n",
    "identical after s: median / p99 / max",
    "rsyncs started since the fault began",
    "target",
    "met",
    "other load",
];

/// Changes while the link is down.
const CHANGES: usize = 200;
const DOWN_FOR: Duration = Duration::from_secs(10);
const AFTER_LINK_S: f64 = 1.0;

/// Three events each: 33,000, where the kernel's queue holds 16,384. Who does not ask for permissions gets two of them.
const OVERFLOW_FILES: usize = 11_000;
const QUEUE: &str = "/proc/sys/fs/inotify/max_queued_events";
const OVERFLOW_BYTES: usize = 512;
const AFTER_OVERFLOW_S: f64 = 8.0;

/// Trees that are not identical then never are.
const OVER_WITHIN: Duration = Duration::from_secs(90);

/// What one fault came to.
struct Outcome {
    over: Option<f64>,
    note: String,
    rsyncs: usize,
    others: String,
}

/// The link is down for a while, and changes go on.
pub(crate) fn link(system: &dyn System, context: &Context) -> Result<Vec<Row>> {
    let outcomes: Result<Vec<Outcome>> = (0..context.repeat).map(|_| link_once(system, context)).collect();
    Ok(vec![row(system, CHANGES, AFTER_LINK_S, &outcomes?)])
}

fn link_once(system: &dyn System, context: &Context) -> Result<Outcome> {
    let mut bed = Bed::make(system, Size::SMALL, &context.attic)?;
    let down_for = if context.quick { DOWN_FOR / 3 } else { DOWN_FOR };
    let (load, mark) = (Load::start(&bed), bed.mark());
    let watch = Watch::start(bed.site.hosts.clone())?;
    bed.lab.pull(INTERFACE)?;
    let begin = Instant::now();
    for number in 0..CHANGES {
        let due = down_for * u32::try_from(number)? / u32::try_from(CHANGES)?;
        thread::sleep(due.saturating_sub(begin.elapsed()));
        change(&mut bed, number)?;
    }
    thread::sleep(down_for.saturating_sub(begin.elapsed()));
    let at = bed.lab.plug(INTERFACE)?;
    outcome(&bed, watch, at, mark, &load)
}

/// Creates, edits, deletes and renames, each of files of their own.
fn change(bed: &mut Bed<'_>, number: usize) -> Result<()> {
    let old = bed.size.file(2 + number % (bed.size.files - 2));
    match number % 4 {
        0 => bed.tree.write(&format!("d000/made{number:03}.rules"), &text("made", RULE_BYTES))?,
        1 => bed.tree.write(&old, &text(&format!("edited {number}"), RULE_BYTES + 1))?,
        2 => bed.tree.delete(&old)?,
        _ => bed.tree.rename(&old, &format!("{old}.renamed.rules"))?,
    };
    Ok(())
}

/// The first node hangs while more happens than its kernel can remember.
pub(crate) fn overflow(system: &dyn System, context: &Context) -> Result<Vec<Row>> {
    if OVERFLOW_FILES > system.most_changes() {
        let why = format!("not measured: beyond {} changes it endangers the machine", system.most_changes());
        return Ok(vec![vec![system.name().to_owned(), OVERFLOW_FILES.to_string(), "0".into(), why]]);
    }
    let queue = std::fs::read_to_string(QUEUE).with_context(|| format!("read {QUEUE}"))?;
    let queue: usize = queue.trim().parse().with_context(|| format!("understand {QUEUE}"))?;
    ensure!(queue < OVERFLOW_FILES * 2, "{QUEUE} is {queue}: nothing would overflow");
    let outcomes: Result<Vec<Outcome>> = (0..context.repeat).map(|_| overflow_once(system, context)).collect();
    Ok(vec![row(system, OVERFLOW_FILES * 3, AFTER_OVERFLOW_S, &outcomes?)])
}

fn overflow_once(system: &dyn System, context: &Context) -> Result<Outcome> {
    let mut bed = Bed::make(system, Size::SMALL, &context.attic)?;
    let (load, mark) = (Load::start(&bed), bed.mark());
    let watch = Watch::start(bed.site.hosts.clone())?;
    bed.site.hosts[0].freeze()?;
    for number in 0..OVERFLOW_FILES {
        let path = format!("d{:03}/over{number:05}.rules", number % bed.size.dirs);
        // Made, closed, and other permissions: three events.
        bed.tree.write(&path, &text(&format!("over {number}"), OVERFLOW_BYTES))?;
        bed.tree.chmod(&path, 0o640)?;
    }
    let at = Instant::now();
    bed.site.hosts[0].thaw()?;
    outcome(&bed, watch, at, mark, &load)
}

fn outcome(bed: &Bed<'_>, watch: Watch, at: Instant, mark: [usize; 2], load: &Load) -> Result<Outcome> {
    let ended = bed.identical(OVER_WITHIN, &|| !watch.runaway())?;
    let runaway = watch.runaway();
    watch.end()?;
    let rsyncs = bed.rsyncs_since(mark)?;
    let (over, note) = match ended {
        Ended::Identical(seen) => (Some(seen.saturating_duration_since(at).as_secs_f64()), String::new()),
        Ended::Never(_) if runaway => (None, "never: killed, too many processes".to_owned()),
        Ended::Never(difference) => (None, format!("not within {OVER_WITHIN:?}: {difference}")),
    };
    Ok(Outcome { over, note, rsyncs, others: load.others(bed) })
}

fn row(system: &dyn System, changes: usize, seconds: f64, outcomes: &[Outcome]) -> Row {
    let over = Figures::of(outcomes.iter().filter_map(|outcome| outcome.over).collect());
    let notes: Vec<&str> = outcomes.iter().map(|it| it.note.as_str()).filter(|note| !note.is_empty()).collect();
    let met = notes.is_empty() && over.median().is_some_and(|median| median <= seconds);
    vec![
        system.name().to_owned(),
        changes.to_string(),
        outcomes.len().to_string(),
        if notes.is_empty() { over.to_string() } else { format!("{over}; {}", notes.join("; ")) },
        outcomes.iter().map(|outcome| outcome.rsyncs).max().unwrap_or(0).to_string(),
        format!("median <= {seconds}"),
        verdict(system.is_ours(), met),
        outcomes.iter().map(|outcome| outcome.others.as_str()).collect::<Vec<_>>().join(", "),
    ]
}
