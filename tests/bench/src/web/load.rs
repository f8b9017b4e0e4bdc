//! Many questions, asked when they are due whether the last one was answered or not.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::bed::{Bed, connect, get, read_answer};
use crate::{Figure, ms, percentile};

/// Whoever asks, each on a connection of his own.
const CLIENTS: u32 = 10;

/// Answers about the status at this rate, each counted from the moment its question was due.
pub(crate) fn answers(bed: &Bed, rate: u32, time: Duration) -> Result<Figure> {
    let host = bed.node()?;
    let streams = (0..CLIENTS).map(|_| connect(&host)).collect::<Result<Vec<_>>>()?;
    let pace = Duration::from_secs(1) * CLIENTS / rate;
    let begin = Instant::now() + Duration::from_millis(100);
    let mut all = thread::scope(|scope| {
        let ask = |(number, stream)| {
            let first = begin + pace * number / CLIENTS;
            scope.spawn(move || client(stream, first, pace, begin + time))
        };
        let clients: Vec<_> = (0..CLIENTS).zip(streams).map(ask).collect();
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.join().map_err(|_| anyhow::anyhow!("a client has panicked"))??);
        }
        Ok::<_, anyhow::Error>(all)
    })?;
    let (median, p99) = (percentile(&mut all, 50).context("no answers")?, percentile(&mut all, 99).context("none")?);
    let most = all.last().copied().unwrap_or_default();
    Ok(Figure {
        what: format!("/api/v1/status at {rate} a second ({} answers): median / p99 / most", all.len()),
        measured: format!("{} / {} / {} ms", ms(median), ms(p99), ms(most)),
        wanted: "p99 5 ms",
        met: p99 <= Duration::from_millis(5),
    })
}

fn client(mut stream: TcpStream, first: Instant, pace: Duration, end: Instant) -> Result<Vec<Duration>> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut due, mut took) = (first, Vec::new());
    while due < end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let (code, _) = read_answer(&mut reader)?;
        ensure!(code == 200, "status {code}");
        took.push(due.elapsed());
        due += pace;
    }
    Ok(took)
}

/// Everything a browser fetches to show the page, as it is sent.
pub(crate) fn weight(bed: &Bed) -> Result<Figure> {
    let host = bed.node()?;
    let (_, page) = get(&host, "/")?;
    let text = String::from_utf8(page)?;
    let mut bytes = text.len();
    let mut open: Vec<String> = names(&text).map(|name| format!("/assets/{name}")).collect();
    let mut seen = Vec::new();
    while let Some(path) = open.pop() {
        if seen.contains(&path) {
            continue;
        }
        let (code, body) = get(&host, &path)?;
        ensure!(code == 200, "{path}: status {code}");
        bytes += body.len();
        open.extend(names(&String::from_utf8_lossy(&body)).map(|name| format!("/assets/{name}")));
        seen.push(path);
    }
    Ok(Figure {
        what: format!("the page and its {} files", seen.len()),
        measured: format!("{} KiB, not compressed", bytes.div_ceil(1024)),
        wanted: "150 KiB",
        met: bytes <= 150 * 1024,
    })
}

/// The files of ours that a text names.
fn names(text: &str) -> impl Iterator<Item = String> + '_ {
    let names = text.split(['"', '\'']).filter_map(|word| word.strip_prefix("./").or(word.strip_prefix("/assets/")));
    names.filter(|name| name.contains('.')).map(str::to_owned)
}
