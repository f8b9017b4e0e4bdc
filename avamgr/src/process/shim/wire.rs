//! What daemon and shim say to each other: one packet each, a letter and what belongs to it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use avamgr_core::time::Instant;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, recv, send,
    socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};
use serde::{Deserialize, Serialize};

use crate::process::Exit;

/// The longest packet: output comes in pieces that are no longer.
pub(super) const PACKET_MAX: usize = 16 * 1024;

/// Daemons that may wait to be let in: there is one.
const WAITING: i32 = 4;

/// What the shim says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    /// The first word to whoever attaches: what it keeps.
    Keeps(Kept),
    /// The first and only word of one that could not start it.
    Refused {
        /// What the kernel said, when it was the kernel.
        errno: Option<i32>,
        /// In words.
        reason: String,
    },
    /// Output, whole lines unless one is longer than a packet.
    Output(Vec<u8>),
    /// So many lines of output were dropped, as nobody took them.
    Dropped(u64),
    /// The service's first process has ended.
    Exited(Exit),
    /// Nothing of it is left; the last word.
    Gone,
}

/// What a shim keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The service's first process, its group and session.
    pub(super) pid: i32,
    /// When it was started.
    pub(super) born: Instant,
    /// Names what is run.
    pub(super) digest: u64,
    /// How it ended, if it has.
    pub(super) exit: Option<Exit>,
}

/// What the daemon says: bring it down, with KILL at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stop {
    pub(super) kill_at: Instant,
}

impl Word {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            // Much and often: not spelled out.
            Self::Output(bytes) => [b"o", bytes.as_slice()].concat(),
            Self::Keeps(_) | Self::Refused { .. } | Self::Dropped(_) | Self::Exited(_) | Self::Gone => {
                // Plain data: there is nothing in it that JSON could refuse.
                [b"w".to_vec(), serde_json::to_vec(self).unwrap_or_default()].concat()
            }
        }
    }

    /// `None` when it is not one of ours.
    pub(super) fn decode(packet: &[u8]) -> Option<Self> {
        match packet.split_first()? {
            (b'o', bytes) => Some(Self::Output(bytes.to_vec())),
            (b'w', word) => serde_json::from_slice(word).ok(),
            (_, _) => None,
        }
    }
}

/// Sends without waiting. `false` = there is no room for it.
pub(super) fn say(socket: &OwnedFd, packet: &[u8]) -> io::Result<bool> {
    match send(socket.as_raw_fd(), packet, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes one packet without waiting; empty at the end of the conversation.
pub(super) fn hear<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let count = recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?;
    Ok(&buffer[..count])
}

/// Listens under this name, in the place of whoever did before.
pub(super) fn bound(directory: &File, name: &str) -> io::Result<UnixListener> {
    let socket = packets()?;
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    // Before it has a name, which is then born with this mode.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(socket.as_raw_fd(), &address(directory, name)?)?;
    listen(&socket, Backlog::new(WAITING)?)?;
    Ok(socket.into())
}

/// A connection to whoever listens under this name, and its process number; `None` when nobody does.
pub(super) fn connected(directory: &File, name: &str) -> io::Result<Option<(OwnedFd, i32)>> {
    let socket = packets()?;
    match connect(socket.as_raw_fd(), &address(directory, name)?) {
        Ok(()) => own(&socket).map(|pid| Some((socket, pid))),
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The next who wants in, if he is one of us.
pub(super) fn accepted(listener: &UnixListener) -> io::Result<OwnedFd> {
    let socket = OwnedFd::from(listener.accept()?.0);
    own(&socket).map(|_| socket)
}

/// The process at the other end; an error when it runs as somebody else.
fn own(socket: &OwnedFd) -> io::Result<i32> {
    let peer = getsockopt(&socket.as_fd(), sockopt::PeerCredentials)?;
    if peer.uid() == 0 || peer.uid() == Uid::effective().as_raw() {
        return Ok(peer.pid());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("uid {} is not the daemon's", peer.uid())))
}

fn packets() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?)
}

/// Through the open directory: the whole path may be longer than the address of a socket can be.
fn address(directory: &File, name: &str) -> io::Result<UnixAddr> {
    Ok(UnixAddr::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).as_str())?)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    #[test]
    fn words_arrive_as_they_were_said_and_noise_is_none() {
        let kept = Kept { pid: 7, born: Instant::from_millis(5), digest: u64::MAX, exit: Some(Exit::Code(3)) };
        let refused = Word::Refused { errno: Some(2), reason: "no such file".into() };
        let words = [Word::Keeps(kept), refused, Word::Output(b"o\n".to_vec()), Word::Dropped(9), Word::Gone];
        for word in words {
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
        for noise in [&b""[..], b"w", b"w{}", b"x", b"wGone"] {
            assert_eq!(Word::decode(noise), None);
        }
    }

    #[test]
    fn who_runs_as_somebody_else_is_not_let_in() {
        if !Uid::effective().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("here");
        let listener = bound(&File::open(directory.path()).unwrap(), "here").unwrap();
        let (socket, _) = connected(&File::open(directory.path()).unwrap(), "here").unwrap().unwrap();
        accepted(&listener).unwrap();
        drop(socket);
        // As if the modes had been opened by hand.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let _nobody = std::thread::scope(|scope| scope.spawn(|| connect_as_nobody(&path)).join().unwrap());
        assert_eq!(accepted(&listener).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    fn connect_as_nobody(path: &Path) -> OwnedFd {
        #[expect(unsafe_code, reason = "the library's own call would change every thread of the tests")]
        // SAFETY: plain numbers; the call concerns this thread alone.
        let became = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
        assert_eq!(became, 0);
        let socket = packets().unwrap();
        connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        socket
    }
}
