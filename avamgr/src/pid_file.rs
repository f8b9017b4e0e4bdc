//! PID FILE: our process number, where init scripts look for it.

use std::path::Path;

use anyhow::{Context as _, Result};

/// The file; dropping it removes what is ours of it.
#[derive(Debug)]
pub struct PidFile<'a>(&'a Path);

impl<'a> PidFile<'a> {
    /// Writes the file, whatever was there: who has the control socket is the daemon.
    pub fn write(path: &'a Path) -> Result<Self> {
        std::fs::write(path, text()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        // Another daemon's number is another daemon's file.
        if std::fs::read_to_string(self.0).is_ok_and(|found| found == text()) {
            let _ = std::fs::remove_file(self.0);
        }
    }
}

fn text() -> String {
    format!("{}\n", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_number_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let another = format!("{}\n", std::process::id() + 1);
        std::fs::write(&path, &another).unwrap();
        let file = PidFile::write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text());
        drop(file);
        assert!(!path.exists());
        let file = PidFile::write(&path).unwrap();
        std::fs::write(&path, &another).unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), another);
    }
}
