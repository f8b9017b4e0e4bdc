//! Many new files at once.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Context;
use crate::bed::{Bed, Size};
use crate::compare::Ended;
use crate::figures::{Figures, Row, figure, verdict};
use crate::load::Load;
use crate::processes::{Peak, Watch, most_memory_kib};
use crate::system::System;
use crate::tree::text;

pub(crate) const HEADER: [&str; 13] = [
    "system",
    "files",
    "n",
    "written in s",
    "identical after s (from the first write): median / p99 / max",
    "last rsync seen after s",
    "CPU s A / B",
    "rsyncs started, both nodes",
    "rsync senders at once A / B",
    "most memory of the main process, MiB A / B",
    "of all rsyncs, MiB A / B",
    "target; met",
    "other load",
];

/// A small file of the burst.
const BYTES: usize = 4600;

/// A burst of these sizes must be over after so many seconds.
const SMALL: (usize, f64) = (1000, 1.0);
const LARGE: (usize, f64) = (10_000, 6.0);

/// The other targets.
const RSS_MIB: f64 = 100.0;
const RSYNCS: usize = 50;
const SENDERS: usize = 1;

/// A burst that is not over then never is.
const OVER_WITHIN: Duration = Duration::from_secs(120);

/// No rsync for so long: the system has come to rest, or is given up on.
const QUIET: Duration = Duration::from_secs(1);
const QUIET_WITHIN: Duration = Duration::from_secs(60);

/// One burst.
struct Burst {
    written: f64,
    over: Option<f64>,
    quiet: f64,
    cpu: [f64; 2],
    rsyncs: usize,
    peaks: [Peak; 2],
    main_mib: [f64; 2],
    note: String,
    others: String,
}

/// Bursts of both sizes, as far as the system may be given them.
pub(crate) fn measure(system: &dyn System, context: &Context) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (files, seconds) in [SMALL, LARGE] {
        if files > system.most_changes() {
            let why = format!("not measured: beyond {} changes it endangers the machine", system.most_changes());
            rows.push(vec![system.name().to_owned(), files.to_string(), "0".into(), String::new(), why]);
            continue;
        }
        let bursts: Result<Vec<Burst>> = (0..context.repeat).map(|_| burst(system, files, context)).collect();
        rows.push(row(system, (files, seconds), &bursts?));
    }
    Ok(rows)
}

fn burst(system: &dyn System, files: usize, context: &Context) -> Result<Burst> {
    let mut bed = Bed::make(system, Size::SMALL, &context.attic)?;
    // Made before, so that only the writing is timed.
    let contents: Vec<Vec<u8>> = (0..files).map(|number| text(&format!("burst {number}"), BYTES)).collect();
    let (load, cpu, mark) = (Load::start(&bed), bed.cpu(), bed.mark());
    let watch = Watch::start(bed.site.hosts.clone())?;
    let begin = Instant::now();
    for (number, content) in contents.iter().enumerate() {
        bed.tree.write(&format!("d{:03}/burst{number:05}.rules", number % bed.size.dirs), content)?;
    }
    let written = begin.elapsed().as_secs_f64();
    let ended = bed.identical(OVER_WITHIN, &|| !watch.runaway())?;
    let main_mib = [0, 1].map(|node| most_memory_kib(bed.daemons[node].pid()) as f64 / 1024.0);
    wait_quiet(&bed, &watch);
    let runaway = watch.runaway();
    let seen = watch.end()?;
    let spent = bed.cpu();
    let rsyncs = bed.rsyncs_since(mark)?;
    let (over, note) = match ended {
        Ended::Identical(at) => (Some((at - begin).as_secs_f64()), String::new()),
        Ended::Never(_) if runaway => (None, "never: killed, too many processes".to_owned()),
        Ended::Never(difference) => (None, format!("not within {OVER_WITHIN:?}: {difference}")),
    };
    Ok(Burst {
        written,
        over,
        quiet: seen.busy_until.saturating_duration_since(begin).as_secs_f64(),
        cpu: [0, 1].map(|node| spent[node].saturating_sub(cpu[node]).as_secs_f64()),
        rsyncs,
        peaks: seen.peaks,
        main_mib,
        note,
        others: load.others(&bed),
    })
}

/// Waits until no rsync has ended for a while and the processors of the nodes are idle.
fn wait_quiet(bed: &Bed<'_>, watch: &Watch) {
    let end = Instant::now() + QUIET_WITHIN;
    let mut before = bed.mark();
    while Instant::now() < end && !watch.runaway() {
        thread::sleep(QUIET);
        let now = bed.mark();
        if now == before {
            return;
        }
        before = now;
    }
}

fn row(system: &dyn System, (files, seconds): (usize, f64), bursts: &[Burst]) -> Row {
    let of = |pick: &dyn Fn(&Burst) -> f64| Figures::of(bursts.iter().map(pick).collect());
    let median = |pick: &dyn Fn(&Burst) -> f64| figure(of(pick).median().unwrap_or(f64::NAN));
    let most = |pick: &dyn Fn(&Burst) -> usize| bursts.iter().map(pick).max().unwrap_or(0);
    let over = Figures::of(bursts.iter().filter_map(|burst| burst.over).collect());
    let rsyncs = most(&|burst| burst.rsyncs);
    let senders = [0, 1].map(|node| most(&|burst| burst.peaks[node].clients));
    let main = [0, 1].map(|node| of(&|burst| burst.main_mib[node]).percentile(100).unwrap_or(f64::NAN));
    let all_over = over.count() == bursts.len();
    let met = all_over
        && over.median().is_some_and(|median| median <= seconds)
        && main.iter().all(|mib| *mib <= RSS_MIB)
        && rsyncs <= RSYNCS
        && senders.iter().all(|at_once| *at_once <= SENDERS);
    let notes: Vec<&str> = bursts.iter().map(|burst| burst.note.as_str()).filter(|note| !note.is_empty()).collect();
    vec![
        system.name().to_owned(),
        files.to_string(),
        bursts.len().to_string(),
        median(&|burst| burst.written),
        if all_over { over.to_string() } else { format!("{over}; {}", notes.join("; ")) },
        median(&|burst| burst.quiet),
        format!("{} / {}", median(&|burst| burst.cpu[0]), median(&|burst| burst.cpu[1])),
        rsyncs.to_string(),
        format!("{} / {}", senders[0], senders[1]),
        format!("{} / {}", figure(main[0]), figure(main[1])),
        [0, 1].map(|node| figure(most(&|burst| to_mib(burst.peaks[node].rsync_kib)) as f64)).join(" / "),
        format!(
            "<= {seconds} s, <= {RSS_MIB} MiB, <= {RSYNCS} rsyncs, <= {SENDERS} at once; {}",
            verdict(system.is_ours(), met)
        ),
        bursts.iter().map(|burst| burst.others.as_str()).collect::<Vec<_>>().join(", "),
    ]
}

fn to_mib(kib: u64) -> usize {
    usize::try_from(kib / 1024).unwrap_or(usize::MAX)
}
