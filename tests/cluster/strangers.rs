//! Frames that must change nothing (S14): repeated, foreign, misdirected, of another run.

use avamgr_core::cluster::{Incarnation, LinkId, NodeId};
use avamgr_core::control::Status;
use avamgr_core::node::input::BadDatagram;
use avamgr_core::node::{Action, Input, Node};
use avamgr_core::sim::{Note, Random, What, World};
use avamgr_core::wire::Heartbeat;

/// One frame in so many is tried in every disguise.
const ONE_IN: u64 = 200;

/// Tries what strangers could send.
#[derive(Clone, Debug)]
pub(crate) struct Strangers {
    random: Random,
    /// Frames of the past, for a recording played back much later.
    recorded: Vec<Input>,
}

/// Frames kept for later.
const RECORDED_MAX: usize = 8;

impl Strangers {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), recorded: Vec::new() }
    }

    /// S14: right after a frame was taken, plays it and older ones again in every disguise to a copy of the node.
    pub(crate) fn frames_of_strangers_change_nothing(&mut self, world: &World, notes: &[Note]) -> Result<(), String> {
        for note in notes {
            let (Some(node), What::Handled(input @ Input::Heartbeat { link, heartbeat, .. })) = (note.host, &note.what)
            else {
                continue;
            };
            if self.random.below(ONE_IN) != 0 || !world.is_running(node) {
                continue;
            }
            for disguised in disguises(*link, heartbeat, world.config().links.len()) {
                let input = with_frame(input, disguised);
                changes_nothing(world, node, &input)?;
            }
            for input in self.recorded.iter().filter(|input| is_for(input, node)) {
                changes_nothing(world, node, input)?;
            }
            // Nothing at all is something else than a frame: a decision that needs a second look was not complete.
            changes_nothing(world, node, &Input::Deadline)?;
            for cause in BadDatagram::ALL {
                changes_nothing(world, node, &Input::BadDatagram { link: *link, cause })?;
            }
            self.keep(input.clone());
        }
        Ok(())
    }

    fn keep(&mut self, input: Input) {
        if self.recorded.len() < RECORDED_MAX {
            self.recorded.push(input);
        } else {
            let slot = self.random.index(RECORDED_MAX);
            self.recorded[slot] = input;
        }
    }
}

/// The same frame as somebody might play it back or forge its head.
fn disguises(link: LinkId, frame: &Heartbeat, links: usize) -> Vec<Heartbeat> {
    let other_run = Incarnation(frame.incarnation.0 ^ 0x5555);
    let unproven = Heartbeat { echo: Some(Incarnation(1)), sequence: frame.sequence + 1_000, ..frame.clone() };
    let later = |change: &dyn Fn(&mut Heartbeat)| {
        let mut frame =
            Heartbeat { sequence: frame.sequence + 1_000, revision: frame.revision + 1_000, ..frame.clone() };
        change(&mut frame);
        frame
    };
    let elsewhere = LinkId(u8::try_from((link.index() + 1) % links.max(2)).unwrap_or(0));
    vec![
        frame.clone(),
        later(&|frame| frame.sequence = 0),
        Heartbeat { incarnation: other_run, ..unproven.clone() },
        // It had heard this run of ours, and we had never heard it.
        Heartbeat { incarnation: other_run, ..frame.clone() },
        unproven,
        later(&|frame| frame.echo = None),
        later(&|frame| frame.to = frame.from),
        later(&|frame| frame.link = elsewhere),
        later(&|frame| frame.from = NodeId(77)),
    ]
}

fn with_frame(input: &Input, frame: Heartbeat) -> Input {
    let mut input = input.clone();
    if let Input::Heartbeat { heartbeat, .. } = &mut input {
        *heartbeat = frame;
    }
    input
}

fn is_for(input: &Input, node: NodeId) -> bool {
    matches!(input, Input::Heartbeat { heartbeat, .. } if heartbeat.to == node)
}

fn changes_nothing(world: &World, node: NodeId, input: &Input) -> Result<(), String> {
    let Some(state) = world.node(node) else {
        return Ok(());
    };
    let now = world.local(node);
    let mut copy: Node = state.clone();
    copy.handle(now, input.clone());
    while let Some(action) = copy.poll_action() {
        // The answer to an unproven frame is how its sender proves itself; it says nothing new.
        if !matches!(action, Action::Send { .. }) {
            return Err(format!("S14 frames of strangers change nothing: {input:?} made {node:?} {action:?}"));
        }
    }
    if essence(state.status(now)) == essence(copy.status(now)) {
        return Ok(());
    }
    Err(format!("S14 frames of strangers change nothing: {input:?} changed {node:?}"))
}

/// A status without its counters.
fn essence(mut status: Status) -> Status {
    for link in status.peers.iter_mut().flat_map(|peer| &mut peer.links) {
        link.refused.clear();
        link.sent = 0;
    }
    status
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use avamgr_core::cluster::{GroupId, LinkId};
    use avamgr_core::node::Fact;
    use avamgr_core::time::Instant;

    use super::*;
    use crate::alarms::{N1, N2, play};
    use crate::checked::Checked;
    use crate::script::plan;

    /// A frame of n1 in a run that n2 has never heard.
    fn frame(run: u64, echo: Option<Incarnation>, sent: Instant, heard: Instant) -> Heartbeat {
        Heartbeat {
            from: N1,
            to: N2,
            link: LinkId(0),
            incarnation: Incarnation(run),
            echo,
            sequence: 1,
            sent_nanos: sent.as_nanos(),
            echo_nanos: heard.as_nanos(),
            echo_delay_nanos: 0,
            wall_millis: 0,
            config_digest: 0,
            hears_you: false,
            probe: false,
            leaving: false,
            revision: 1,
            seen_revision: 0,
            groups: Vec::new(),
            request: None,
            lease: Duration::ZERO,
            voters: 0,
            fenced: Vec::new(),
            absence: Duration::ZERO,
        }
    }

    fn told(node: &mut Node, now: Instant, heartbeat: Heartbeat) -> Vec<Action> {
        node.handle(now, Input::Heartbeat { link: LinkId(0), arrived: now, wall_millis: 0, heartbeat });
        std::iter::from_fn(|| node.poll_action()).collect()
    }

    fn restarted(actions: &[Action]) -> bool {
        actions.iter().any(|it| matches!(it, Action::Event(event) if matches!(event.fact, Fact::PeerRestarted { .. })))
    }

    /// Two runs of each side that know an older one of the other: a machine set back to what it was, or a copy of it that is gone.
    #[test]
    fn a_run_that_was_never_heard_is_believed_as_soon_as_it_has_heard_us_now() {
        let mut world = Checked::new(plan("cluster lease witness"), None);
        play(&mut world, &["boot all", "settle"]);
        let (mut node, now) = (world.node(N2).expect("it runs").clone(), world.local(N2));
        let sent = Instant::from_millis(77);
        let answers = told(&mut node, now, frame(4711, Some(Incarnation(1)), sent, now));
        let proof = answers.iter().find_map(|action| match action {
            Action::Send { heartbeat, .. } if heartbeat.echo == Some(Incarnation(4711)) => Some(heartbeat.clone()),
            _ => None,
        });
        let proof = proof.expect("it is shown its number");
        assert_eq!(proof.echo_nanos, sent.as_nanos(), "and when it was sent");
        let promises = |frame: &Heartbeat| frame.groups.iter().filter(|group| group.promise.is_some()).count();
        assert!(promises(&proof) == 0 && !proof.hears_you, "nothing that was meant for another run");
        assert!(world.node(N2).expect("it runs").role(GroupId(0)) != avamgr_core::cluster::Role::Active);
        let ours = Some(proof.incarnation);
        let before = frame(4711, ours, sent, now - Duration::from_secs(1));
        assert!(!restarted(&told(&mut node, now, before)), "a recording");
        let later = now + Duration::from_millis(1);
        assert!(restarted(&told(&mut node, later, frame(4711, ours, sent, later))), "it has heard us since");
    }
}
