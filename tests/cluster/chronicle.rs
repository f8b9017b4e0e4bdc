//! What has been seen of each node so far: the memory of the invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use avamgr_core::cluster::{CheckId, GroupId, Incarnation, LinkId, NodeId, ResourceId, Role, Term};
use avamgr_core::control::{Answer, Command, FenceVerb};
use avamgr_core::node::action::{FenceId, RequestId};
use avamgr_core::node::event::{Cause, HoldKind, SwitchoverStep, Voting};
use avamgr_core::node::{Action, Event, Fact, Input, Order, Report};
use avamgr_core::sim::{DaemonChange, Note, What, World};
use avamgr_core::time::Instant;
use avamgr_core::wire::Heartbeat;

/// Everything seen of one node. What a restart of its daemon makes void is in [`Run`].
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Record {
    pub(crate) run: Run,
    /// The highest term in which it ever began to start a group.
    pub(crate) launched: BTreeMap<GroupId, Term>,
    pub(crate) paused: Option<Instant>,
}

/// Everything seen of one run of a daemon.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Run {
    pub(crate) started: Instant,
    pub(crate) incarnation: Option<Incarnation>,
    /// The run of each peer, and when it was last heard, on the clock of this node.
    company: BTreeMap<NodeId, (Incarnation, Instant)>,
    /// The last fresh frame of each peer, by link: when it arrived, in the world's time.
    pub(crate) heard: BTreeMap<(NodeId, LinkId), Instant>,
    /// Until when a peer has said that it may be silent.
    absent: BTreeMap<NodeId, Instant>,
    /// The runs of peers that have said goodbye: it is the last word of a run.
    pub(crate) left: BTreeMap<NodeId, Incarnation>,
    /// Whom it has ordered to be turned off, and since when each is known to be.
    shots: BTreeMap<FenceId, NodeId>,
    pub(crate) off: BTreeMap<NodeId, Instant>,
    /// For whom an operator has vouched that it is.
    pub(crate) vouched: BTreeMap<String, Instant>,
    /// The highest term in which a peer has said that it leads.
    pub(crate) peers_term: BTreeMap<GroupId, Term>,
    /// The highest term in which it knows a peer to have asked for consent.
    pub(crate) claims: BTreeMap<(NodeId, GroupId), Term>,
    /// To whom it has last said that it leaves a group.
    pub(crate) released: BTreeMap<GroupId, Option<NodeId>>,
    /// What has reported that nothing of it is left.
    pub(crate) removed: BTreeSet<ResourceId>,
    pub(crate) unable: BTreeSet<ResourceId>,
    pub(crate) failing: BTreeSet<CheckId>,
    /// When the last answered question to the arbitrator was asked, and whether it answered.
    pub(crate) verdict: Option<(Instant, bool)>,
    /// When somebody last answered for the VIPs of a group.
    pub(crate) answered: BTreeMap<GroupId, Instant>,
    /// The groups it has begun to start and not given up since.
    pub(crate) leads: BTreeSet<GroupId>,
    /// The highest term it has shown.
    pub(crate) shown: BTreeMap<GroupId, Term>,
    /// The groups it gave up for want of a network during maintenance, or left to somebody who could not take them: it may
    /// have them back in maintenance, too.
    pub(crate) evicted: BTreeSet<GroupId>,
    /// Takeovers from silent peers.
    pub(crate) takeovers: BTreeMap<GroupId, Vec<Instant>>,
    pub(crate) holds: BTreeMap<HoldKind, Hold>,
    /// Groups that are held because they were taken over too often.
    pub(crate) flapped: BTreeSet<GroupId>,
    commands: BTreeMap<RequestId, (Instant, Command)>,
    /// When the last `online` or `offline` came that was carried out.
    last_word: Instant,
}

/// A hold that has been set; it may end by itself.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Hold {
    pub(crate) until: Instant,
}

/// The memory of all nodes.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Chronicle {
    records: BTreeMap<NodeId, Record>,
    /// Of whom nothing has been seen.
    nothing: Record,
}

impl Chronicle {
    pub(crate) fn of(&self, node: NodeId) -> &Record {
        self.records.get(&node).unwrap_or(&self.nothing)
    }

    /// Takes note of what was seen.
    pub(crate) fn record(&mut self, world: &World, note: &Note) {
        let Some(node) = note.host else { return };
        let record = self.records.entry(node).or_default();
        match &note.what {
            What::Order(_) => {}
            What::Handled(input) => record.run.on_input(world, node, note.at, input),
            What::Did(action) => {
                record.run.on_action(world, note.at, action);
                if let Some(group) = launched(action)
                    && record.run.leads.insert(group)
                {
                    let term = world.term(node, group).unwrap_or_default();
                    let before = record.launched.entry(group).or_default();
                    *before = term.max(*before);
                }
            }
            What::Daemon(change) => record.on_daemon(note.at, *change),
            What::Kernel(_) => {}
        }
    }

    /// Forgets the groups a node leads no more.
    pub(crate) fn forget_ended(&mut self, world: &World) {
        for (node, record) in &mut self.records {
            record.run.leads.retain(|group| match world.role(*node, *group) {
                Some(Role::Activating | Role::Active | Role::Deactivating) => true,
                Some(Role::Standby | Role::Fault) | None => false,
            });
        }
    }
}

impl Record {
    fn on_daemon(&mut self, at: Instant, change: DaemonChange) {
        match change {
            DaemonChange::Started => self.run = Run { started: at, ..Run::default() },
            DaemonChange::Died | DaemonChange::Exited => {
                self.run = Run::default();
                self.paused = None;
            }
            DaemonChange::Paused => self.paused = Some(at),
            DaemonChange::Resumed => self.paused = None,
        }
    }
}

impl Run {
    /// A frame that proves to be of now: its sender has heard this run, and since the last word of another run of its own.
    pub(crate) fn may_hear(&self, frame: &Heartbeat) -> bool {
        let known = self.company.get(&frame.from);
        let is_later = known
            .is_none_or(|(run, heard)| *run == frame.incarnation || Instant::from_nanos(frame.echo_nanos) > *heard);
        frame.echo.is_some() && frame.echo == self.incarnation && is_later
    }

    fn on_input(&mut self, world: &World, node: NodeId, at: Instant, input: &Input) {
        match input {
            Input::Heartbeat { link, arrived, heartbeat, .. } => {
                if heartbeat.from == node || !self.may_hear(heartbeat) {
                    return;
                }
                let run = self.company.entry(heartbeat.from).or_insert((heartbeat.incarnation, *arrived));
                *run = (heartbeat.incarnation, run.1.max(*arrived));
                let arrived = world.world_time(node, *arrived);
                let heard = self.heard.entry((heartbeat.from, *link)).or_insert(arrived);
                *heard = arrived.max(*heard);
                if !heartbeat.absence.is_zero() {
                    self.absent.insert(heartbeat.from, arrived + heartbeat.absence);
                }
                if heartbeat.leaving {
                    self.left.insert(heartbeat.from, heartbeat.incarnation);
                } else if self.left.get(&heartbeat.from) != Some(&heartbeat.incarnation) {
                    self.left.remove(&heartbeat.from);
                }
                for (group, state) in world.config().group_ids().zip(&heartbeat.groups) {
                    if state.claim {
                        let before = self.claims.entry((heartbeat.from, group)).or_default();
                        *before = state.term.max(*before);
                    }
                    if leads(state.role) && !state.claim {
                        let before = self.peers_term.entry(group).or_default();
                        *before = state.term.max(*before);
                    }
                }
            }
            Input::Fenced { fence, result } => {
                if let Some(node) = self.shots.remove(fence).filter(|_| result.is_ok()) {
                    self.off.insert(node, world.now());
                }
            }
            Input::Verdict { asked, answers, .. } => {
                self.verdict = Some((world.world_time(node, *asked), answers.iter().any(Option::is_some)));
            }
            Input::VipProbe { group, owner: Some(_), .. } => {
                self.answered.insert(*group, at);
            }
            Input::Report { resource, report } => self.on_report(*resource, report),
            Input::Ready { check, result } => {
                let failing = result.is_err();
                let _ = if failing { self.failing.insert(*check) } else { self.failing.remove(check) };
            }
            Input::Command { request, command, .. } => {
                self.commands.insert(*request, (at, command.clone()));
                if *command == Command::Online {
                    // Whoever lifts the hold grants as many takeovers again.
                    for group in std::mem::take(&mut self.flapped) {
                        self.takeovers.remove(&group);
                    }
                }
            }
            Input::BadDatagram { .. }
            | Input::Namesake { .. }
            | Input::Carrier { .. }
            | Input::Refused { .. }
            | Input::Bearer { .. }
            | Input::VipProbe { .. }
            | Input::Persisted { .. }
            | Input::Shutdown
            | Input::Deadline => {}
        }
    }

    fn on_report(&mut self, resource: ResourceId, report: &Report) {
        match report {
            Report::Stopped | Report::StartFailed(_) => {
                self.removed.insert(resource);
            }
            Report::Able => {
                self.unable.remove(&resource);
            }
            Report::Unable(_) => {
                self.unable.insert(resource);
            }
            Report::Started | Report::StopFailed(_) | Report::Failed(_) | Report::Well(_) => {}
            Report::Stray(_) | Report::Gone(_) | Report::Notice(_) => {}
        }
    }

    fn on_action(&mut self, world: &World, at: Instant, action: &Action) {
        match action {
            Action::Send { heartbeat, .. } => {
                self.incarnation = Some(heartbeat.incarnation);
                for (group, state) in world.config().group_ids().zip(&heartbeat.groups) {
                    let before = self.shown.entry(group).or_default();
                    *before = state.term.max(*before);
                    self.released.insert(group, state.released_to);
                }
            }
            Action::Fence { fence, target } => {
                self.shots.insert(*fence, *target);
            }
            Action::Answer { request, answer: Answer::Done { .. } } => {
                if let Some((given, command)) = self.commands.remove(request) {
                    self.on_done(given, &command);
                }
            }
            Action::Event(event) => match &event.fact {
                Fact::RoleChanged { group, to: Role::Activating, cause: Cause::PeerSilent { .. }, .. } => {
                    self.takeovers.entry(*group).or_default().push(at);
                }
                Fact::RoleChanged {
                    group, to: Role::Deactivating, cause: Cause::Isolated | Cause::LeaseLost, ..
                } if self.holds.contains_key(&HoldKind::Maintenance) => {
                    self.evicted.insert(*group);
                }
                Fact::Switchover { group, step: SwitchoverStep::RolledBack { .. }, .. } => {
                    self.evicted.insert(*group);
                }
                Fact::RoleChanged { group, to: Role::Active, .. } => {
                    self.evicted.remove(group);
                }
                // An operator has said that it was damaged.
                Fact::Voting(Voting::TermReset { group, to, .. }) => {
                    self.shown.insert(*group, *to);
                }
                Fact::FlapLimit { group, .. } => {
                    self.flapped.insert(*group);
                }
                _ => {}
            },
            Action::Answer { .. }
            | Action::Ask { .. }
            | Action::ProbeVips { .. }
            | Action::Persist { .. }
            | Action::Right { .. }
            | Action::Resource { .. }
            | Action::Continue
            | Action::Exit => {}
        }
    }

    /// A command given at `at` is done.
    fn on_done(&mut self, at: Instant, command: &Command) {
        let forever = Hold { until: Instant::NEVER };
        match command {
            // It is done when the group has gone; an operator may have thought better of it meanwhile.
            Command::Offline { .. } if at < self.last_word => {}
            Command::Offline { duration } => {
                self.last_word = at;
                // One thousandth less: clocks may run fast.
                let until = duration.map_or(Instant::NEVER, |time| at + (time - time / 1_000));
                self.holds.insert(HoldKind::Offline, Hold { until });
            }
            Command::Online => {
                self.last_word = at;
                self.holds.remove(&HoldKind::Offline);
            }
            Command::Maintenance { on: true } => {
                self.holds.insert(HoldKind::Maintenance, forever);
            }
            Command::Maintenance { on: false } => {
                self.holds.remove(&HoldKind::Maintenance);
            }
            Command::Fence { node, verb: FenceVerb::Confirm } => {
                self.vouched.insert(node.clone(), at);
            }
            Command::ConfirmVoters | Command::ResetTerm { .. } | Command::Fence { .. } => {}
            Command::Switchover { .. } | Command::Resource { .. } | Command::Upgrade { .. } => {}
        }
    }

    /// When a peer was heard last, on any link.
    pub(crate) fn last_heard(&self, peer: NodeId) -> Option<Instant> {
        self.heard.iter().filter(|((from, _), _)| *from == peer).map(|(_, at)| *at).max()
    }

    /// Whether this peer has said that it may be silent now, or a moment ago.
    pub(crate) fn is_absent(&self, now: Instant, peer: NodeId, time: Duration) -> bool {
        self.absent.get(&peer).is_some_and(|until| now.since(*until) <= time)
    }

    /// Whether this peer was heard within `time`.
    pub(crate) fn heard_within(&self, now: Instant, peer: NodeId, time: Duration) -> bool {
        self.last_heard(peer).is_some_and(|heard| now.since(heard) <= time)
    }
}

/// The group that is served from here on: something of it is started, or an operator has stopped all of it and there is
/// nothing to start.
pub(crate) fn launched(action: &Action) -> Option<GroupId> {
    match action {
        Action::Resource { resource, order: Order::Start } => Some(resource.group),
        Action::Event(Event { fact: Fact::RoleChanged { group, to: Role::Active, .. }, .. }) => Some(*group),
        _ => None,
    }
}

/// A role that has, or had a moment ago, something up.
pub(crate) fn leads(role: Role) -> bool {
    match role {
        Role::Activating | Role::Active | Role::Deactivating => true,
        Role::Standby | Role::Fault => false,
    }
}
