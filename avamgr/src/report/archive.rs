//! The archive: a tar file, compressed, with one directory in it.

use std::io;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, Header};

/// What the name of every archive begins with, and of the directory in it.
const BEGIN: &str = "avamgr-report-";
/// What the name of every archive ends in.
const END: &str = ".tar.gz";
/// Longest report of another node that is taken in.
pub const BROUGHT_MAX: u64 = 64 * 1024 * 1024;

/// The report of another node.
#[derive(Debug)]
pub struct Brought {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

impl Brought {
    /// An archive of ours; anything else may have secrets in it.
    ///
    /// # Errors
    /// When it is none, in words.
    pub fn new(bytes: Vec<u8>) -> Result<Self, String> {
        let mut archive = Archive::new(GzDecoder::new(bytes.as_slice()));
        let first = archive.entries().and_then(|mut entries| entries.next().transpose());
        let path = first.ok().flatten().and_then(|entry| entry.path().ok().map(|path| path.into_owned()));
        let stem = path.as_deref().and_then(|path| path.iter().next()?.to_str());
        let stem = stem.filter(|stem| stem.starts_with(BEGIN)).ok_or("it is no report of avamgr")?;
        Ok(Self { name: file_name(stem), bytes })
    }
}

/// `avamgr-report-CLUSTER-NODE-TIME`; whatever the names are, it is one name of a file.
pub(super) fn stem(cluster: &str, node: &str, made: &str) -> String {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' }).collect()
    };
    let time: String = made.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    format!("{BEGIN}{}-{}-{time}", plain(cluster), plain(node))
}

/// The name an archive has unless told otherwise.
pub fn file_name(stem: &str) -> String {
    format!("{stem}{END}")
}

/// Packs files into a directory of an archive.
pub(super) fn pack(directory: &str, files: &[(String, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_size(u64::try_from(bytes.len()).map_err(io::Error::other)?);
        header.set_mode(0o600);
        header.set_mtime(crate::clock::wall_nanos() / 1_000_000_000);
        archive.append_data(&mut header, format!("{directory}/{name}"), bytes.as_slice())?;
    }
    archive.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_name_whatever_the_cluster_is_called() {
        assert_eq!(stem("a/b c", "hadev1", "2026-11-21T14:38:42Z"), "avamgr-report-a_b_c-hadev1-20261121T143842Z");
    }
}
