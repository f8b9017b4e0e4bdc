//! The disk a measurement is made on: a file system nobody has used before.
//!
//! What was deleted on a file system lately slows it down (ext4 looks through it whenever a file is made), and every
//! measurement ends with the deletion of its trees.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, umount2};
use tempfile::TempDir;

/// Room for two trees of 50,000 files, and for what systems keep beside them.
const MIB: usize = 1536;
const FILES: &str = "300000";

/// A mounted file system. It goes when its last user has ended, also when we are killed.
#[derive(Debug)]
pub(crate) struct Disk {
    mounted: TempDir,
}

impl Disk {
    /// Makes one in a file of the machine's disk.
    pub(crate) fn make() -> Result<Self> {
        let place = tempfile::tempdir().context("make a directory")?;
        let image = place.path().join("image");
        write_out(&image).with_context(|| format!("write {MIB} MiB to {}", image.display()))?;
        let options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-N", FILES, "-E", options]).arg(&image))?;
        let disk = Self { mounted: tempfile::tempdir().context("make a directory")? };
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()))?;
        // The file loses its name here, and goes when nobody has it mounted.
        place.close().context("remove the name of the file")?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.mounted.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Not there when it could not be mounted.
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

/// All blocks are written, so that none has to be found later.
fn write_out(image: &Path) -> std::io::Result<()> {
    let mut file = File::create_new(image)?;
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..MIB {
        file.write_all(&zeros)?;
    }
    file.sync_all()
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}, {}", output.status, said.trim());
    Ok(())
}
