//! The ping arbitrator: right verdicts, and never late.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use avamgr::arbitrators::ping::Pinger;
use avamgr::clock;
use avamgr::links::{Interface, Links};
use avamgr_core::config::ArbitratorConfig;
use avamgr_core::node::Input;
use avamgr_core::node::action::AskId;

use crate::world::{A, Node, Seen, in_namespaces, number, pair, ring, switch};

const TIMEOUT: Duration = Duration::from_millis(400);
/// Far below the timeout: it was not waited for.
const AT_ONCE: Duration = Duration::from_millis(100);

/// An arbitrator's answer.
struct Verdict {
    seen: Seen,
    answers: Vec<Option<Duration>>,
    after: Duration,
}

/// A node with a pinger for these addresses over `eth0`, and the neutral network's other end.
fn start(addresses: &[&str]) -> (Node, Node, Pinger) {
    let (a, b) = pair(&["eth0"]);
    number(&a, &b, "eth0", 6);
    let pinger = pinger(&a, addresses);
    (a, b, pinger)
}

fn pinger(a: &Node, addresses: &[&str]) -> Pinger {
    let config = ArbitratorConfig {
        ping: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        interfaces: Some(vec!["eth0".to_owned(); 2]),
    };
    a.run(move |side| {
        let links = Links::open(&[], Some(&config), A, &ring("test", 1)).unwrap();
        let interface = links.interface("eth0").unwrap();
        side.links = Some(links);
        Pinger::new(&config, Some(interface), side.inputs.clone())
    })
}

fn ask(a: &Node, pinger: &Pinger, number: u64) -> Verdict {
    let pinger = pinger.clone();
    let before = clock::now();
    a.run(move |_| pinger.ask(AskId(number), TIMEOUT));
    let verdict = verdict(a, number);
    assert!(verdict.after <= verdict.seen.at.since(before), "asked before it was asked");
    verdict
}

/// Asks until the address at this place answers: the kernel may take some seconds to find it.
fn ask_until_answered(a: &Node, pinger: &Pinger, place: usize) {
    for number in 1_000..1_020 {
        if ask(a, pinger, number).answers[place].is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("address {place} never answers: {:?}", pinger.trouble());
}

fn verdict(a: &Node, number: u64) -> Verdict {
    a.expect(&format!("verdict {number}"), |seen| match &seen.input {
        Input::Verdict { ask, asked, answers } if *ask == AskId(number) => {
            Some(Verdict { seen: seen.clone(), answers: answers.clone(), after: seen.at.since(*asked) })
        }
        _ => None,
    })
}

#[test]
fn who_answers_is_reachable() {
    in_namespaces("arbitrator::who_answers_is_reachable", || {
        let (a, b, pinger) = start(&["10.0.6.2", "fd00:6::2"]);
        b.shell("ip addr add fe80::2/64 dev eth0 nodad");
        ask_until_answered(&a, &pinger, 1);
        let verdict = ask(&a, &pinger, 1);
        assert!(verdict.answers.iter().all(Option::is_some), "{:?}", verdict.answers);
        assert!(verdict.after < AT_ONCE && verdict.answers[0].unwrap() < AT_ONCE, "{:?}", verdict.after);
        let link_local = self::pinger(&a, &["fe80::2"]);
        a.shell("ip addr add fe80::1/64 dev eth0 nodad");
        ask_until_answered(&a, &link_local, 0);
    });
}

#[test]
fn one_answer_is_enough_and_does_not_wait_for_the_others() {
    in_namespaces("arbitrator::one_answer_is_enough_and_does_not_wait_for_the_others", || {
        let (a, _b, pinger) = start(&["10.0.6.77", "10.0.6.2"]);
        let verdict = ask(&a, &pinger, 1);
        assert!(verdict.answers[0].is_none() && verdict.answers[1].is_some(), "{:?}", verdict.answers);
        assert!(verdict.after < AT_ONCE, "waited {:?}", verdict.after);
    });
}

#[test]
fn a_slower_answer_stands_in_the_next_verdict() {
    in_namespaces("arbitrator::a_slower_answer_stands_in_the_next_verdict", || {
        let (a, b, pinger) = start(&["10.0.6.2", "10.0.6.3"]);
        ask_until_answered(&a, &pinger, 0);
        std::thread::sleep(TIMEOUT);
        // The second address is added while the question is under way; until then the kernel asks for its owner.
        let first = ask(&a, &pinger, 1);
        assert!(first.answers[0].is_some() && first.answers[1].is_none());
        b.shell("ip addr add 10.0.6.3/24 dev eth0");
        // It asks for our MAC address and so tells its own.
        b.shell("ip neigh flush dev eth0");
        b.run(|_| UdpSocket::bind("10.0.6.3:0").unwrap().send_to(b"here I am", "10.0.6.1:9").unwrap());
        std::thread::sleep(TIMEOUT);
        b.shell("ip addr del 10.0.6.3/24 dev eth0");
        let second = ask(&a, &pinger, 2);
        assert!(second.answers[1].is_some(), "the late answer is lost");
        assert!(second.answers[1] > second.answers[0]);
        assert!(ask(&a, &pinger, 3).answers[1].is_none(), "it stands only once");
    });
}

#[test]
fn who_does_not_answer_is_unreachable_at_the_timeout() {
    in_namespaces("arbitrator::who_does_not_answer_is_unreachable_at_the_timeout", || {
        let (a, b, pinger) = start(&["10.0.6.77", "fd00:6::77"]);
        let verdict = ask(&a, &pinger, 1);
        assert_eq!(verdict.answers, [None, None]);
        assert!(verdict.after >= TIMEOUT && verdict.after < TIMEOUT + AT_ONCE, "{:?}", verdict.after);
        // It is seen again by the next question.
        b.shell("ip addr add 10.0.6.77/24 dev eth0");
        ask_until_answered(&a, &pinger, 0);
    });
}

#[test]
fn an_icmp_error_is_no_answer_and_ends_the_question() {
    in_namespaces("arbitrator::an_icmp_error_is_no_answer_and_ends_the_question", || {
        let (a, b, pinger) = start(&["10.9.9.9", "fd00:9::9"]);
        a.shell("ip route add 10.9.9.0/24 via 10.0.6.2");
        a.shell("ip route add fd00:9::/64 via fd00:6::2");
        b.shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        b.shell("ip route add unreachable 10.9.9.0/24");
        b.shell("ip route add unreachable fd00:9::/64");
        let verdict = ask(&a, &pinger, 1);
        assert_eq!(verdict.answers, [None, None]);
        assert!(verdict.after < AT_ONCE, "waited {:?}", verdict.after);
    });
}

#[test]
fn an_interface_that_cannot_pass_frames_gives_the_verdict_at_once() {
    in_namespaces("arbitrator::an_interface_that_cannot_pass_frames_gives_the_verdict_at_once", || {
        let (a, b, pinger) = start(&["10.0.6.2", "fd00:6::2"]);
        ask_until_answered(&a, &pinger, 0);
        let mut number = 1;
        let mut expect = |reachable: bool, why: &str| {
            std::thread::sleep(Duration::from_millis(50));
            if reachable {
                ask_until_answered(&a, &pinger, 0);
                assert!(pinger.trouble().is_none(), "{why}");
                return;
            }
            number += 1;
            let verdict = ask(&a, &pinger, number);
            assert_eq!(verdict.answers, [None, None], "{why}");
            assert!(verdict.after < AT_ONCE, "{why}: waited {:?}", verdict.after);
            assert!(pinger.trouble().is_some(), "{why}");
        };
        b.run(|_| switch("eth0", false));
        expect(false, "no carrier");
        b.run(|_| switch("eth0", true));
        expect(true, "carrier again");
        a.run(|_| switch("eth0", false));
        expect(false, "switched off");
        a.run(|_| switch("eth0", true));
        // The kernel takes IPv6 addresses away with the link.
        a.shell("ip addr add fd00:6::1/64 dev eth0 nodad");
        expect(true, "switched on again");
        a.shell("ip link del eth0");
        expect(false, "deleted");
        crate::world::cable(&a, &b, "eth0");
        crate::world::number(&a, &b, "eth0", 6);
        expect(true, "made again");
    });
}

#[test]
fn an_interface_made_again_between_two_questions_costs_no_verdict() {
    in_namespaces("arbitrator::an_interface_made_again_between_two_questions_costs_no_verdict", || {
        let (a, b, pinger) = start(&["10.0.6.2"]);
        ask_until_answered(&a, &pinger, 0);
        a.shell("ip link del eth0");
        crate::world::cable(&a, &b, "eth0");
        number(&a, &b, "eth0", 6);
        std::thread::sleep(Duration::from_millis(50));
        assert!(ask(&a, &pinger, 1).answers[0].is_some(), "{:?}", pinger.trouble());
    });
}

#[test]
fn many_questions_may_be_under_way() {
    in_namespaces("arbitrator::many_questions_may_be_under_way", || {
        let (a, _b, pinger) = start(&["10.0.6.2", "fd00:6::2", "10.0.6.77"]);
        ask_until_answered(&a, &pinger, 0);
        let asker = pinger.clone();
        a.run(move |_| (1..=100).for_each(|number| asker.ask(AskId(number), TIMEOUT)));
        let mut answered = BTreeSet::new();
        a.expect("a hundred verdicts", |seen| {
            if let Input::Verdict { ask, answers, .. } = &seen.input {
                assert!(answers[0].is_some(), "{ask:?}: {answers:?}");
                assert!(answered.insert(*ask), "{ask:?} was answered twice");
            }
            (answered.len() == 100).then_some(())
        });
    });
}

#[test]
fn a_loop_that_is_late_makes_no_answer_late() {
    in_namespaces("arbitrator::a_loop_that_is_late_makes_no_answer_late", || {
        let (a, _b, pinger) = start(&["10.0.6.2"]);
        ask_until_answered(&a, &pinger, 0);
        for number in 1..=10 {
            let asker = pinger.clone();
            a.run(move |_| asker.ask(AskId(number), Duration::from_millis(20)));
            // Time to send; the answer comes while the loop stands still, and the timeout passes.
            a.run(|_| std::thread::sleep(Duration::from_millis(60)));
            assert!(verdict(&a, number).answers[0].is_some(), "the answer was there in time");
        }
    });
}

#[test]
fn without_an_interface_the_routing_table_decides() {
    in_namespaces("arbitrator::without_an_interface_the_routing_table_decides", || {
        let (a, b) = pair(&["eth0"]);
        number(&a, &b, "eth0", 6);
        let config = ArbitratorConfig { ping: vec!["10.0.6.2".parse().unwrap()], interfaces: None };
        let pinger = a.run(move |side| Pinger::new(&config, None, side.inputs.clone()));
        assert!(ask(&a, &pinger, 1).answers[0].is_some());
        a.run(|_| switch("eth0", false));
        let verdict = ask(&a, &pinger, 2);
        assert!(verdict.answers[0].is_none() && verdict.after < AT_ONCE, "no route, no wait: {:?}", verdict.after);
    });
}

#[test]
fn sockets_that_got_no_answer_are_not_used_again() {
    in_namespaces("arbitrator::sockets_that_got_no_answer_are_not_used_again", || {
        let (a, b) = pair(&["eth0"]);
        number(&a, &b, "eth0", 6);
        // Nobody watches this interface, so nobody tells that it is another one after a while.
        let config = ArbitratorConfig { ping: vec!["10.0.6.2".parse().unwrap()], interfaces: None };
        let unwatched = Arc::new(Interface::new("eth0"));
        let pinger = a.run(move |side| Pinger::new(&config, Some(unwatched), side.inputs.clone()));
        ask_until_answered(&a, &pinger, 0);
        a.shell("ip link del eth0");
        crate::world::cable(&a, &b, "eth0");
        number(&a, &b, "eth0", 6);
        assert!(ask(&a, &pinger, 1).answers[0].is_none(), "the old socket is bound to the old interface");
        ask_until_answered(&a, &pinger, 0);
    });
}
