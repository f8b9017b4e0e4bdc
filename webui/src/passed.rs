//! Sockets that whoever started this program has opened and passed on, as systemd does.
//!
//! So systemd may own a port below 1024, and this program never has a privilege.

#![allow(unsafe_code, reason = "a descriptor that is passed on is a number in the environment")]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Protocol, Socket, Type};

/// Those that were passed on, each with its address.
///
/// # Errors
/// When one of them cannot be used.
pub(crate) fn listeners() -> Result<Vec<(TcpListener, SocketAddr)>> {
    let numbers =
        sd_notify::listen_fds().context("LISTEN_FDS and LISTEN_PID, which name sockets that were passed on")?;
    numbers.map(passed).collect()
}

/// A socket that was passed on, if it is one we can serve.
fn passed(number: RawFd) -> Result<(TcpListener, SocketAddr)> {
    // SAFETY: by the protocol of LISTEN_FDS the descriptor is there, for us alone; nothing else here has used it, and it is
    // taken once.
    let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(number) });
    let about = || format!("descriptor {number}, which was passed on to listen on");
    let kind = socket.r#type().with_context(|| format!("{}: it is no socket", about()))?;
    let address = socket.local_addr().with_context(about)?.as_socket();
    let speaks = socket.protocol().with_context(about)?;
    let is_tcp = kind == Type::STREAM && [Some(Protocol::TCP), Some(Protocol::MPTCP)].contains(&speaks);
    let Some(address) = address.filter(|_| is_tcp) else {
        bail!("{}: a TCP socket is needed, as of ListenStream=443 in the unit of the socket", about());
    };
    let listens = socket.is_listener().with_context(about)?;
    ensure!(listens, "{}: {address} does not listen: Accept=no is needed in the unit of the socket", about());
    socket.set_nonblocking(true)?;
    Ok((socket.into(), address))
}
