//! One conversation with a program of ours over its control socket, for whoever may wait: commands.
//!
//! Nothing here waits without a bound: not the connecting (a hung daemon accepts nobody), not the answer.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use avamgr_core::control::frame::{Lines, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, decode, encode};
use avamgr_core::control::words::duration;
use nix::errno::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use crate::clock;
use crate::interrupt::{Interrupt, Woken, wait};

/// How long a running daemon may take for its first word. Its side of the socket waits for nothing, so this is long.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Pause before the next try when the daemon's queue of callers is full.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// Why there is nobody to talk to.
#[derive(Debug, Error)]
pub enum Unreachable {
    /// There is no socket.
    #[error("{program} is not running (no control socket at {path})")]
    NoSocket {
        /// Who was to be asked.
        program: &'static str,
        /// The socket.
        path: PathBuf,
    },
    /// The socket is there and nobody listens.
    #[error("{program} is not running (nobody listens on {path})")]
    NotListening {
        /// Who was to be asked.
        program: &'static str,
        /// The socket.
        path: PathBuf,
    },
    /// It listens, accepts or says nothing.
    #[error("{program} does not answer on {path} (waited {})", duration(*.waited))]
    Silent {
        /// Who was asked.
        program: &'static str,
        /// The socket.
        path: PathBuf,
        /// How long.
        waited: Duration,
    },
    /// It ended the conversation.
    #[error("{program} closed the connection before its last word: was it stopped?")]
    Closed {
        /// Who was asked.
        program: &'static str,
    },
    /// Something else answers.
    #[error("what answers on {path} is not understood, is it another version? ({reason})")]
    Garbage {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system says no.
    #[error("cannot talk to {program} on {path}: {source}")]
    Io {
        /// Who was asked.
        program: &'static str,
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Unreachable {
    /// Certain that no daemon runs on this socket, as opposed to one that hangs or may not be asked.
    pub fn is_stopped(&self) -> bool {
        match self {
            Self::NoSocket { .. } | Self::NotListening { .. } => true,
            Self::Silent { .. } | Self::Closed { .. } | Self::Garbage { .. } | Self::Io { .. } => false,
        }
    }

    /// Whether a daemon that comes back ends it.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoSocket { .. } | Self::NotListening { .. } | Self::Silent { .. } | Self::Closed { .. } => true,
            Self::Garbage { .. } | Self::Io { .. } => false,
        }
    }
}

/// What came while waiting.
#[derive(Debug)]
pub enum Heard<R> {
    /// A reply.
    Reply(Box<R>),
    /// Ctrl-C.
    Interrupted,
    /// Nothing, for the whole time.
    Nothing,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    program: &'static str,
    path: PathBuf,
    stream: UnixStream,
    lines: Lines,
}

impl Connection {
    /// Calls `program` on its socket.
    ///
    /// # Errors
    /// When nobody accepts the call.
    pub fn open(program: &'static str, path: &Path) -> Result<Self, Unreachable> {
        let io = |source| Unreachable::Io { program, path: path.to_owned(), source };
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(io)?;
        let address = SockAddr::unix(path).map_err(io)?;
        socket.set_nonblocking(true).map_err(io)?;
        let begun = clock::now();
        while let Err(error) = socket.connect(&address) {
            let kind = error.kind();
            if kind == io::ErrorKind::NotFound {
                return Err(Unreachable::NoSocket { program, path: path.to_owned() });
            }
            if kind == io::ErrorKind::ConnectionRefused {
                return Err(Unreachable::NotListening { program, path: path.to_owned() });
            }
            // This one says that the queue of callers is full: the daemon is busy, or hangs.
            if kind != io::ErrorKind::WouldBlock {
                return Err(io(error));
            }
            let waited = clock::now().since(begun);
            if waited > PATIENCE {
                return Err(Unreachable::Silent { program, path: path.to_owned(), waited });
            }
            thread::sleep(CONNECT_PAUSE);
        }
        socket.set_nonblocking(false).map_err(io)?;
        socket.set_write_timeout(Some(PATIENCE)).map_err(io)?;
        Ok(Self { program, path: path.to_owned(), stream: socket.into(), lines: Lines::new(MAX_REPLY_BYTES) })
    }

    /// Asks.
    ///
    /// # Errors
    /// When the request is too long or does not get there.
    pub fn send<Q: Serialize>(&mut self, request: &Q) -> Result<(), Unreachable> {
        let garbage = |error: avamgr_core::control::frame::FrameError| self.garbage(error.to_string());
        let line = encode(request, MAX_REQUEST_BYTES).map_err(garbage)?;
        // A daemon that turns callers away closes at once: what it said before is still there to be read.
        match self.stream.write_all(&line) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(self.failed(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The next reply; silence for longer than the patience is an error.
    ///
    /// # Errors
    /// When none comes, or it is none.
    pub fn receive<R: DeserializeOwned>(&mut self, patience: Duration) -> Result<R, Unreachable> {
        match self.hear(None, patience)? {
            Heard::Reply(reply) => Ok(*reply),
            Heard::Interrupted | Heard::Nothing => Err(self.silent(patience)),
        }
    }

    /// The next reply, or what came instead.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no reply.
    pub fn hear<R: DeserializeOwned>(
        &mut self,
        interrupt: Option<&Interrupt>,
        time: Duration,
    ) -> Result<Heard<R>, Unreachable> {
        let end = clock::now() + time;
        loop {
            if let Some(line) = self.lines.next_line() {
                let reply = line.and_then(|line| decode(&line));
                return reply
                    .map(|reply| Heard::Reply(Box::new(reply)))
                    .map_err(|error| self.garbage(error.to_string()));
            }
            let left = end.since(clock::now());
            if left.is_zero() {
                return Ok(Heard::Nothing);
            }
            match wait(Some(self.stream.as_fd()), interrupt, left) {
                Woken::Readable => self.read()?,
                Woken::Interrupted => return Ok(Heard::Interrupted),
                Woken::Elapsed => {}
            }
        }
    }

    fn read(&mut self) -> Result<(), Unreachable> {
        let mut piece = vec![0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(Unreachable::Closed { program: self.program }),
            Ok(count) => {
                self.lines.push(&piece[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.raw_os_error() == Some(Errno::ECONNRESET as i32) => {
                Err(Unreachable::Closed { program: self.program })
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The error of having waited this long for nothing.
    pub fn silent(&self, waited: Duration) -> Unreachable {
        Unreachable::Silent { program: self.program, path: self.path.clone(), waited }
    }

    fn failed(&self, source: io::Error) -> Unreachable {
        Unreachable::Io { program: self.program, path: self.path.clone(), source }
    }

    fn garbage(&self, reason: String) -> Unreachable {
        Unreachable::Garbage { path: self.path.clone(), reason }
    }
}
