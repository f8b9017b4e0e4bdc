//! Faults after which the old owner comes back: what its return does to the client.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::bed::Bed;
use crate::grip::{lose_heartbeats, signal};
use crate::measure::{BEFORE, Run, Verdict, ms};

/// What happens to the old owner, or to what is heard of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Its daemon is killed; later it is started again.
    Killed,
    /// Its daemon stands still; later it goes on.
    Hung,
    /// No heartbeat arrives on either node; later they do again.
    Split,
}

/// How long the fault lasts.
const LASTS: Duration = Duration::from_secs(8);

/// keepalived announces for the second time five seconds after it has become master: a client may be dark until then.
const WATCHED: Duration = Duration::from_secs(8);

/// Plays one of them. The first phase is over when the fault ends; only what follows is counted.
pub(crate) fn run(bed: &Bed<'_>, fault: Fault) -> Result<Verdict> {
    let active = bed.calm()?;
    let node = bed.lab.host(&active)?;
    let probe = bed.probe()?;
    let answers = bed.answers()?;
    thread::sleep(BEFORE);
    Bed::random_phase();
    let begun = Instant::now();
    match fault {
        Fault::Killed => signal(bed.peer, &node, Signal::SIGKILL)?,
        Fault::Hung => signal(bed.peer, &node, Signal::SIGSTOP)?,
        Fault::Split => lose_heartbeats(bed.peer, bed.lab.nodes(), 100)?,
    }
    thread::sleep(LASTS);
    let from = Instant::now();
    thread::sleep(BEFORE);
    let back = Instant::now();
    match fault {
        Fault::Killed => bed.peer.start(&bed.lab, &active)?,
        Fault::Hung => signal(bed.peer, &node, Signal::SIGCONT)?,
        Fault::Split => lose_heartbeats(bed.peer, bed.lab.nodes(), 0)?,
    }
    thread::sleep(WATCHED);
    let to = Instant::now();
    if let Some(stall) = probe.stalls_since(from).iter().max_by_key(|stall| stall.late) {
        return Ok(Verdict::Discard(format!("the probe did not run for {:?}", stall.late)));
    }
    let sightings = probe.sightings();
    let seen = answers.settled();
    let other = bed.other(&active)?;
    let taken = seen.first_of(other.name(), begun).filter(|at| *at < from);
    let outage = |from, to| sightings.worst_outage(from, to).map(|(_, outage)| ms(outage.longest)).unwrap_or_default();
    let dual = |from, to| {
        let duals = bed.probed.iter().map(|ip| bed.lab.owners().between(*ip, from, to).dual);
        ms(duals.max().unwrap_or_default())
    };
    let mut run: Run = vec![
        ("first_outage_ms", outage(begun, from)),
        ("first_dual_ms", dual(begun, back)),
        ("second_outage_ms", outage(from, to)),
        ("second_dual_ms", dual(back, to)),
        // A round of questions each millisecond.
        ("two_answer_ms", seen.both.len() as f64),
        ("answers_judged_percent", seen.share() * 100.0),
    ];
    run.extend(taken.map(|at| ("takeover_ms", ms(at.duration_since(begun)))));
    Ok(Verdict::Good(run))
}
