//! The terminal: lines that stay, a panel below them that is drawn in place, keys and signals.
//!
//! Without a terminal only the lines are left, and without colours.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};

use super::text::Line;

/// What ends the demo from outside. All of them must leave nothing behind.
const ENDINGS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Columns where the terminal does not say how wide it is.
const WIDTH: u16 = 100;

/// To the first column, so many lines up, and away with all below.
fn erase(lines: usize) -> String {
    match lines {
        0 => String::new(),
        lines => format!("\r\u{1b}[{lines}A\u{1b}[J"),
    }
}

/// What happened while waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// A key.
    Key(char),
    /// Ctrl-C, or another signal that ends us.
    Ended,
    /// Nothing.
    Elapsed,
}

/// The terminal, or what stands in for it.
#[derive(Debug)]
pub(super) struct Screen {
    /// The cursor can be moved.
    live: bool,
    colours: bool,
    panel: Vec<Line>,
    drawn: usize,
    signals: SignalFd,
    keys: Option<Keys>,
}

impl Screen {
    /// Takes the terminal over, if there is one. Must be called before there are other threads: they inherit that the
    /// signals are ours.
    pub(super) fn open(wants_keys: bool) -> Result<Self> {
        let mask: SigSet = ENDINGS.into_iter().collect();
        mask.thread_block().context("cannot hold signals back")?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
        let signals = signals.context("cannot hear signals")?;
        let stdout = io::stdout();
        let live = stdout.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colours = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        let keys = if live && wants_keys { Keys::take() } else { None };
        Ok(Self { live, colours, panel: Vec::new(), drawn: 0, signals, keys })
    }

    /// Whether somebody can press keys here.
    pub(super) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Whether the panel is shown.
    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// Prints lines above the panel. They stay.
    pub(super) fn print(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = erase(std::mem::take(&mut self.drawn));
        for line in lines {
            text.push_str(&self.coloured(line));
            text.push('\n');
        }
        self.append_panel(&mut text);
        put(&text)
    }

    /// Shows this below everything, in the place of what was there before.
    pub(super) fn show(&mut self, panel: Vec<Line>) -> io::Result<()> {
        if !self.live || panel == self.panel {
            return Ok(());
        }
        self.panel = panel;
        self.print(&[])
    }

    fn append_panel(&mut self, text: &mut String) {
        if !self.live {
            return;
        }
        let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| width.0);
        for line in &self.panel {
            // The last column stays free: some terminals wrap as soon as it is taken.
            text.push_str(&self.coloured(&line.clipped(usize::from(width).saturating_sub(1))));
            text.push('\n');
        }
        self.drawn = self.panel.len();
    }

    fn coloured(&self, line: &Line) -> String {
        if self.colours { line.to_string() } else { line.bare() }
    }

    /// Waits for a key or a signal, at most this long.
    pub(super) fn wait(&mut self, time: Duration) -> io::Result<Woken> {
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if self.keys.is_some() {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        let millis = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => return Ok(Woken::Elapsed),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        if fds.first().and_then(PollFd::any) == Some(true) {
            return Ok(Woken::Ended);
        }
        let mut byte = [0];
        // Not through the buffer of the standard library: what it holds back, poll does not see.
        match nix::unistd::read(&stdin, &mut byte)? {
            // The terminal has gone away.
            0 => Ok(Woken::Ended),
            _ => Ok(Woken::Key(char::from(byte[0]))),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The panel has nothing to say any more; but below it may stand why we panic.
        if !std::thread::panicking() {
            // A terminal that is gone cannot be tidied up.
            let _ = put(&erase(self.drawn));
        }
    }
}

/// The text as it is: the colours were decided when it was made, and moving the cursor is not a matter of colour.
fn put(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Keys without the Enter key, until dropped.
#[derive(Debug)]
struct Keys {
    before: Termios,
}

impl Keys {
    /// Nothing where the input is no terminal.
    fn take() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut now = before.clone();
        now.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // Stopping us with Ctrl-Z would leave the terminal to the shell in this mode.
        if let Some(suspend) = now.control_chars.get_mut(SpecialCharacterIndices::VSUSP as usize) {
            *suspend = 0;
        }
        tcsetattr(&stdin, SetArg::TCSANOW, &now).ok()?;
        Some(Self { before })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}
