//! The daemon's side: a service that a shim keeps, for as long as this daemon is attached.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use avamgr_core::time::Instant as Since;
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, timeout, timeout_at};

use super::wire::{self, Kept, PACKET_MAX, Stop, Word};
use super::{ARGUMENT, Post, Spec};
use crate::clock;
use crate::process::family::{self, LOOK_TIME_MIN};
use crate::process::output::{LastLines, Lines};
use crate::process::{Executable, Exit, ProgramError, Sink, StillThere};

/// A shim that is called says what it keeps within this time; one that does not hangs.
const GREETING_TIME: Duration = Duration::from_secs(1);

/// A conversation with the shim of one service. Dropping it leaves the service to its shim, and to its right.
#[derive(Debug)]
pub struct Attached {
    socket: Arc<AsyncFd<OwnedFd>>,
    /// The shim's own number; sure to be its own while the conversation lasts.
    shim: Pid,
    heard: watch::Receiver<Heard>,
    last_lines: LastLines,
    listener: JoinHandle<()>,
}

/// What the shim has said so far.
#[derive(Clone, Debug, Default)]
struct Heard {
    kept: Option<Kept>,
    refused: Option<(Option<i32>, String)>,
    exit: Option<Exit>,
    gone: bool,
    /// Nothing more will come.
    closed: bool,
}

impl Attached {
    /// Names what is run: a program, its arguments, its own environment, its directory and its user, as the config has them.
    pub fn digest(of: &impl std::hash::Hash) -> u64 {
        use std::hash::{DefaultHasher, Hasher};
        // Another version of the daemon may count otherwise: then the service is started again.
        let mut hasher = DefaultHasher::new();
        of.hash(&mut hasher);
        hasher.finish()
    }

    /// Starts a shim with its service. Whether that has worked is told by [`Self::begun`].
    ///
    /// # Errors
    /// When not even the shim can be started.
    pub fn spawn(post: Post, executable: Executable, digest: u64, sink: Sink) -> Result<Self, ProgramError> {
        let spec = Spec { post, executable, digest };
        let failed = |source| spec.executable.spawn_error(source);
        let text = serde_json::to_vec(&spec).map_err(|error| failed(error.into()))?;
        // In memory, as a pipe may be too small for it and would make us wait.
        let paper = memfd_create(c"avamgr-shim", MFdFlags::MFD_CLOEXEC).map_err(|error| failed(error.into()))?;
        let paper = File::from(paper);
        io::Write::write_all(&mut &paper, &text).map_err(failed)?;
        let (ours, its) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|error| failed(error.into()))?;
        let mut command = Command::new(&spec.post.program);
        command.arg0("avamgrd").arg(ARGUMENT).env_clear().current_dir("/");
        command.stdin(its).stdout(paper).stderr(Stdio::null());
        crate::process::birth::arrange_shim(&mut command);
        let mut shim = tokio::process::Command::from(command).spawn().map_err(failed)?;
        let pid = shim.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        // Collects it: the conversation tells more, and earlier.
        tokio::spawn(async move { shim.wait().await });
        Self::converse(ours, pid, sink).map_err(failed)
    }

    /// Attaches to a shim that is there already and says what it keeps; `None` when there is none. One that hangs is killed:
    /// what it kept has to be found by its mark.
    ///
    /// # Errors
    /// When whoever is there is not one of us, or cannot be asked.
    pub async fn call(post: &Post, sink: Sink) -> io::Result<Option<Self>> {
        let Some(sockets) = post.sockets()? else { return Ok(None) };
        let Some((socket, shim)) = wire::connected(&sockets, &post.socket())? else { return Ok(None) };
        let mut called = Self::converse(socket, shim, sink)?;
        let greeting = called.heard.wait_for(|heard| heard.kept.is_some() || heard.closed);
        let Ok(greeting) = timeout(GREETING_TIME, greeting).await else {
            called.kill_shim();
            return Ok(None);
        };
        let keeps = greeting.is_ok_and(|heard| heard.kept.is_some());
        Ok(keeps.then_some(called))
    }

    fn converse(socket: OwnedFd, shim: i32, sink: Sink) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "the runtime must be told that a descriptor stays what it is")]
        // SAFETY: an `OwnedFd` is open, and stays the same descriptor, until it is dropped.
        let socket = Arc::new(unsafe { AsyncFd::register(socket) }?);
        let (say, heard) = watch::channel(Heard::default());
        let (lines, last_lines) = Lines::fed(sink);
        let listener = tokio::spawn(listen(Arc::clone(&socket), say, lines));
        Ok(Self { socket, shim: Pid::from_raw(shim), heard, last_lines, listener })
    }

    /// Waits until the service has been started.
    ///
    /// # Errors
    /// With what stood in the way.
    pub async fn begun(&mut self, executable: &Executable) -> Result<(), ProgramError> {
        let known = |heard: &Heard| heard.kept.is_some() || heard.refused.is_some() || heard.closed;
        let heard = self.heard.wait_for(known).await.map(|heard| heard.clone()).unwrap_or_default();
        let source = match heard.refused {
            None if heard.kept.is_some() => return Ok(()),
            None => io::Error::other("its shim has ended without a word"),
            Some((Some(errno), _)) => io::Error::from_raw_os_error(errno),
            Some((None, reason)) => io::Error::other(reason),
        };
        Err(executable.spawn_error(source))
    }

    /// Number of the service's first process, also of its group and session; `None` before it was started.
    pub fn pid(&self) -> Option<i32> {
        self.heard.borrow().kept.as_ref().map(|kept| kept.pid)
    }

    /// Number of the shim.
    pub fn shim_pid(&self) -> i32 {
        self.shim.as_raw()
    }

    /// How long the service has been there.
    pub fn age(&self) -> Duration {
        let born = self.heard.borrow().kept.as_ref().map(|kept| kept.born);
        born.map_or(Duration::ZERO, |born: Since| clock::now().since(born))
    }

    /// Whether it keeps what has this digest, and that still runs.
    pub fn keeps(&self, digest: u64) -> bool {
        let heard = self.heard.borrow();
        !heard.closed && heard.exit.is_none() && heard.kept.as_ref().is_some_and(|kept| kept.digest == digest)
    }

    /// The last line the service wrote.
    pub fn last_line(&self) -> Option<String> {
        self.last_lines.last()
    }

    /// Waits for the end of the service's first process; answers again and again once it has come.
    pub async fn exited(&mut self) -> Exit {
        let over = self.heard.wait_for(|heard| heard.exit.is_some() || heard.closed).await;
        over.ok().and_then(|heard| heard.exit).unwrap_or(Exit::ShimLost)
    }

    /// TERM to the group, KILL to everything at `kill_at`, done when the shim says that nothing is left. A shim that has
    /// died, or says nothing until half of the time to `give_up_at` is over and is killed for it, may leave something
    /// behind that carries the mark. May be dropped and called again with other times: an end can only come sooner.
    ///
    /// # Errors
    /// When the shim is there at `give_up_at`, or a moment later on a busy machine.
    pub async fn stop(&mut self, kill_at: Instant, give_up_at: Instant) -> Result<(), StillThere> {
        let kill_at = kill_at.min(give_up_at);
        let order = Stop { kill_at: clock::now() + kill_at.saturating_duration_since(Instant::now()) };
        // Plain data. Who cannot take an order is found out by the wait for its answer.
        let _ = wire::say(self.socket.get_ref(), &serde_json::to_vec(&order).unwrap_or_default());
        let give_up_at = give_up_at.max(Instant::now() + LOOK_TIME_MIN);
        let patience = kill_at + give_up_at.saturating_duration_since(kill_at) / 2;
        if self.over(patience).await {
            return Ok(());
        }
        self.kill_shim();
        if self.over(give_up_at).await {
            return Ok(());
        }
        Err(StillThere { pids: self.pid().map(family::living_in_group).unwrap_or_default() })
    }

    /// Whether nothing is left, or nobody is there to say so.
    async fn over(&mut self, until: Instant) -> bool {
        timeout_at(until, self.heard.wait_for(|heard| heard.gone || heard.closed)).await.is_ok()
    }

    fn kill_shim(&self) {
        if !self.heard.borrow().closed && self.shim.as_raw() > 1 {
            let _ = kill(self.shim, Signal::SIGKILL);
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Hears the shim out.
async fn listen(socket: Arc<AsyncFd<OwnedFd>>, say: watch::Sender<Heard>, mut lines: Lines) {
    let mut buffer = vec![0; PACKET_MAX];
    loop {
        let Ok(packet) = timeout(lines.patience(), hear(&socket, &mut buffer)).await else {
            lines.tell_dropped(clock::now());
            continue;
        };
        let Some(word) = packet.ok().and_then(Word::decode) else { break };
        match word {
            Word::Output(bytes) => lines.take(&bytes, clock::now()),
            Word::Dropped(count) => lines.lost(count),
            Word::Keeps(kept) => say.send_modify(|heard| {
                heard.exit = kept.exit;
                heard.kept = Some(kept);
            }),
            Word::Refused { errno, reason } => say.send_modify(|heard| heard.refused = Some((errno, reason))),
            Word::Exited(exit) => say.send_modify(|heard| heard.exit = Some(exit)),
            Word::Gone => say.send_modify(|heard| heard.gone = true),
        }
        // A service that writes without pause does not keep the thread.
        yield_now().await;
    }
    lines.end(clock::now());
    say.send_modify(|heard| heard.closed = true);
}

/// One packet; empty at the end of the conversation.
async fn hear<'a>(socket: &AsyncFd<OwnedFd>, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let count = loop {
        let mut ready = socket.readable().await?;
        match ready.try_io(|socket| wire::hear(socket.get_ref(), buffer).map(<[u8]>::len)) {
            // What was said before an end that came while we were speaking is still to be heard.
            Ok(Err(error)) if error.raw_os_error() == Some(Errno::ECONNRESET as i32) => {}
            Ok(result) => break result?,
            Err(_) => {}
        }
    };
    Ok(&buffer[..count])
}
