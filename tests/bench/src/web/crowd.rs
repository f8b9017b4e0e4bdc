//! Many who look on: what they cost, and how soon they are told.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::bed::{Bed, SOON, connect};
use crate::{Figure, ms, percentile};

/// So many look on while `runs` things happen.
pub(crate) fn streams(bed: &Bed, streams: usize, runs: usize) -> Result<[Figure; 2]> {
    let host = bed.node()?;
    let (tell, told) = channel();
    for _ in 0..streams {
        let mut stream = connect(&host)?;
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let tell = tell.clone();
        // It ends with the page, which ends with the bench.
        thread::Builder::new().stack_size(256 * 1024).spawn(move || look(stream, &tell))?;
    }
    thread::sleep(Duration::from_secs(1));
    let mut late = Vec::new();
    for number in 0..runs {
        bed.happen(number)?;
        // Each of them is told; of some events there is more than one.
        for _ in 0..streams {
            late.push(told.recv_timeout(SOON).context("nobody was told")?);
        }
        thread::sleep(Duration::from_millis(300));
        late.extend(told.try_iter());
    }
    let kib = memory_kib(bed.window()?)?;
    let (median, most) = (percentile(&mut late, 50).context("none")?, percentile(&mut late, 100).context("none")?);
    Ok([
        Figure {
            what: format!("memory of the page's program with {streams} streams (resident)"),
            measured: format!("{:.1} MiB", kib / 1024.0),
            wanted: "25 MiB",
            met: kib <= 25.0 * 1024.0,
        },
        Figure {
            what: format!("from an event to each of {streams} streams: median / most"),
            measured: format!("{} / {} ms", ms(median), ms(most)),
            wanted: "100 ms",
            met: most <= Duration::from_millis(100),
        },
    ])
}

/// Tells how old each event is when it is heard, by the clock of the machine that all share.
fn look(stream: TcpStream, tell: &Sender<Duration>) {
    let mut is_entry = false;
    for line in BufReader::new(stream).lines() {
        // The page is gone, or nothing happens any more: the bench is over.
        let Ok(line) = line else { return };
        if let Some(data) = line.strip_prefix("data: ").filter(|_| is_entry) {
            let Ok(now) = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from) else { return };
            let entry: Value = serde_json::from_str(data).unwrap_or_default();
            let at = Duration::from_nanos(entry["event"]["at"].as_u64().unwrap_or_default());
            if tell.send(now.saturating_sub(at)).is_err() {
                return;
            }
        }
        if let Some(name) = line.strip_prefix("event: ") {
            is_entry = name == "entry";
        }
    }
}

fn memory_kib(pid: i32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no memory")?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}
