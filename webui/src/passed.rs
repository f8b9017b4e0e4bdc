//! Where it listens: on an address it opens itself, or on sockets that whoever started it has opened and passed on, as
//! systemd does.
//!
//! So systemd may own a port below 1024, and this program never has a privilege.

#![allow(unsafe_code, reason = "a descriptor that is passed on is a number in the environment")]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Protocol, Socket, Type};

/// Where the page is unless somebody says otherwise.
pub(crate) const LISTEN: &str = "127.0.0.1:8080";

/// The sockets to serve, each with its address: those that were passed on, else one of our own.
///
/// # Errors
/// When one of them cannot be used, or both were asked for.
pub(crate) fn listeners(listen: Option<SocketAddr>) -> Result<Vec<(TcpListener, SocketAddr)>> {
    let numbers =
        sd_notify::listen_fds().context("LISTEN_FDS and LISTEN_PID, which name sockets that were passed on")?;
    let passed: Vec<_> = numbers.map(passed).collect::<Result<_>>()?;
    match (listen, passed.is_empty()) {
        (Some(listen), false) => {
            bail!("--listen {listen}: sockets were passed on, they say where to listen: leave one of both out")
        }
        (None, false) => Ok(passed),
        (listen, true) => {
            let listen = listen.map_or_else(|| LISTEN.parse().context("--listen"), Ok)?;
            let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
            listener.set_nonblocking(true)?;
            Ok(vec![(listener, listen)])
        }
    }
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
