//! What a witness shows: its status to operators of this machine, its numbers to Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::config::WitnessFile;
use super::table::{self, Table};
use crate::clock;

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The whole picture.
#[derive(Debug, Serialize, Deserialize)]
struct Picture {
    version: String,
    pid: u32,
    /// Datagrams of clusters that are not served here.
    strange: u64,
    /// Why longer promises than before cannot be made.
    trouble: Option<String>,
    clusters: Vec<ClusterPicture>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ClusterPicture {
    cluster: String,
    /// For how much longer nothing is promised after the start.
    abstains_millis: Option<u64>,
    answered: u64,
    refused: BTreeMap<String, u64>,
    /// Rank of each node, and how long ago it asked last.
    nodes: Vec<NodePicture>,
    votes: Vec<VotePicture>,
}

#[derive(Debug, Serialize, Deserialize)]
struct NodePicture {
    /// Its place in the cluster's list of nodes, from 1.
    rank: u32,
    heard_millis_ago: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct VotePicture {
    /// Digest of the group's name.
    group: String,
    /// Rank of the node that has it.
    rank: u32,
    term: u64,
    left_millis: u64,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn picture(table: &Table) -> Picture {
    let now = clock::now();
    let clusters = table.seats.values().map(|seat| ClusterPicture {
        cluster: seat.name.clone(),
        abstains_millis: (seat.witness.abstains_until() > now)
            .then(|| millis(seat.witness.abstains_until().since(now))),
        answered: seat.answered,
        refused: seat.refused.iter().map(|(cause, count)| ((*cause).to_owned(), *count)).collect(),
        nodes: seat
            .witness
            .callers()
            .map(|(node, heard)| NodePicture {
                rank: u32::from(node.0) + 1,
                heard_millis_ago: millis(now.since(heard)),
            })
            .collect(),
        votes: seat
            .witness
            .promises(now)
            .map(|(group, promise)| VotePicture {
                group: format!("{group:08x}"),
                rank: u32::from(promise.holder.0) + 1,
                term: promise.term.0,
                left_millis: millis(promise.until.since(now)),
            })
            .collect(),
    });
    Picture {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        strange: table.strange,
        trouble: table.trouble.as_ref().map(|(_, reason)| reason.clone()),
        clusters: clusters.collect(),
    }
}

/// Starts to answer on the status socket and, if there is one, on the address for Prometheus.
pub(super) fn serve(file: &WitnessFile, table: &Arc<Mutex<Table>>) -> Result<()> {
    let socket = file.socket.clone();
    if let Some(directory) = socket.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", socket.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    let shared = Arc::clone(table);
    let answer = move || {
        for client in listener.incoming().flatten() {
            let text = serde_json::to_string(&picture(&table::lock(&shared))).unwrap_or_default();
            // Whoever does not read in time gets a part of it.
            let _ = client.set_write_timeout(Some(PATIENCE)).and_then(|()| (&client).write_all(text.as_bytes()));
        }
    };
    thread::Builder::new().name("status".into()).spawn(answer).context("cannot start a thread")?;
    let Some(address) = file.metrics else { return Ok(()) };
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on TCP {address}"))?;
    let shared = Arc::clone(table);
    let answer = move || {
        for mut client in listener.incoming().flatten() {
            let body = metrics(&picture(&table::lock(&shared)));
            // There is one page, whatever is asked for.
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let mut request = [0; 1024];
            let _ = client.set_read_timeout(Some(PATIENCE)).and_then(|()| client.read(&mut request));
            let _ = client.set_write_timeout(Some(PATIENCE));
            let _ = client.write_all(head.as_bytes()).and_then(|()| client.write_all(body.as_bytes()));
        }
    };
    thread::Builder::new().name("metrics".into()).spawn(answer).context("cannot start a thread")?;
    Ok(())
}

/// In the text format of Prometheus.
fn metrics(picture: &Picture) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let each = |value: &dyn Fn(&ClusterPicture) -> u64| -> Vec<(String, u64)> {
        picture.clusters.iter().map(|it| (format!("{{cluster=\"{}\"}}", it.cluster), value(it))).collect()
    };
    family("avamgr_witness_answers_total", "counter", "Requests answered.", &each(&|it| it.answered));
    let refused = |it: &ClusterPicture| it.refused.values().sum();
    family("avamgr_witness_refused_total", "counter", "Requests refused.", &each(&refused));
    family("avamgr_witness_votes", "gauge", "Votes that are given.", &each(&|it| it.votes.len() as u64));
    family(
        "avamgr_witness_abstains",
        "gauge",
        "1 while nothing is promised after a start.",
        &each(&|it| u64::from(it.abstains_millis.is_some())),
    );
    family(
        "avamgr_witness_strange_total",
        "counter",
        "Datagrams of no cluster of ours.",
        &[(String::new(), picture.strange)],
    );
    let trouble = u64::from(picture.trouble.is_some());
    family("avamgr_witness_disk_failed", "gauge", "1 while the disk refuses.", &[(String::new(), trouble)]);
    text
}

/// `avamgr-witness status`.
#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(super) fn show(config: &Path, json: bool) -> Result<()> {
    let file = WitnessFile::load(config)?;
    let ask = || format!("no witness answers on {} (is it running?)", file.socket.display());
    let mut stream = UnixStream::connect(&file.socket).with_context(ask)?;
    stream.set_read_timeout(Some(PATIENCE)).with_context(ask)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).with_context(ask)?;
    if json {
        println!("{text}");
        return Ok(());
    }
    let picture: Picture =
        serde_json::from_str(&text).context("the witness answers what this program does not understand")?;
    print!("{}", sentences(&picture));
    Ok(())
}

fn sentences(picture: &Picture) -> String {
    let mut text = format!("witness {}, pid {}\n", picture.version, picture.pid);
    if let Some(trouble) = &picture.trouble {
        let _ = writeln!(text, "ALARM: longer promises than before cannot be made: {trouble}");
    }
    for cluster in &picture.clusters {
        let _ = writeln!(text, "{}: {} requests answered", cluster.cluster, cluster.answered);
        if let Some(left) = cluster.abstains_millis {
            let _ = writeln!(text, "  just started: promises nothing for {left} ms");
        }
        for node in &cluster.nodes {
            let _ = writeln!(text, "  node {} asked {} ms ago", node.rank, node.heard_millis_ago);
        }
        for vote in &cluster.votes {
            let VotePicture { group, rank, term, left_millis } = vote;
            let _ = writeln!(text, "  group {group}: promised to node {rank} in term {term}, for {left_millis} ms");
        }
        for (cause, count) in &cluster.refused {
            let _ = writeln!(text, "  refused: {count} {cause}");
        }
    }
    text
}
