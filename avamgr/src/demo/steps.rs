//! The play: what is done to the cluster, step by step, and what must come of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use avamgr_core::control::{Answer, Command};

use super::config::{GROUP, LINKS, NODES, other};
use super::expect::{Expected, Finding, course, links_seen, silences, state};
use super::report::{self, Outcome};
use super::stage::Stage;
use super::text::Line;
use super::watch;

/// How long an outage may take where none is needed: a busy machine gives the client and the service on the node their
/// turn late, and that is not a fault of the cluster.
const QUIET: Duration = Duration::from_millis(300);
/// A planned move waits for nothing.
const PLANNED: Duration = Duration::from_millis(500);
/// The failover budget of the config.
const FAILOVER: Duration = Duration::from_secs(1);

/// How long the state a step leads to may take to come.
const WITHIN: Duration = Duration::from_secs(8);
/// How long that state is watched, where nothing more should happen.
const WATCH: Duration = Duration::from_millis(500);
/// Where a daemon might still change its mind: longer than dead time and hold time together.
const WATCH_LONG: Duration = Duration::from_millis(1500);

/// What became of a command, when it has.
pub(super) type Answered = Arc<Mutex<Option<Result<Answer, String>>>>;

/// Who plays which part when a step begins.
#[derive(Clone, Debug)]
struct Cast {
    active: String,
    other: String,
}

/// One step.
struct Step {
    name: &'static str,
    /// What it is about, for somebody who has never seen such a thing.
    about: &'static str,
    act: fn(&mut Stage, &Cast) -> Result<Option<Answered>>,
    expected: fn(Cast) -> Expected,
    watch: Duration,
}

const STEPS: [Step; 7] = [
    Step {
        name: "start",
        about: "both daemons start; the first in rank becomes ACTIVE and owns the virtual addresses",
        act: start,
        expected: |cast| Expected { silence_max: None, moves: true, ..stays(cast, [true, true]) },
        watch: WATCH,
    },
    Step {
        name: "switchover",
        about: "an operator moves the group to the other node",
        act: switchover,
        expected: |cast| Expected {
            active: cast.other,
            standby: Some(cast.active),
            links_up: [true, true],
            moves: true,
            silence_max: Some(PLANNED),
        },
        watch: WATCH,
    },
    Step {
        name: "one cable cut",
        about: "the other link carries on",
        act: |stage, _| pull(stage, &[0]),
        expected: |cast| stays(cast, [false, true]),
        watch: WATCH_LONG,
    },
    Step {
        name: "both cut",
        about: "the neutral path still connects the nodes: nobody takes over from a node that lives",
        act: |stage, _| pull(stage, &[1]),
        expected: |cast| stays(cast, [false, false]),
        watch: WATCH_LONG,
    },
    Step {
        name: "cables back",
        about: "both links come up again",
        act: plug,
        expected: |cast| stays(cast, [true, true]),
        watch: WATCH,
    },
    Step {
        name: "power-off",
        about: "the ACTIVE node loses its power in mid-instruction; the other one takes over",
        act: power_off,
        expected: |cast| Expected {
            active: cast.other,
            standby: None,
            links_up: [false, false],
            moves: true,
            silence_max: Some(FAILOVER),
        },
        watch: WATCH,
    },
    Step {
        name: "return",
        about: "the node boots and joins as STANDBY; nothing moves back by itself",
        act: boot,
        expected: |cast| stays(cast, [true, true]),
        watch: WATCH_LONG,
    },
];

/// Nobody changes places.
fn stays(cast: Cast, links_up: [bool; 2]) -> Expected {
    Expected { active: cast.active, standby: Some(cast.other), links_up, moves: false, silence_max: Some(QUIET) }
}

/// Plays all steps up to the first that misbehaves.
pub(super) fn play(stage: &mut Stage) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for (number, step) in (1..).zip(&STEPS) {
        let title = Line::strong(format!("{number:>3}  {}", step.name.to_uppercase()));
        stage.say(&[Line::default(), title, Line::faint(format!("     {}", step.about))])?;
        let outcome = perform(stage, step)?;
        stage.say(&report::verdict(&stage.cluster, &outcome))?;
        let ok = outcome.ok();
        outcomes.push(outcome);
        if !ok {
            break;
        }
    }
    let played = outcomes.len();
    outcomes.extend(STEPS.iter().skip(played).map(|step| Outcome::not_played(step.name)));
    Ok(outcomes)
}

fn perform(stage: &mut Stage, step: &Step) -> Result<Outcome> {
    let before = stage.cluster.active();
    let active = before.clone().unwrap_or_else(|| NODES[0].to_owned());
    let other = other(&active).to_owned();
    let cast = Cast { active, other };
    let answered = (step.act)(stage, &cast)?;
    let expected = (step.expected)(cast);
    stage.wait(WITHIN, |cluster| {
        answered.as_ref().is_none_or(|slot| taken(slot).is_some()) && state(cluster, &expected).iter().all(|finding| finding.ok)
    })?;
    stage.wait(step.watch, |_| false)?;
    stage.show_events(Duration::ZERO)?;
    let begin = stage.begin;
    let silences = expected.silence_max.map(|_| silences(&stage.cluster, begin));
    let mut findings = state(&stage.cluster, &expected);
    findings.extend(answered.as_ref().map(answer));
    findings.extend(course(&stage.cluster, &expected, begin, silences));
    let late = stage.cluster.probe().stalls_since(begin.lab).iter().map(|stall| stall.late).max();
    let (after, links) = (stage.cluster.active(), links_seen(&stage.cluster.views()));
    Ok(Outcome { name: step.name, before, after, links, expected: Some(expected), silences, late, findings })
}

/// The answer to a command, if there is one by now.
pub(super) fn taken(slot: &Answered) -> Option<Result<Answer, String>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What became of the order.
fn answer(slot: &Answered) -> Finding {
    let (seen, ok) = match taken(slot) {
        Some(Ok(Answer::Done { text })) => (text, true),
        Some(Ok(Answer::Refused { reason })) => (format!("refused: {reason}"), false),
        Some(Ok(Answer::Failed { reason })) => (format!("failed: {reason}"), false),
        Some(Ok(Answer::Plan { .. })) => ("only planned".to_owned(), false),
        Some(Err(error)) => (error, false),
        None => ("no answer".to_owned(), false),
    };
    Finding::new("the order is carried out", seen, ok)
}

fn start(stage: &mut Stage, _: &Cast) -> Result<Option<Answered>> {
    stage.begin(&format!("avamgrd starts on {}", NODES.join(" and ")))?;
    for name in NODES {
        stage.cluster.start_daemon(name)?;
    }
    Ok(None)
}

fn switchover(stage: &mut Stage, cast: &Cast) -> Result<Option<Answered>> {
    stage.begin(&format!("avamgr switchover {GROUP} --to {}", cast.other))?;
    order_switchover(stage, &cast.active, &cast.other).map(Some)
}

/// Orders a node to give the group to another one.
pub(super) fn order_switchover(stage: &Stage, from: &str, to: &str) -> Result<Answered> {
    let command = Command::Switchover { group: Some(GROUP.to_owned()), to: Some(to.to_owned()), dry_run: false };
    Ok(watch::command(&stage.cluster.node(from)?.socket(), command, WITHIN))
}

fn pull(stage: &mut Stage, which: &[usize]) -> Result<Option<Answered>> {
    for (name, network) in which.iter().filter_map(|link| LINKS.get(*link)) {
        stage.begin(&format!("the cable of link {name} is pulled"))?;
        stage.cluster.lab.pull(network)?;
    }
    Ok(None)
}

fn plug(stage: &mut Stage, _: &Cast) -> Result<Option<Answered>> {
    stage.begin("both cables are plugged in again")?;
    stage.cluster.lab.heal_all()?;
    Ok(None)
}

fn power_off(stage: &mut Stage, cast: &Cast) -> Result<Option<Answered>> {
    stage.begin(&format!("{} loses its power", cast.active))?;
    stage.cluster.lab.power_off(&cast.active)?;
    Ok(None)
}

fn boot(stage: &mut Stage, cast: &Cast) -> Result<Option<Answered>> {
    stage.begin(&format!("{} gets its power back and boots", cast.other))?;
    stage.cluster.boot(&cast.other)?;
    Ok(None)
}
