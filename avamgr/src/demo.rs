//! DEMO: the newcomer's first command. A real cluster on this machine, seen doing what it is for.
//!
//! Two nodes with a real daemon each, an arbitrator and a client come to life in namespaces (the lab), an ordinary account
//! suffices. A play goes through the life of a pair: start, switchover, one cable cut, both cut, power-off, return. Each
//! step says what must come of it, shows what happens, and is judged by what the kernels and the client saw, not only by
//! what the daemons say. On a terminal the cluster is the visitor's afterwards.
//!
//! Every wait has an end, and however the demo ends, it leaves nothing behind: hosts, cables and files go with the lab.

mod by_hand;
mod cluster;
mod config;
mod expect;
mod panel;
mod program;
mod report;
mod screen;
mod stage;
mod steps;
mod text;
mod watch;

use anyhow::Result;
use avamgr_lab::{LabError, VIP, VIP6, enter_user_namespace, explain};
use nix::unistd::Uid;

use crate::demo::cluster::Cluster;
use crate::demo::expect::Moment;
pub use crate::demo::program::called_by_name;
use crate::demo::report::Outcome;
use crate::demo::screen::Screen;
use crate::demo::stage::{Ended, Stage};
use crate::demo::text::{Line, millis};

/// How the demo is to be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// End after the table, also on a terminal.
    pub no_keys: bool,
}

/// Plays the demo; returns whether every step behaved.
///
/// Must be called while the process has one thread only: the kernel gives a namespace of its own to no other.
///
/// # Errors
/// When the machine does not let us make nodes, or something of the demo itself fails.
pub fn run(options: Options) -> Result<bool> {
    let is_root = Uid::effective().is_root();
    enter_user_namespace()?;
    let mut screen = Screen::open(!options.no_keys)?;
    let begin = Moment::now();
    screen.print(&headline())?;
    let cluster = Cluster::build().map_err(|error| advise(error, is_root))?;
    let mut stage = Stage::new(screen, cluster);
    stage.say(&[Line::faint(format!("  hosts and cables are there after {}", millis(begin.elapsed())))])?;
    if stage.screen.is_live() {
        stage.foot = vec![Line::strong("keys    ").then(Line::active("q")).then(Line::faint(" ends the demo"))];
    }
    let outcomes = match steps::play(&mut stage) {
        Ok(outcomes) => outcomes,
        Err(error) if error.is::<Ended>() => {
            stage.say(&[Line::notable("  ended before its time: everything was taken down")])?;
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    finish(&mut stage, &outcomes, begin)
}

fn finish(stage: &mut Stage, outcomes: &[Outcome], begin: Moment) -> Result<bool> {
    let behaved = outcomes.iter().all(Outcome::ok);
    let mut lines = vec![Line::default()];
    lines.extend(report::table(outcomes));
    lines.extend(report::summary(outcomes, begin.elapsed()));
    stage.say(&lines)?;
    if !behaved {
        let kept = report::keep_logs(&stage.cluster)?;
        stage.say(&[Line::bad("logs, configs and histories: ").text(kept.display().to_string())])?;
    }
    if stage.screen.has_keys() {
        by_hand::play(stage)?;
    }
    Ok(behaved)
}

fn headline() -> Vec<Line> {
    vec![
        Line::strong("avamgr demo").text("  a real pair in namespaces of its own; nothing else on this machine is touched"),
        Line::default(),
        Line::plain("  hadev1 ======== primary, secondary ======== hadev2   ").then(Line::faint("heartbeats, a cable each")),
        Line::plain("     |                                           |"),
        Line::plain("     +---- neutral -------- arbitrator ----------+     ").then(Line::faint("who is isolated?")),
        Line::plain("     +---- service LAN ---- client --------------+     ").then(Line::faint(format!("asks {VIP}, {VIP6}"))),
        Line::default(),
    ]
}

/// Root of a container may lack what an ordinary account of a machine has.
fn advise(error: anyhow::Error, is_root: bool) -> anyhow::Error {
    match error.downcast::<LabError>() {
        Ok(LabError::Host { host, step, source }) if is_root && source.kind() == std::io::ErrorKind::PermissionDenied => {
            let refused = std::io::Error::new(source.kind(), format!("{host}: {step}: {source}"));
            explain("as root", refused).into()
        }
        Ok(error) => error.into(),
        Err(error) => error,
    }
}
