//! The pages of the demo: one for each node, on the loopback address of this machine, for the visitor's browser.
//!
//! They begin before anything else, while this process still has the network and the account it was started in: from the
//! namespaces of the cluster there is no way back. Each asks at a place which leads to its node as soon as there is one.

#![allow(
    unsafe_code,
    reason = "that a child dies with us is said between fork and exec, which has no safe form in std"
)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use avamgr_lab::Scratch;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::config::NODES;
use super::text::Line;
use crate::courier::keep::beside;
use crate::upgrade::own_file;
use crate::window::PROGRAM;

/// Passes on the socket that is its standard input, as systemd does: the address is ours from the first moment.
const PASS_ON: &str = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";

/// Pages that are shown as long as this lives, or why there are none.
#[derive(Debug)]
pub(super) struct Pages(Result<Vec<Page>>);

/// One page.
#[derive(Debug)]
struct Page {
    node: &'static str,
    address: SocketAddr,
    // The process first: nobody asks at a place that is gone.
    program: Process,
    place: Scratch,
}

/// Killed when it is dropped, and when we die.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended needs neither.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Pages {
    /// Begins them. The demo goes on without, if need be.
    pub(super) fn open() -> Self {
        Self(NODES.into_iter().map(Page::open).collect())
    }

    /// From now on the page of this node shows what the daemon at this socket says.
    pub(super) fn show(&self, node: &str, socket: &Path) -> io::Result<()> {
        let mut pages = self.0.iter().flatten().filter(|page| page.node == node);
        pages.try_for_each(|page| symlink(socket, page.place.path().join(PLACE)))
    }

    /// Where they are.
    pub(super) fn line(&mut self) -> Line {
        let pages = match &mut self.0 {
            Ok(pages) => pages,
            Err(why) => return Line::faint(format!("  no page for a browser: {why:#}")),
        };
        let mut line = Line::plain("  in a browser ");
        for page in pages {
            line = match page.program.0.try_wait() {
                Ok(None) => {
                    line.text(format!("  {} ", page.node)).then(Line::active(format!("http://{}/", page.address)))
                }
                Ok(Some(_)) | Err(_) => line.then(Line::notable(format!("  {}: {PROGRAM} has ended", page.node))),
            };
        }
        line
    }
}

/// Name of what leads to the socket.
const PLACE: &str = "avamgr.sock";

impl Page {
    fn open(node: &'static str) -> Result<Self> {
        let own = own_file().context("cannot find the file of this program")?;
        let program = beside(PROGRAM, &own).with_context(|| format!("{PROGRAM} is not beside this program"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let place = Scratch::below(&std::env::temp_dir())?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", PASS_ON, "sh"]).arg(program).arg("--socket").arg(place.path().join(PLACE));
        command.args(["--name", node, "--log-target", "stderr"]).current_dir("/").process_group(0);
        command.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(Stdio::null());
        for variable in ["AVAMGR_LOG", "NOTIFY_SOCKET", "JOURNAL_STREAM"] {
            command.env_remove(variable);
        }
        // SAFETY: one system call that neither allocates nor locks.
        unsafe {
            command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
        }
        let program = Process(command.spawn().with_context(|| format!("cannot start {PROGRAM}"))?);
        Ok(Self { node, address, program, place })
    }
}
