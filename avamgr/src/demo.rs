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
mod page;
mod panel;
mod program;
mod report;
mod screen;
mod stage;
mod steps;
mod text;
mod watch;

use std::io;

use anyhow::{Result, anyhow};
use avamgr_lab::{LabError, VIP, VIP6, enter_user_namespace, explain};

use crate::demo::cluster::Cluster;
use crate::demo::expect::Moment;
use crate::demo::page::Pages;
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
    play(options).map_err(|error| anyhow!(explained(&error)))
}

fn play(options: Options) -> Result<bool> {
    let mut pages = Pages::open();
    enter_user_namespace()?;
    let begin = Moment::now();
    let mut screen = Screen::open(!options.no_keys)?;
    let cluster = Cluster::build()?;
    for node in cluster.nodes() {
        pages.show(node.host.name(), &node.socket())?;
    }
    screen.print(&headline())?;
    let mut stage = Stage::new(screen, cluster);
    let built = Line::faint(format!("  hosts and cables were there after {}", millis(begin.elapsed())));
    stage.say(&[built, pages.line()])?;
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
        stage.say(&[Line::bad("  logs, configs and histories: ").text(kept.display().to_string())])?;
    }
    if stage.screen.has_keys() {
        by_hand::play(stage)?;
    }
    Ok(behaved)
}

fn headline() -> Vec<Line> {
    vec![
        Line::strong("avamgr demo")
            .text("  a real pair in namespaces of its own; nothing else on this machine is touched"),
        Line::default(),
        Line::plain("  hadev1 ======== primary, secondary ======== hadev2   ")
            .then(Line::faint("heartbeats, a cable each")),
        Line::plain("     |                                           |"),
        Line::plain("     +---- neutral -------- arbitrator ----------+     ").then(Line::faint("who is isolated?")),
        Line::plain("     +---- service LAN ---- client --------------+     ")
            .then(Line::faint(format!("asks {VIP}, {VIP6}"))),
        Line::default(),
    ]
}

/// The error with its causes, each said once, and with advice where the machine does not let us make nodes.
fn explained(error: &anyhow::Error) -> String {
    if let Some(LabError::Host { source, .. }) = error.downcast_ref()
        && matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::StorageFull)
    {
        // Also said to root, who may have less of a container than an ordinary account has of a machine.
        let hints = explain("make nodes", io::Error::from(source.kind())).hints;
        return format!("this machine does not let us make nodes: {error}\n  - {}", hints.join("\n  - "));
    }
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many errors tell their cause themselves.
        if !said.contains(&format!(": {cause}")) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn refused(kind: io::ErrorKind) -> LabError {
        LabError::Host { host: "switch".to_owned(), step: "make namespaces (clone)".to_owned(), source: kind.into() }
    }

    #[test]
    fn a_machine_that_refuses_is_named_with_a_remedy() {
        let text = explained(&refused(io::ErrorKind::PermissionDenied).into());
        assert!(
            text.starts_with("this machine does not let us make nodes: switch: make namespaces (clone): "),
            "{text}"
        );
        assert!(text.contains("\n  - "), "{text}");
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::Error::from(refused(io::ErrorKind::TimedOut)).context("cannot begin");
        assert_eq!(explained(&error), "cannot begin: switch: make namespaces (clone): timed out");
        let plain = Err::<(), _>(io::Error::other("no room")).context("cannot copy").unwrap_err();
        assert_eq!(explained(&plain), "cannot copy: no room");
    }
}
