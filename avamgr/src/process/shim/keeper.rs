//! The shim's own life: one thread that waits for its service, its daemon, and the end of the right.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use avamgr_core::time::Instant;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{set_child_subreaper, set_name};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::Spec;
use super::backlog::Backlog;
use super::service::Service;
use super::wire::{self, PACKET_MAX, Stop, Word};
use crate::clock;
use crate::right::RightOf;

/// Between two rounds of KILL: who was born during the first gets the next; who survives many hangs in the kernel.
const KILL_PACE_MIN: Duration = Duration::from_millis(10);
const KILL_PACE_MAX: Duration = Duration::from_secs(1);

/// A right that is taken back is seen after this at the latest.
const LOOK_PACE: Duration = Duration::from_secs(1);

/// After the end of its first process a service may have this much output read before that end is told.
const LAST_READS: usize = 32;

/// Starts the service and keeps it until it is brought down or its right ends.
///
/// # Errors
/// When this process cannot do its work: then nothing of the service is left.
pub(super) fn keep(spec: Spec, peer: OwnedFd) -> io::Result<()> {
    let _ = set_name(c"avamgr-shim");
    let sockets = spec.post.make_sockets()?;
    let refuse = |error: io::Error| {
        let word = Word::Refused { errno: error.raw_os_error(), reason: error.to_string() };
        let _ = wire::say(&peer, &word.encode());
        error
    };
    let begun = Tools::new(&spec, &sockets).and_then(|tools| {
        may_begin(&spec, &tools.right).and_then(|()| Service::start(&spec.executable)).map(|s| (tools, s))
    });
    let (tools, service) = begun.map_err(refuse)?;
    let mut keeper = Keeper {
        grace: spec.post.grace,
        digest: spec.digest,
        tools,
        service,
        peer: None,
        backlog: Backlog::default(),
        exit_told: false,
        kill_at: None,
    };
    keeper.attach(peer);
    let kept = keeper.run();
    // A shim that cannot go on does not leave the service to itself.
    while kept.is_err() && keeper.service.collect() {
        keeper.service.kill();
        let _ = poll(&mut [], PollTimeout::from(10_u8));
    }
    // Whoever took the name over meanwhile has been told to wait for our end, so it is still ours.
    let _ = unlinkat(&sockets, spec.post.socket().as_str(), UnlinkatFlags::NoRemoveDir);
    kept
}

/// A right that is over, or about to be, begins nothing.
fn may_begin(spec: &Spec, right: &RightOf) -> io::Result<()> {
    if clock::now() < right.until() + spec.post.grace / 2 {
        return Ok(());
    }
    Err(io::Error::other(format!("group {} has no right to run on this node", spec.post.group)))
}

/// What it waits with.
struct Tools {
    right: RightOf,
    listener: UnixListener,
    signals: SignalFd,
    timer: TimerFd,
}

impl Tools {
    fn new(spec: &Spec, sockets: &File) -> io::Result<Self> {
        set_child_subreaper(true)?;
        let right = RightOf::open(&spec.post.runtime, &spec.post.group).map_err(io::Error::other)?;
        let listener = wire::bound(sockets, &spec.post.socket())?;
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        Ok(Self { right, listener, signals, timer })
    }
}

/// A shim with its service.
struct Keeper {
    grace: Duration,
    digest: u64,
    tools: Tools,
    service: Service,
    /// The daemon, while one is attached.
    peer: Option<OwnedFd>,
    backlog: Backlog,
    exit_told: bool,
    /// Set once it is to be brought down.
    kill_at: Option<Instant>,
}

/// What there is to do.
#[derive(Default)]
struct Ready {
    signals: bool,
    caller: bool,
    peer: bool,
    output: bool,
}

impl Keeper {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let left = self.service.collect();
            let now = clock::now();
            self.judge_right(now);
            if let Some(kill_at) = self.kill_at {
                if !left {
                    self.tell();
                    self.say(&Word::Gone);
                    return Ok(());
                }
                if now < kill_at { self.service.ask() } else { self.service.kill() }
            }
            self.tell();
            self.set_timer(now)?;
            let ready = self.wait()?;
            self.attend(&ready)?;
        }
    }

    /// Begins or hastens the end when the right is over. Half of the grace is for a daemon that comes back, half for TERM.
    fn judge_right(&mut self, now: Instant) {
        if now < self.tools.right.until() + self.grace / 2 {
            return;
        }
        self.tools.right.follow();
        let until = self.tools.right.until();
        if self.kill_at.is_some() || now >= until + self.grace / 2 {
            self.end_by(until + self.grace);
        }
    }

    /// An end that has begun can only come sooner.
    fn end_by(&mut self, kill_at: Instant) {
        self.kill_at = Some(self.kill_at.map_or(kill_at, |before| before.min(kill_at)));
    }

    /// The next moment at which something is to be done unasked.
    fn set_timer(&self, now: Instant) -> io::Result<()> {
        let until = self.tools.right.until();
        let at = match self.kill_at {
            None => (until + self.grace / 2).min(now + LOOK_PACE),
            Some(kill_at) if now >= kill_at => now + now.since(kill_at).clamp(KILL_PACE_MIN, KILL_PACE_MAX),
            Some(kill_at) => kill_at.min(until + self.grace).min(now + LOOK_PACE),
        };
        // Zero would switch it off.
        let at = TimeSpec::from_duration(Duration::from_nanos(at.as_nanos().max(1)));
        Ok(self.tools.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }

    fn wait(&self) -> io::Result<Ready> {
        let tools = &self.tools;
        let unsaid = self.backlog.next().is_some() || self.exit_untold();
        let to_peer = if unsaid { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let mut fds = vec![
            PollFd::new(tools.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(tools.timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(tools.listener.as_fd(), PollFlags::POLLIN),
        ];
        let peer = self.peer.as_ref().map(|peer| fds.push(PollFd::new(peer.as_fd(), to_peer))).map(|()| fds.len() - 1);
        let output = self.service.output().map(|output| fds.push(PollFd::new(output, PollFlags::POLLIN)));
        let output = output.map(|()| fds.len() - 1);
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |index: usize, flags: PollFlags| {
            fds.get(index).and_then(PollFd::revents).is_some_and(|found| found.intersects(flags))
        };
        let any = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        Ok(Ready {
            signals: ready(0, any),
            caller: ready(2, any),
            peer: peer.is_some_and(|index| ready(index, any)),
            output: output.is_some_and(|index| ready(index, any)),
        })
    }

    fn attend(&mut self, ready: &Ready) -> io::Result<()> {
        if ready.signals {
            self.take_signals()?;
        }
        if ready.output {
            self.service.read(&mut self.backlog);
        }
        if ready.peer {
            self.hear();
        }
        if ready.caller
            && let Ok(peer) = wire::accepted(&self.tools.listener)
        {
            self.attach(peer);
        }
        Ok(())
    }

    /// The end of a child is seen by collecting it; anything else asks for our own.
    fn take_signals(&mut self) -> io::Result<()> {
        while let Some(signal) = self.tools.signals.read_signal()? {
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            if number == libc::SIGTERM || number == libc::SIGINT {
                self.end_by(clock::now() + self.grace);
            }
        }
        Ok(())
    }

    /// The newest daemon is the one that counts.
    fn attach(&mut self, peer: OwnedFd) {
        self.peer = Some(peer);
        let kept = self.service.kept(self.digest);
        self.exit_told = kept.exit.is_some();
        self.say(&Word::Keeps(kept));
    }

    fn hear(&mut self) {
        let mut buffer = [0; PACKET_MAX];
        let Some(peer) = &self.peer else { return };
        match wire::hear(peer, &mut buffer) {
            Ok(packet) => match serde_json::from_slice::<Stop>(packet) {
                Ok(Stop { kill_at }) => self.end_by(kill_at),
                // The end of the conversation, or nobody we understand.
                Err(_) => self.peer = None,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.peer = None,
        }
    }

    /// Says what has not been said yet, output first, as far as it is taken.
    fn tell(&mut self) {
        if self.exit_untold() {
            // What it said last is in the pipe already.
            let mut reads = 0;
            while reads < LAST_READS && self.service.read(&mut self.backlog) {
                reads += 1;
            }
            self.backlog.end();
        }
        while let Some(word) = self.backlog.next() {
            if !self.say(&word) {
                return;
            }
            self.backlog.said();
        }
        if let Some(exit) = self.service.exit().filter(|_| !self.exit_told) {
            self.exit_told = self.say(&Word::Exited(exit));
        }
    }

    fn exit_untold(&self) -> bool {
        !self.exit_told && self.service.exit().is_some()
    }

    /// Whether it was taken.
    fn say(&mut self, word: &Word) -> bool {
        let Some(peer) = &self.peer else { return false };
        wire::say(peer, &word.encode()).unwrap_or_else(|_| {
            self.peer = None;
            false
        })
    }
}
