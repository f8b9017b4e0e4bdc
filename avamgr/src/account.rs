//! Accounts of this host: programs that need no privileges give them up for good.

use std::ffi::CString;
use std::fmt;
use std::io;

use nix::sys::prctl::{get_pdeathsig, set_pdeathsig};
use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};

/// An account of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name; `uid N` where it has none.
    pub name: String,
    /// Its number.
    pub uid: Uid,
    /// Its first group.
    pub gid: Gid,
}

impl Account {
    /// That of this process.
    ///
    /// # Errors
    /// When the list of accounts cannot be read.
    pub fn own() -> io::Result<Self> {
        Self::of(Uid::effective())
    }

    /// That of a number, also where nobody has given it a name.
    ///
    /// # Errors
    /// When the list of accounts cannot be read.
    pub fn of(uid: Uid) -> io::Result<Self> {
        Ok(match User::from_uid(uid)? {
            Some(user) => Self { name: user.name, uid, gid: user.gid },
            None => Self { name: format!("uid {uid}"), uid, gid: Gid::from_raw(uid.as_raw()) },
        })
    }

    /// That of a name.
    ///
    /// # Errors
    /// When there is none of that name, or the list of accounts cannot be read.
    pub fn named(name: &str) -> io::Result<Self> {
        match User::from_name(name)? {
            Some(user) => Ok(Self { name: user.name, uid: user.uid, gid: user.gid }),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("user {name} is unknown on this host"))),
        }
    }

    /// This process is of the account from now on, for good. Who is not root stays who it is.
    ///
    /// # Errors
    /// When the kernel refuses; the process may be half of each then, and must end.
    pub fn become_it(&self) -> io::Result<()> {
        if !Uid::effective().is_root() || self.uid.is_root() {
            return Ok(());
        }
        // Whoever has started this and wants it to die with it is obeyed still: the kernel forgets that with the account.
        let dies_with_parent = get_pdeathsig().ok().flatten();
        let name = CString::new(self.name.as_str())?;
        initgroups(&name, self.gid)?;
        setgid(self.gid)?;
        setuid(self.uid)?;
        if dies_with_parent.is_some() {
            set_pdeathsig(dies_with_parent)?;
        }
        Ok(())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (uid {}, gid {})", self.name, self.uid, self.gid)
    }
}
