//! After the play: the cluster is the visitor's, a key for each fault.

use std::time::Duration;

use anyhow::{Context as _, Result};
use avamgr_core::control::Answer;
use avamgr_lab::LabError;

use super::cluster::Cluster;
use super::config::LINKS;
use super::expect::Moment;
use super::panel;
use super::stage::{Ended, Stage};
use super::steps::{Answered, order_switchover, taken};
use super::text::Line;

/// Always to be seen.
const HELP: [&[(&str, &str)]; 2] = [
    &[("1", "cut primary"), ("2", "cut secondary"), ("3", "cut both"), ("h", "heal"), ("s", "switchover")],
    &[("p", "power off ACTIVE"), ("k", "kill -9 its daemon"), ("b", "boot what is down"), ("q", "quit")],
];

/// For how long after an order the client's silence is attributed to it.
const ATTRIBUTED: Duration = Duration::from_secs(15);
/// How much of the client's record is kept in memory.
const RECORD: Duration = Duration::from_secs(300);

/// What the visitor has done.
struct Hand {
    /// The last order, in words.
    last: String,
    plugged: [bool; 2],
    answered: Option<Answered>,
    record: Moment,
}

/// The lines that say which keys there are.
fn help() -> impl Iterator<Item = Line> {
    HELP.iter().zip(["keys    ", "        "]).map(|(keys, begin)| {
        keys.iter().fold(Line::strong(begin), |line, (key, what)| {
            line.then(Line::active(*key)).then(Line::faint(format!(" {what}   ")))
        })
    })
}

/// Obeys keys until the visitor leaves.
pub(super) fn play(stage: &mut Stage) -> Result<()> {
    let plugged = [true, true];
    let mut hand = Hand { last: "the end of the play".to_owned(), plugged, answered: None, record: Moment::now() };
    stage.begin = Moment::now();
    stage.say(&[Line::default(), Line::plain("  now it is yours: cut cables, kill nodes, and see who answers")])?;
    loop {
        if stage.begin.elapsed() < ATTRIBUTED {
            stage.foot = panel::client(&stage.cluster, stage.begin, &hand.last);
            stage.foot.extend(help());
        } else if hand.record.elapsed() > RECORD {
            stage.cluster.renew_probe()?;
            hand.record = Moment::now();
        }
        let key = match stage.tick() {
            Ok(key) => key,
            Err(error) if error.is::<Ended>() => return Ok(()),
            Err(error) => return Err(error),
        };
        hear_answer(stage, &mut hand)?;
        match key {
            Some('q' | 'Q') => return Ok(()),
            Some(key) => obey(stage, &mut hand, key)?,
            None => {}
        }
    }
}

/// Does what the key asks for. What cannot be done now says so and changes nothing.
fn obey(stage: &mut Stage, hand: &mut Hand, key: char) -> Result<()> {
    let done = match key.to_ascii_lowercase() {
        '1' => cables(stage, hand, &[0]),
        '2' => cables(stage, hand, &[1]),
        '3' => cables(stage, hand, &[0, 1]),
        's' => switchover(stage, hand),
        'p' => on_active(stage, hand, "power-off of", |cluster, name| cluster.lab.power_off(name).map(drop)),
        'k' => on_active(stage, hand, "kill -9 of avamgrd on", Cluster::kill_daemon),
        'b' => boot(stage, hand),
        'h' => heal(stage, hand),
        _ => Ok(()),
    };
    match done {
        Err(error) if !error.is::<Ended>() => stage.say(&[Line::notable(format!("     not done: {error:#}"))]),
        done => done,
    }
}

fn begin(stage: &mut Stage, hand: &mut Hand, what: String) -> Result<()> {
    stage.begin(&what)?;
    hand.last = what;
    Ok(())
}

/// Cuts these cables, or plugs them in again if they all are cut.
fn cables(stage: &mut Stage, hand: &mut Hand, which: &[usize]) -> Result<()> {
    let plug = which.iter().all(|link| !hand.plugged[*link]);
    let links: Vec<(&str, &str)> = which.iter().map(|link| LINKS[*link]).collect();
    let names: Vec<&str> = links.iter().map(|(name, _)| *name).collect();
    let networks: Vec<&str> = links.iter().map(|(_, network)| *network).collect();
    let what = if plug { "plugging in" } else { "cut of" };
    begin(stage, hand, format!("{what} {}", names.join(" and ")))?;
    if plug {
        networks.iter().try_for_each(|network| stage.cluster.lab.plug(network).map(drop))?;
    } else {
        stage.cluster.lab.pull_all(&networks)?;
    }
    for link in which {
        hand.plugged[*link] = plug;
    }
    Ok(())
}

fn heal(stage: &mut Stage, hand: &mut Hand) -> Result<()> {
    begin(stage, hand, "plugging in all cables".to_owned())?;
    stage.cluster.lab.heal_all()?;
    hand.plugged = [true, true];
    Ok(())
}

fn switchover(stage: &mut Stage, hand: &mut Hand) -> Result<()> {
    let from = stage.cluster.active().context("no node is known to be ACTIVE: nobody can hand over")?;
    let to = super::config::other(&from);
    begin(stage, hand, format!("switchover to {to}"))?;
    hand.answered = Some(order_switchover(stage, &from, to)?);
    Ok(())
}

fn hear_answer(stage: &mut Stage, hand: &mut Hand) -> Result<()> {
    let Some(answer) = hand.answered.as_ref().and_then(taken) else {
        return Ok(());
    };
    hand.answered = None;
    let line = match answer {
        Ok(Answer::Done { text }) => Line::good(format!("     {text}")),
        Ok(Answer::Refused { reason }) => Line::notable(format!("     refused: {reason}")),
        Ok(Answer::Failed { reason }) => Line::bad(format!("     failed: {reason}")),
        Ok(Answer::Plan { .. }) => Line::plain("     only planned"),
        Err(error) => Line::notable(format!("     the switchover was not answered: {error}")),
    };
    stage.say(&[line])
}

fn on_active(stage: &mut Stage, hand: &mut Hand, what: &str, order: fn(&Cluster, &str) -> Result<(), LabError>) -> Result<()> {
    let name = stage.cluster.active().context("no node is known to be ACTIVE")?;
    begin(stage, hand, format!("{what} {name}"))?;
    Ok(order(&stage.cluster, &name)?)
}

fn boot(stage: &mut Stage, hand: &mut Hand) -> Result<()> {
    let names: Vec<String> = stage.cluster.views().into_iter().map(|view| view.name).collect();
    let mut nothing = true;
    for name in names {
        let Some(what) = stage.cluster.missing(&name)? else { continue };
        nothing = false;
        begin(stage, hand, format!("{what} {name}"))?;
        stage.cluster.boot(&name)?;
    }
    if nothing { stage.say(&[Line::plain("     both nodes run already")]) } else { Ok(()) }
}
