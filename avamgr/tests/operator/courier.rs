//! A program at the socket of rules-sync, of a few lines: one version has lost, and everything can be compared.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use avamgr_core::config::{Direction, RulesConfig};
use avamgr_core::courier::{KeptStatus, Reply, Request};

/// The name of what has lost.
pub(crate) const LOST: &str = "000000000000042";

/// A name over which it dies.
pub(crate) const DEADLY: &str = "000000000000666";

/// Rules that are replicated by whoever listens there.
pub(crate) fn rules(socket: &Path) -> RulesConfig {
    RulesConfig {
        directories: BTreeMap::from([("re".to_owned(), "/re".to_owned())]),
        include: Vec::new(),
        exclude: Vec::new(),
        direction: Direction::Both,
        group: None,
        port: 1984,
        ssh: None,
        user: None,
        keep_time: Duration::from_secs(3600),
        keep_size: 1,
        audit_interval: Duration::from_secs(3600),
        state_dir: "/var/lib/avamgr-rules".into(),
        socket: socket.to_owned(),
    }
}

/// Listens there as long as the test lasts; tells what it was asked.
pub(crate) fn courier(socket: &Path) -> Receiver<Request> {
    let (tell, asked) = channel();
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, tell) = (stream.unwrap(), tell.clone());
            thread::spawn(move || converse(stream, &tell));
        }
    });
    asked
}

fn converse(stream: UnixStream, tell: &Sender<Request>) {
    let mut writer = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines() {
        // Whoever asked may have left.
        let Ok(line) = line else { return };
        let request: Request = serde_json::from_str(&line).unwrap();
        // It dies over this one.
        if request == (Request::Restore { name: DEADLY.to_owned() }) {
            return;
        }
        for reply in answers(&request) {
            let line = serde_json::to_string(&reply).unwrap() + "\n";
            let _ = writer.write_all(line.as_bytes());
        }
        let _ = tell.send(request);
    }
}

fn answers(request: &Request) -> Vec<Reply> {
    let refused = |reason: &str| vec![Reply::Refused { reason: reason.to_owned() }];
    match request {
        Request::Kept { .. } => {
            let lost = |number: u32| KeptStatus {
                name: if number == 99 { LOST.to_owned() } else { format!("{number:015}") },
                place: "re/\u{1b}[2Jroute.conf".to_owned(),
                file: "/var/lib/avamgr-rules/conflicts/1".to_owned(),
                by: "hadev2".to_owned(),
                millis: 1_770_000_000_000,
                bytes: 4096,
            };
            vec![Reply::Kept { kept: (0..100).map(lost).collect(), omitted: 1 }]
        }
        Request::Resync { .. } => {
            let progress = |done| Reply::Progress { done, total: 4, text: "every rule is read".to_owned() };
            vec![progress(1), progress(4), Reply::Done { text: "4 paths were read and compared".to_owned() }]
        }
        Request::Restore { name } | Request::Settle { name: Some(name) } if name == LOST => {
            vec![Reply::Done { text: "re/route.conf is settled".to_owned() }]
        }
        Request::Restore { .. } | Request::Settle { .. } => refused("there is no such version"),
        Request::Status | Request::Diff { .. } => refused("it has just been started"),
    }
}
