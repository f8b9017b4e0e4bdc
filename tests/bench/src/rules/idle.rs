//! What a system costs that has nothing to do.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Context;
use crate::bed::{Bed, Size};
use crate::figures::{Row, verdict};
use crate::load::Load;
use crate::system::System;

pub(crate) const HEADER: [&str; 8] = [
    "system",
    "files",
    "seconds",
    "CPU % of a core A / B",
    "RSS MiB A / B",
    "PSS MiB A / B",
    "target; met",
    "other load",
];

const CPU_PERCENT: f64 = 0.1;
const RSS_MIB: f64 = 40.0;

/// So long after its start a system has come to rest.
const REST: Duration = Duration::from_secs(30);

/// Looks at all processes of both nodes.
pub(crate) fn measure(system: &dyn System, context: &Context) -> Result<Vec<Row>> {
    let bed = Bed::make(system, Size::LARGE, &context.attic)?;
    thread::sleep(REST);
    let (load, begin, before) = (Load::start(&bed), Instant::now(), bed.cpu());
    thread::sleep(Duration::from_secs(if context.quick { 10 } else { 30 }));
    let (after, seconds) = (bed.cpu(), begin.elapsed().as_secs_f64());
    bed.check_alive()?;
    let usage = [bed.site.hosts[0].usage()?, bed.site.hosts[1].usage()?];
    let cpu = [0, 1].map(|node| 100.0 * after[node].saturating_sub(before[node]).as_secs_f64() / seconds);
    let rss = usage.map(|it| it.rss_kib as f64 / 1024.0);
    let pss = usage.map(|it| it.pss_kib as f64 / 1024.0);
    let met = cpu.iter().all(|it| *it <= CPU_PERCENT) && rss.iter().all(|it| *it <= RSS_MIB);
    Ok(vec![vec![
        system.name().to_owned(),
        bed.size.files.to_string(),
        format!("{seconds:.0}"),
        format!("{:.2} / {:.2}", cpu[0], cpu[1]),
        format!("{:.1} / {:.1}", rss[0], rss[1]),
        format!("{:.1} / {:.1}", pss[0], pss[1]),
        format!("<= {CPU_PERCENT} %, <= {RSS_MIB} MiB; {}", verdict(system.is_ours(), met)),
        load.others(&bed),
    ]])
}
