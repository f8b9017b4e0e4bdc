//! The two files of the history: append, rotate, read the end. No thread, no memory of the entries.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use avamgr_core::control::HistoryEntry;

/// The file that grows.
const NEW: &str = "history.jsonl";

/// The one before it.
const OLD: &str = "history.1.jsonl";

/// Most of one file that is read to find its last entries.
const TAIL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The newer file, open for appending, and its bounds.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    bytes_max: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    /// The file ends in the middle of a line: the daemon died or the disk was full there.
    torn: bool,
}

impl Files {
    /// Files in this directory; nothing is opened yet.
    pub fn new(directory: &Path, bytes_max: u64) -> Self {
        Self { directory: directory.to_owned(), bytes_max, open: None }
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Appends lines that end in a newline each, and has them on disk when it returns. After an error the next call
    /// starts anew, so it may be given the same lines again.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => open_newer(&self.directory)?,
        };
        let grown = open.bytes.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        if open.bytes > 0 && grown > self.bytes_max {
            drop(open);
            fs::rename(self.directory.join(NEW), self.directory.join(OLD))?;
            open = open_newer(&self.directory)?;
        }
        if let Err(error) = open.append(lines) {
            // The caller comes again with the same lines: what is there of them already would be there twice. If this
            // fails too, a torn line is all that stays.
            let _ = open.file.set_len(open.bytes);
            return Err(error);
        }
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        self.bytes = self.file.seek(SeekFrom::End(0))?;
        self.torn = false;
        Ok(())
    }
}

/// At most `count` of the last entries in both files, oldest first. What cannot be read (a torn line, another version's
/// entry, no file) is passed over.
pub fn last(directory: &Path, count: usize) -> Vec<HistoryEntry> {
    let mut entries = Vec::new();
    for name in [NEW, OLD] {
        let missing = count.saturating_sub(entries.len());
        if missing == 0 {
            break;
        }
        let mut older = last_of(&directory.join(name), missing);
        older.append(&mut entries);
        entries = older;
    }
    entries
}

fn last_of(path: &Path, count: usize) -> Vec<HistoryEntry> {
    let Ok(bytes) = tail(path) else { return Vec::new() };
    let lines = bytes.rsplit(|byte| *byte == b'\n');
    let mut entries: Vec<_> = lines.filter_map(|line| serde_json::from_slice(line).ok()).take(count).collect();
    entries.reverse();
    entries
}

/// The end of a file, in bounds whatever has been put in its place.
fn tail(path: &Path) -> io::Result<Vec<u8>> {
    // Something else than a file (a pipe, a device) is not opened: that alone may hang.
    if !fs::metadata(path)?.is_file() {
        return Ok(Vec::new());
    }
    let mut file = File::open(path)?;
    let bytes = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut tail)?;
    Ok(tail)
}

fn open_newer(directory: &Path) -> io::Result<Open> {
    fs::create_dir_all(directory)?;
    let path = directory.join(NEW);
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o644).open(path)?;
    let bytes = file.seek(SeekFrom::End(0))?;
    let torn = bytes > 0 && last_byte(&mut file)? != b'\n';
    Ok(Open { file, bytes, torn })
}

fn last_byte(file: &mut File) -> io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}
