//! REPORT: what this node knows of itself, in one archive for whoever is to help.
//!
//! ```text
//!  plan (which files, from where) ─▶ fetch (each within a time, whatever hangs) ─▶ clean (no secret leaves) ─▶ archive
//! ```
//!
//! Nothing here asks the daemon in a way of its own: the verbs of the command line are run as an operator would run them, so
//! that a daemon which is dead or hangs costs their answers and nothing else. What cannot be had is a line in the archive.

mod archive;
mod clean;
mod fetch;
mod plan;
mod secrets;

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;

pub use archive::{BROUGHT_MAX, Brought, file_name};
pub use plan::Site;

use clean::Cleaner;
use fetch::{Fetched, fetch, within};
use secrets::Secrets;

/// Parts that are under way at once: one that hangs does not hold up the others.
const AT_ONCE: usize = 4;

/// A part of the archive, as its list of contents has it.
#[derive(Debug, Serialize)]
struct Content {
    file: String,
    source: String,
    millis: u128,
    bytes: usize,
}

/// The list of contents.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    program: &'static str,
    version: &'static str,
    made: &'a str,
    node: &'a str,
    cluster: &'a str,
    parts: Vec<Content>,
}

/// A report that is ready to be written.
#[derive(Debug)]
pub struct Report {
    /// The archive.
    pub bytes: Vec<u8>,
    /// How many files are in it.
    pub files: usize,
    /// What could not be had, and why.
    pub troubles: Vec<String>,
}

/// Gathers everything, each part within `patience`, and puts `brought` beside it. `tell` hears of each part when it is over: how
/// many are, of how many, and which one it was.
///
/// # Errors
/// When the system refuses what everything else needs: memory, a runtime.
pub fn make(
    site: &Site,
    brought: Vec<Brought>,
    patience: Duration,
    tell: impl FnMut(usize, usize, &str),
) -> std::io::Result<Report> {
    let known = Secrets::gather(site.config_text.as_deref(), patience);
    let parts = plan::parts(site);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut fetched = runtime.block_on(all(parts, patience, tell));
    // A file that hangs keeps its thread: nobody waits for that.
    runtime.shutdown_background();
    fetched.sort_by(|one, other| one.file.cmp(&other.file));
    let cleaner = Cleaner::new(&known)?;
    let mut troubles: Vec<String> = known.unread.clone();
    let (mut contents, mut files) = (Vec::new(), Vec::new());
    for part in fetched {
        troubles.extend(part.troubles);
        let Some(bytes) = part.bytes else { continue };
        let bytes = cleaner.clean(&bytes, part.is_cut);
        let (file, source, millis) = (part.file, part.source, part.took.as_millis());
        contents.push(Content { file: file.clone(), source, millis, bytes: bytes.len() });
        files.push((file, bytes));
    }
    for Brought { name, bytes } in brought {
        let (file, source) = (format!("with/{name}"), "brought by whoever made this".to_owned());
        contents.push(Content { file: file.clone(), source, millis: 0, bytes: bytes.len() });
        files.push((file, bytes));
    }
    // The words of a program that failed may hold a secret too, also on the screen.
    let clean = |text: String| String::from_utf8_lossy(&cleaner.clean(text.as_bytes(), false)).into_owned();
    let troubles: Vec<String> = troubles.into_iter().map(clean).collect();
    files.push(("errors.txt".to_owned(), listed(&troubles).into_bytes()));
    let manifest = Manifest {
        program: "avamgr report",
        version: env!("CARGO_PKG_VERSION"),
        made: &site.made,
        node: &site.node,
        cluster: &site.cluster,
        parts: contents,
    };
    let manifest = cleaner.clean(&serde_json::to_vec_pretty(&manifest)?, false);
    files.push(("manifest.json".to_owned(), manifest));
    let bytes = archive::pack(&site.stem(), &files)?;
    Ok(Report { bytes, files: files.len(), troubles })
}

async fn all(parts: Vec<plan::Part>, patience: Duration, mut tell: impl FnMut(usize, usize, &str)) -> Vec<Fetched> {
    let total = parts.len();
    let mut under_way = stream::iter(parts).map(|part| fetch(part, patience)).buffer_unordered(AT_ONCE);
    let mut fetched = Vec::new();
    while let Some(part) = under_way.next().await {
        tell(fetched.len() + 1, total, &part.file);
        fetched.push(part);
    }
    fetched
}

fn listed(troubles: &[String]) -> String {
    match troubles {
        [] => "Nothing is missing.\n".to_owned(),
        some => some.iter().map(|line| format!("{line}\n")).collect(),
    }
}

/// The text of the config file, however wrong it is; within `patience`, because its file system may hang.
///
/// # Errors
/// Why it cannot be read.
pub fn config_text(path: &std::path::Path, patience: Duration) -> Result<String, String> {
    let path = path.to_owned();
    let read = within(patience, move || fetch::read(&path));
    read.map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned())
}
