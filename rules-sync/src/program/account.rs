//! Whom the courier runs as: nobody who may do more than read and write the rules.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::directory::{area_beside, belongs_beside};
use anyhow::{Context as _, Result, anyhow, bail};
use avamgr::account::Account;
use avamgr_core::config::Replication;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, fchown};

/// The account of the config, or the owner of the directories.
pub(super) fn choose(replication: &Replication, directories: &BTreeMap<String, PathBuf>) -> Result<Account> {
    if !Uid::effective().is_root() {
        // Who is nobody special cannot become somebody else.
        return Ok(Account::own()?);
    }
    if let Some(name) = &replication.rules.user {
        return Ok(Account::named(name)?);
    }
    let mut owner: Option<(&str, u32)> = None;
    for (name, path) in directories {
        let Ok(meta) = fs::metadata(path) else { continue };
        match owner {
            Some((other, uid)) if uid != meta.uid() => bail!(
                "directories {other} and {name} belong to different users: say in the config which `user` may write both"
            ),
            Some(_) => {}
            None => owner = Some((name, meta.uid())),
        }
    }
    let (_, uid) =
        owner.ok_or_else(|| anyhow!("none of the directories is there: make them, or correct the config"))?;
    Ok(Account::of(Uid::from_raw(uid))?)
}

/// Makes a directory of ours if it is not there, and gives it to the account. What is there already is never given away: it may be
/// another's, or a link to it.
fn own(path: &Path, mode: u32, account: &Account) -> Result<()> {
    let cannot = || format!("cannot use {}", path.display());
    if let Some(above) = path.parent() {
        fs::create_dir_all(above).with_context(cannot)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) if Uid::effective().is_root() => {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let made = nix::fcntl::open(path, flags, Mode::empty()).with_context(cannot)?;
            fchown(made, Some(account.uid), Some(account.gid)).with_context(cannot)
        }
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).with_context(cannot),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The state is the account's, or nobody's yet.
fn check_state(path: &Path, account: &Account) -> Result<()> {
    let meta = fs::symlink_metadata(path).with_context(|| format!("cannot use {}", path.display()))?;
    if !meta.is_dir() || meta.uid() != account.uid.as_raw() {
        bail!(
            "{} is not a directory of {account}: chown -R it, or say in the config which `user` it belongs to",
            path.display()
        );
    }
    Ok(())
}

/// Makes what the courier needs and may not make itself, then becomes the account: for good.
pub(super) fn become_it(
    account: &Account,
    replication: &Replication,
    directories: &BTreeMap<String, PathBuf>,
) -> Result<()> {
    own(&replication.rules.state_dir, 0o700, account)?;
    check_state(&replication.rules.state_dir, account)?;
    if let Some(runtime) = replication.rules.socket.parent() {
        own(runtime, 0o755, account)?;
    }
    for (name, path) in directories {
        let beside = area_beside(name, path);
        let above = beside.parent().unwrap_or(path);
        // Where the account may make it by itself, it does so later.
        let is_roots = fs::symlink_metadata(above).is_ok_and(|meta| meta.uid() == 0);
        if is_roots
            && belongs_beside(path, &replication.rules.state_dir).unwrap_or(false)
            && !belongs_beside(path, above).unwrap_or(true)
        {
            own(&beside, 0o700, account)?;
        }
    }
    account.become_it().with_context(|| format!("cannot become {account}"))
}
