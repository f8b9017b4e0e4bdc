use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;
use crate::cluster::{BearerId, CheckId, GroupId, LinkId, ResourceId, Role};
use crate::config::{TipcConfig, Transport};
use crate::control::frame::{MAX_REPLY_BYTES, decode, encode};
use crate::node::event::{Fencing, Severity, UpgradeStep};
use crate::time::Instant;

#[path = "fixture.rs"]
mod fixture;

const ME: NodeId = NodeId(0);
const PEER: NodeId = NodeId(1);
const DRE: GroupId = GroupId(0);
const MYSQL: GroupId = GroupId(1);
const PRIMARY: LinkId = LinkId(0);

/// One line per fact, as the journal shows it: severity and sentence.
fn told(fact: &Fact) -> String {
    let event = Event { at: Instant::from_millis(1), fact: fact.clone() };
    let text = describe(&event, &fixture::pair(), ME);
    format!("{:?} {text}", fact.severity())
}

fn role(from: Role, to: Role, cause: Cause) -> Fact {
    Fact::RoleChanged { group: DRE, from, to, term: Term(7), position: 2, cause }
}

fn resource(change: ResourceChange) -> Fact {
    Fact::Resource { resource: ResourceId { group: DRE, index: 1 }, change }
}

fn why() -> String {
    "exit code 3".to_owned()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn check_all(rows: &[(Fact, &str)]) {
    for (fact, expected) in rows {
        assert_eq!(told(fact), *expected);
    }
}

#[test]
fn every_cause_of_taking_a_role_has_its_sentence() {
    use Cause as C;
    use Role::{Activating, Active, Deactivating, Standby};
    check_all(&[
        (
            role(Standby, Deactivating, C::Start),
            "Info dre: STANDBY -> DEACTIVATING (term 7): daemon started, leftovers of an earlier run are removed first",
        ),
        (
            role(Deactivating, Standby, C::LeftoversRemoved),
            "Info dre: DEACTIVATING -> STANDBY (term 7): nothing of an earlier run is left here",
        ),
        (
            role(Standby, Activating, C::FirstInRank),
            "Info dre: STANDBY -> ACTIVATING (term 7): no node is ACTIVE and this one is first in rank of those able",
        ),
        (
            role(Standby, Activating, C::Standalone),
            "Info dre: STANDBY -> ACTIVATING (term 7): standalone mode, no other node to ask",
        ),
        (
            role(Standby, Activating, C::ReleasedToUs { by: PEER }),
            "Info dre: STANDBY -> ACTIVATING (term 7): hadev2 released it to this node",
        ),
        (
            role(Standby, Activating, C::PeerSilent { silence: millis(312), asked_all: false }),
            "Warning dre: STANDBY -> ACTIVATING (term 7): hadev2 silent for 312 ms on every path, arbitrator answers, nobody answers for the VIPs",
        ),
        (
            role(Standby, Activating, C::PeerSilent { silence: millis(12), asked_all: true }),
            "Warning dre: STANDBY -> ACTIVATING (term 7): hadev2 silent for 12 ms on every path, arbitrator answers, nobody answers for the VIPs; all were asked, so the hold time was not needed",
        ),
        (role(Activating, Active, C::ResourcesUp), "Info dre: ACTIVATING -> ACTIVE (term 7): all its resources are up"),
        (
            role(Deactivating, Standby, C::ResourcesDown),
            "Info dre: DEACTIVATING -> STANDBY (term 7): all its resources are down",
        ),
    ]);
}

#[test]
fn every_cause_of_losing_a_role_has_its_sentence() {
    use Cause as C;
    use Role::{Activating, Active, Deactivating, Fault, Standby};
    let traffic = ResourceId { group: DRE, index: 0 };
    check_all(&[
        (
            role(Active, Deactivating, C::Isolated),
            "Warning dre: ACTIVE -> DEACTIVATING (term 7): isolated: every link is silent and the arbitrator does not answer",
        ),
        (
            role(Active, Deactivating, C::OlderTerm { peer: PEER, term: Term(8) }),
            "Warning dre: ACTIVE -> DEACTIVATING (term 7): hadev2 is ACTIVE too, with term 8: this node yields",
        ),
        (
            role(Activating, Standby, C::ClaimLost { peer: PEER }),
            "Warning dre: ACTIVATING -> STANDBY (term 7): hadev2 did not consent or was first",
        ),
        (
            role(Active, Deactivating, C::Operator { who: "root".into() }),
            "Info dre: ACTIVE -> DEACTIVATING (term 7): ordered by root",
        ),
        (
            role(Active, Deactivating, C::Switchover { to: PEER }),
            "Info dre: ACTIVE -> DEACTIVATING (term 7): switchover to hadev2",
        ),
        (
            role(Standby, Activating, C::Switchover { to: ME }),
            "Info dre: STANDBY -> ACTIVATING (term 7): switchover to this node",
        ),
        (
            role(Standby, Activating, C::Rollback),
            "Warning dre: STANDBY -> ACTIVATING (term 7): no other node could take it: it comes back to this node",
        ),
        (
            role(Active, Deactivating, C::Failback),
            "Info dre: ACTIVE -> DEACTIVATING (term 7): failback to hadev1, its preferred node",
        ),
        (
            role(Active, Deactivating, C::ResourceFailed { resource: traffic, reason: why() }),
            "Warning dre: ACTIVE -> DEACTIVATING (term 7): resource traffic failed here for good: exit code 3",
        ),
        (
            role(Active, Deactivating, C::NotReady { check: CheckId(0) }),
            "Warning dre: ACTIVE -> DEACTIVATING (term 7): ready check tomcat fails here",
        ),
        (
            role(Deactivating, Fault, C::StopFailed { resource: traffic, reason: why() }),
            "Alarm dre: DEACTIVATING -> FAULT (term 7): resource traffic could not be stopped and may still run here: exit code 3",
        ),
        (
            role(Deactivating, Fault, C::ResourceFailed { resource: traffic, reason: why() }),
            "Alarm dre: DEACTIVATING -> FAULT (term 7): resource traffic failed here for good: exit code 3",
        ),
        (role(Fault, Standby, C::FaultCleared), "Info dre: FAULT -> STANDBY (term 7): its fault was cleared"),
        (
            role(Active, Deactivating, C::Held { hold: HoldKind::Offline }),
            "Info dre: ACTIVE -> DEACTIVATING (term 7): this node is held: offline",
        ),
        (
            role(Activating, Deactivating, C::RightLost),
            "Warning dre: ACTIVATING -> DEACTIVATING (term 7): the right to be ACTIVE was lost before the takeover was done",
        ),
        (role(Active, Deactivating, C::Shutdown), "Info dre: ACTIVE -> DEACTIVATING (term 7): daemon is stopping"),
    ]);
}

#[test]
fn bearers_are_named_by_their_interfaces() {
    let mut config = fixture::pair();
    config.links[0].transport = Transport::Tipc(TipcConfig {
        network_id: 1983,
        node_addresses: Vec::new(),
        bearers: vec!["eth3".to_owned(), "eth4".to_owned()],
    });
    let told = |up| {
        let fact = Fact::Bearer { link: PRIMARY, peer: PEER, bearer: BearerId(1), up };
        (fact.severity(), describe(&Event { at: Instant::BOOT, fact }, &config, ME))
    };
    let down = "bearer eth4 of link primary does not reach hadev2 any more: check its cable and its switch";
    assert_eq!(told(false), (Severity::Warning, down.to_owned()));
    assert_eq!(told(true), (Severity::Info, "bearer eth4 of link primary reaches hadev2 again".to_owned()));
}

#[test]
fn links_and_peers_are_named() {
    use LinkDownCause as L;
    let down = |cause| Fact::LinkDown { link: PRIMARY, peer: PEER, cause };
    check_all(&[
        (Fact::LinkUp { link: PRIMARY, peer: PEER }, "Info link primary to hadev2 is up in both directions"),
        (
            Fact::LinkSuspect { link: PRIMARY, peer: PEER, silence: millis(151) },
            "Info link primary to hadev2 is late: silent for 151 ms, probing",
        ),
        (down(L::Silence), "Warning link primary to hadev2 is down: no frame within the dead time of 310 ms"),
        (
            down(L::NoCarrier),
            "Warning link primary to hadev2 is down: our interface has no carrier, is switched off or missing",
        ),
        (down(L::Refused), "Warning link primary to hadev2 is down: hadev2 answers that no daemon listens there"),
        (down(L::Unreachable), "Warning link primary to hadev2 is down: no bearer reaches hadev2"),
        (down(L::NotHeard), "Warning link primary to hadev2 is down: hadev2 does not hear us on it"),
        (down(L::Restarted), "Info link primary to hadev2 is down: the daemon of hadev2 was restarted"),
        (down(L::Left), "Info link primary to hadev2 is down: hadev2 said goodbye"),
        (Fact::PeerAlive { peer: PEER }, "Info hadev2 is alive"),
        (
            Fact::PeerDegraded { peer: PEER },
            "Alarm hadev2 is heard on the neutral path only: every dedicated link to it is down, repair one now",
        ),
        (Fact::PeerSilent { peer: PEER }, "Alarm hadev2 is silent on every path"),
        (Fact::PeerRestarted { peer: PEER }, "Info hadev2: its daemon was restarted"),
        (
            Fact::PeerRole { group: DRE, peer: PEER, role: Role::Deactivating, term: Term(7) },
            "Info dre: hadev2 is DEACTIVATING (term 7)",
        ),
        (Fact::PeerLeft { peer: PEER }, "Info hadev2 left in an orderly way: its daemon was stopped"),
        (
            Fact::DuplicateNode { link: PRIMARY, node: ME },
            "Alarm another machine calls itself hadev1 on link primary: stop one of the two, node names must be unique",
        ),
        (Fact::NodeUnique { node: PEER }, "Info nobody else calls itself hadev2 any more"),
        (
            Fact::ConfigMismatch { peer: PEER },
            "Alarm hadev2 runs with another config than this node: make the files equal and reload both",
        ),
        (Fact::ConfigMatches { peer: PEER }, "Info hadev2 has the same config again"),
        (
            Fact::ClockOffset { peer: PEER, offset_millis: -2_500 },
            "Alarm wall clock of hadev2 is 2.500 s behind ours (limit 500 ms): check NTP on both; takeovers do not depend on it, logs do",
        ),
        (Fact::ClockAgrees { peer: PEER }, "Info wall clock of hadev2 agrees with ours again"),
    ]);
}

#[test]
fn arbitration_and_conflicts_say_who_yields() {
    let owner = VipOwner { address: IpAddr::from([172, 16, 9, 61]), mac: "02:00:00:00:00:07".into() };
    let dual = |ours, theirs| Fact::DualActive { group: DRE, peer: PEER, ours: Term(ours), theirs: Term(theirs) };
    check_all(&[
        (Fact::ArbitratorReachable, "Info arbitrator answers"),
        (Fact::WitnessLost, "Alarm the witness does not answer: nothing moves, but one more fault may be one too many"),
        (Fact::WitnessBack, "Info the witness answers"),
        (Fact::ArbitratorUnreachable, "Warning arbitrator does not answer"),
        (
            Fact::Isolated,
            "Alarm isolated: every link is silent and the arbitrator does not answer; this node may not be ACTIVE until it hears one of them again",
        ),
        (Fact::NotIsolated, "Info not isolated any more: a link or the arbitrator is back"),
        (
            Fact::VipAnswered { group: DRE, owner },
            "Alarm dre: no ACTIVE node is heard, but 02:00:00:00:00:07 answers for VIP 172.16.9.61: takeover is blocked while somebody owns it",
        ),
        (
            Fact::VipProbeFailed { group: DRE, error: "eth1 is down".into() },
            "Warning dre: the service network could not be asked who owns the VIPs: eth1 is down",
        ),
        (
            Fact::HookFailed { group: DRE, to: Role::Active, reason: "exited with status 3".into() },
            "Warning dre: the hook for ACTIVE failed: exited with status 3",
        ),
        (
            dual(8, 7),
            "Alarm dre: ACTIVE here (term 8) and on hadev2 (term 7) at the same time: hadev2 has the older term and yields",
        ),
        (
            dual(7, 8),
            "Alarm dre: ACTIVE here (term 7) and on hadev2 (term 8) at the same time: this node has the older term and yields",
        ),
        (
            dual(7, 7),
            "Alarm dre: ACTIVE here (term 7) and on hadev2 (term 7) at the same time: the terms are equal, the node of lower rank yields",
        ),
        (
            Fact::ConflictEnded { group: DRE },
            "Info dre: the conflict is over, this node stays ACTIVE and announced its VIPs again",
        ),
        (
            Fact::FlapLimit { group: DRE, count: 4 },
            "Alarm dre: 4 automatic takeovers within 10 min: held here until an operator says `online`",
        ),
    ]);
}

#[test]
fn what_is_told_of_other_programs_keeps_its_own_weight() {
    let told = |severity, text: &str| Fact::Rules { severity, text: text.into() };
    let of_page = Fact::Web { severity: Severity::Warning, text: "was killed".into() };
    check_all(&[
        (of_page, "Warning web page: was killed"),
        (told(Severity::Info, "hadev2 answers again"), "Info rules: hadev2 answers again"),
        (told(Severity::Warning, "re/a was changed on both"), "Warning rules: re/a was changed on both"),
        (told(Severity::Alarm, "re has lost all"), "Alarm rules: re has lost all"),
    ]);
}

#[test]
fn resources_say_what_comes_next() {
    use ResourceChange as R;
    check_all(&[
        (resource(R::Started), "Info dre/dre: started"),
        (resource(R::StartFailed { reason: why() }), "Warning dre/dre: could not be started: exit code 3"),
        (resource(R::Stopped), "Info dre/dre: stopped"),
        (resource(R::Stray { reason: "x".into() }), "Alarm dre/dre: is here although it should not be: x"),
        (
            resource(R::StopFailed { reason: why() }),
            "Alarm dre/dre: could not be stopped and may still be here: exit code 3",
        ),
        (resource(R::Failed { reason: why() }), "Warning dre/dre: failed: exit code 3"),
        (
            resource(R::Restarting { after: millis(2_000), attempt: 2, max: 3 }),
            "Warning dre/dre: will be restarted in 2 s (attempt 2 of 3)",
        ),
        (resource(R::Able), "Info dre/dre: could be started here again"),
        (resource(R::Unable { reason: why() }), "Warning dre/dre: could not be started here: exit code 3"),
        (
            resource(R::Notice { text: "someone removed 172.16.9.61, put back".into() }),
            "Warning dre/dre: someone removed 172.16.9.61, put back",
        ),
        (resource(R::Cleared), "Info dre/dre: failures cleared by an operator"),
        (Fact::CheckReady { check: CheckId(0) }, "Info ready check tomcat is well"),
        (
            Fact::CheckFailed { check: CheckId(0), reason: "connection refused".into() },
            "Warning ready check tomcat fails: connection refused",
        ),
    ]);
}

#[test]
fn what_happens_to_a_lease_is_told() {
    use Cause as C;
    use Role::{Activating, Active, Deactivating, Standby};
    check_all(&[
        (
            role(Standby, Activating, C::Lease { silence: None }),
            "Info dre: STANDBY -> ACTIVATING (term 7): no node has its lease",
        ),
        (
            role(Standby, Activating, C::Lease { silence: Some(Duration::from_millis(350)) }),
            "Warning dre: STANDBY -> ACTIVATING (term 7): no other node has its lease any more: silent for 350 ms",
        ),
        (
            role(Active, Deactivating, C::LeaseLost),
            "Warning dre: ACTIVE -> DEACTIVATING (term 7): its lease ran out: no majority of the voters has acknowledged it in time",
        ),
        (
            role(Activating, Standby, C::NoMajority),
            "Warning dre: ACTIVATING -> STANDBY (term 7): no majority of the voters gave this node its votes in time",
        ),
    ]);
}

#[test]
fn orders_and_the_daemon_itself_are_told() {
    use SwitchoverStep as S;
    let hold = |hold, on| Fact::Hold { hold, on, by: "root".into() };
    let step = |step| Fact::Switchover { group: DRE, from: ME, to: PEER, step };
    let upgrade = |step| Fact::Upgrade { step };
    let done = |from: &str, to: &str, moved| {
        upgrade(UpgradeStep::Done { from: from.into(), to: to.into(), silence: millis(43), moved })
    };
    let command = |refused| Fact::Command { who: "root".into(), command: "online".into(), refused };
    check_all(&[
        (hold(HoldKind::Offline, true), "Warning offline (by root): this node takes nothing over"),
        (hold(HoldKind::Offline, false), "Info online again (by root): this node may take over"),
        (
            hold(HoldKind::Maintenance, true),
            "Warning maintenance on (by root): nothing is moved, restarted or taken over by itself",
        ),
        (hold(HoldKind::Maintenance, false), "Info maintenance off (by root): automatic actions are on again"),
        (hold(HoldKind::Flap, true), "Alarm held for flapping (by root): this node takes nothing over until `online`"),
        (hold(HoldKind::Flap, false), "Info no longer held for flapping (by root)"),
        (step(S::Begun), "Info dre: switchover from hadev1 to hadev2 has begun"),
        (step(S::Stopping), "Info dre: switchover: hadev1 brings its resources down"),
        (step(S::Released), "Info dre: switchover: hadev1 owns nothing any more, hadev2 may start"),
        (step(S::Done), "Info dre: switchover done: hadev2 is ACTIVE"),
        (
            step(S::RolledBack { reason: why() }),
            "Warning dre: switchover to hadev2 failed, hadev1 takes it back: exit code 3",
        ),
        (
            Fact::Stalled { duration: millis(840) },
            "Warning this daemon did not run for 840 ms: nobody is blamed for the silence of that time",
        ),
        (command(None), "Info root: online"),
        (command(Some("already online".into())), "Warning root: online: refused: already online"),
        (
            Fact::PersistFailed { error: "No space left on device".into() },
            "Alarm terms and holds cannot be written to disk: No space left on device",
        ),
        (Fact::PersistRecovered, "Info terms and holds can be written to disk again"),
        (
            upgrade(UpgradeStep::Announced { binary: Some("/tmp/new".into()), absence: millis(2000) }),
            "Info upgrade to /tmp/new: the others are told that this daemon may be silent for 2 s",
        ),
        (upgrade(UpgradeStep::GivenUp { reason: why() }), "Warning upgrade given up: exit code 3; nothing has changed"),
        (upgrade(UpgradeStep::Begun), "Info upgrade: everybody knows; the program is replaced, everything runs on"),
        (done("0.1.0", "0.2.0", false), "Info upgraded from version 0.1.0 to 0.2.0: silent for 43 ms, nothing moved"),
        (
            done("0.1.0", "0.1.0", true),
            "Warning restarted in place, version 0.1.0: silent for 43 ms, not everything was as it had been left",
        ),
        (Fact::Started { node: ME }, "Info daemon started as hadev1"),
        (Fact::Stopping { reason: "SIGTERM".into() }, "Info daemon is stopping: SIGTERM"),
    ]);
}

#[test]
fn a_group_without_vips_does_not_speak_of_them_and_many_peers_are_not_one() {
    let cause = Cause::PeerSilent { silence: millis(312), asked_all: false };
    let mut config = fixture::pair();
    assert_eq!(
        describe_cause(&cause, MYSQL, &config, ME),
        "hadev2 silent for 312 ms on every path, arbitrator answers"
    );
    config.nodes.push("hadev3".to_owned());
    assert!(describe_cause(&cause, DRE, &config, ME).starts_with("every other node silent for 312 ms"));
}

#[test]
fn a_sentence_fits_a_line_and_survives_the_socket() {
    let event = Event { at: Instant::from_millis(9), fact: role(Role::Fault, Role::Standby, Cause::FaultCleared) };
    let entry = entry(event, "2026-03-01T03:12:45.123Z".to_owned(), &fixture::pair(), ME);
    assert_eq!((entry.node.as_str(), entry.severity), ("hadev1", Severity::Info));
    let reply = crate::control::Reply::Event { entry };
    let line = encode(&reply, MAX_REPLY_BYTES).unwrap();
    assert_eq!(decode::<crate::control::Reply>(&line).unwrap(), reply);
}

#[test]
fn what_belongs_to_a_group_says_so() {
    let groups: BTreeSet<_> = [
        resource(ResourceChange::Started).group(),
        role(Role::Standby, Role::Active, Cause::Start).group(),
        Fact::FlapLimit { group: MYSQL, count: 1 }.group(),
        Fact::Isolated.group(),
    ]
    .into();
    assert_eq!(groups, BTreeSet::from([None, Some(DRE), Some(MYSQL)]));
}

#[test]
fn everything_about_fencing_has_its_sentence() {
    let it = ResourceId { group: DRE, index: 1 };
    let row = |fact: Fencing, expected| (Fact::from(fact), expected);
    check_all(&[
        row(Fencing::Begun { node: PEER }, "Warning hadev2 is being turned off by its fence devices"),
        row(
            Fencing::Fenced { node: PEER, how: why() },
            "Alarm hadev2 is off: exit code 3; it stays out until `avamgr fence clear hadev2`",
        ),
        row(
            Fencing::Failed { node: PEER, reason: why() },
            "Alarm hadev2 could not be turned off, so nothing that it may own is taken over: exit code 3 (when you have seen \
             to it yourself that it is off: `avamgr fence confirm hadev2`)",
        ),
        row(
            Fencing::Lied { node: PEER },
            "Alarm hadev2 is heard although its fence device says that it is off: the device is not believed, check its \
             wiring and its options",
        ),
        row(Fencing::Recovered { node: PEER }, "Info hadev2 can be counted on again to be off or on"),
        row(Fencing::Cleared { node: PEER }, "Info hadev2 may take part again after it was fenced"),
        row(
            Fencing::Outcast { by: PEER },
            "Alarm hadev2 had this node turned off: it takes nothing over until `avamgr fence clear` there",
        ),
        row(Fencing::Readmitted { by: PEER }, "Info hadev2 lets this node take part again"),
        row(
            Fencing::Unfed { resource: it, within: millis(1000) },
            "Alarm dre/dre could not be brought down and others may have it: the watchdog is not fed any more and resets \
             this machine within 1 s",
        ),
        row(Fencing::Fed, "Info everything is down after all: the watchdog is fed again"),
    ]);
}
