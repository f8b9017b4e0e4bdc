//! Gets one part: a file or what a program prints, within a time, however it fails.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::plan::{Part, Source};
use crate::clock;

/// Bytes of one part; what is longer is cut at a line, and that is said.
const BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Bytes of what a program says besides.
const SAID_MAX: u64 = 64 * 1024;
/// Colours would be in the way of whoever reads or searches it.
const PLAIN: [(&str, &str); 2] = [("NO_COLOR", "1"), ("LC_ALL", "C")];
const COLOURS: [&str; 3] = ["CLICOLOR_FORCE", "FORCE_COLOR", "SYSTEMD_COLORS"];

/// A part, or why there is none.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) file: String,
    pub(super) source: String,
    pub(super) bytes: Option<Vec<u8>>,
    /// Its end is missing.
    pub(super) is_cut: bool,
    pub(super) took: Duration,
    pub(super) troubles: Vec<String>,
}

/// What was had, or not.
#[derive(Default)]
struct Had {
    bytes: Option<Vec<u8>>,
    is_cut: bool,
    troubles: Vec<String>,
}

pub(super) async fn fetch(part: Part, patience: Duration) -> Fetched {
    let begun = clock::now();
    let (source, had) = match part.source {
        Source::Text(text) => {
            ("this program".to_owned(), Had { bytes: Some(text.into_bytes()), is_cut: false, troubles: Vec::new() })
        }
        Source::File(path) => (path.display().to_string(), from_file(&path, part.is_expected, patience).await),
        Source::Command(words) => (words.join(" "), from_program(&words, patience).await),
    };
    let mut troubles = had.troubles;
    if had.bytes.as_ref().is_some_and(|bytes| u64::try_from(bytes.len()).is_ok_and(|length| length >= BYTES_MAX)) {
        troubles.push(format!("it is cut after {} MiB", BYTES_MAX >> 20));
    }
    let troubles = troubles.into_iter().map(|what| format!("{}: {source}: {what}", part.file)).collect();
    Fetched { file: part.file, source, bytes: had.bytes, is_cut: had.is_cut, took: clock::now().since(begun), troubles }
}

async fn from_file(path: &Path, is_expected: bool, patience: Duration) -> Had {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || within(patience, move || read(&path))).await;
    match read.unwrap_or_else(|error| Err(error.to_string())) {
        Ok((bytes, is_cut)) => Had { bytes: Some(bytes), is_cut, troubles: Vec::new() },
        Err(_) if !is_expected => Had::default(),
        Err(why) => Had { troubles: vec![why], ..Had::default() },
    }
}

/// The bytes of a file up to the bound, and whether there are more.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, bool), String> {
    // Not to hang on what is not a file.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(|e| e.to_string())?;
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(cut(bytes))
}

fn cut(mut bytes: Vec<u8>) -> (Vec<u8>, bool) {
    let bound = usize::try_from(BYTES_MAX).unwrap_or(usize::MAX);
    let is_cut = bytes.len() > bound;
    bytes.truncate(bound);
    (bytes, is_cut)
}

/// What `work` gives, unless it takes longer: then its thread is left to itself, in a file system that hangs.
pub(super) fn within<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (sender, result) = mpsc::channel();
    let started = thread::Builder::new().name("report-read".to_owned()).spawn(move || {
        // Whoever has waited long enough does not listen.
        let _ = sender.send(work());
    });
    started.map_err(|error| error.to_string())?;
    result.recv_timeout(patience).unwrap_or_else(|_| Err(late(patience)))
}

fn late(patience: Duration) -> String {
    format!("it has not answered within {} s and was given up", patience.as_secs_f32())
}

async fn from_program(words: &[String], patience: Duration) -> Had {
    let Some((program, arguments)) = words.split_first() else { return Had::default() };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(PLAIN).kill_on_drop(true).process_group(0);
    for variable in COLOURS {
        command.env_remove(variable);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Had { troubles: vec![format!("cannot be run: {error}")], ..Had::default() },
    };
    let group = child.id().and_then(|number| i32::try_from(number).ok()).map(Pid::from_raw);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = timeout(patience, async {
        tokio::join!(collect(stdout, BYTES_MAX, &mut out), collect(stderr, SAID_MAX, &mut err));
        child.wait().await
    })
    .await;
    // The last line of what was being said may be half of one.
    let is_torn = ended.is_err();
    let mut troubles = Vec::new();
    match ended {
        Ok(Ok(status)) => troubles.extend(how_it_ended(status)),
        Ok(Err(error)) => troubles.push(error.to_string()),
        Err(_) => {
            // With all that it has started; one that is gone already is no trouble.
            let _ = group.map(|group| killpg(group, Signal::SIGKILL));
            troubles.push(late(patience));
        }
    }
    let is_long = u64::try_from(err.len()).is_ok_and(|length| length > SAID_MAX);
    let said = String::from_utf8_lossy(&err);
    let whole = said.lines().count() - usize::from((is_torn || is_long) && !said.is_empty());
    troubles
        .extend(said.lines().take(whole).filter(|line| !line.trim().is_empty()).map(|line| format!("said: {line}")));
    let (bytes, is_cut) = cut(out);
    Had { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), is_cut: is_cut || is_torn, troubles }
}

fn how_it_ended(status: ExitStatus) -> Option<String> {
    (!status.success()).then(|| format!("ended with {status}"))
}

/// Everything up to the bound; what comes after it is read and forgotten, so that nobody waits for us.
async fn collect(stream: Option<impl AsyncRead + Unpin>, bound: u64, bytes: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    // What was read before an error is worth having.
    let _ = (&mut stream).take(bound + 1).read_to_end(bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}
