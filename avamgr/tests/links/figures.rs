//! What heartbeats cost. Printed with `--nocapture`; meaningful in an optimised build only, so nothing is asserted but that the
//! work was done.

use std::hint::black_box;
use std::time::Duration;

use avamgr::clock;
use avamgr::links::Links;
use avamgr_core::cluster::{NodeId, Role, Term};
use avamgr_core::node::Input;
use avamgr_core::wire::{GroupState, Heartbeat};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::world::{A, B, FIRST, SECOND, heartbeat, in_namespaces, ring, two_links, usual_pair};

/// A heartbeat of two groups.
fn usual(from: NodeId, to: NodeId) -> Heartbeat {
    let group = GroupState {
        digest: 1,
        role: Role::Active,
        term: Term(7),
        claim: false,
        able: true,
        addresses: true,
        released_to: None,
        handover: None,
        wants_lease: false,
        promise: None,
    };
    Heartbeat { groups: vec![group; 2], ..heartbeat(from, to, FIRST, 1) }
}

#[test]
fn sealing_and_opening() {
    const TIMES: u32 = 20_000;
    let (ring, heartbeat, mut datagram) = (ring("test", 1), usual(A, B), Vec::new());
    let start = processor_time();
    for _ in 0..TIMES {
        ring.seal(black_box(&heartbeat), &mut datagram).unwrap();
    }
    let sealed = processor_time();
    for _ in 0..TIMES {
        assert!(black_box(ring.open(black_box(&datagram))).is_ok());
    }
    let opened = processor_time();
    let each = |time: Duration| time.as_nanos() / u128::from(TIMES);
    let (seal, open) = (each(sealed - start), each(opened - sealed));
    println!("{} bytes: seal {seal} ns, open {open} ns", datagram.len());
}

/// What one node's loop uses when it does nothing but heartbeats.
#[derive(Debug)]
struct Cost {
    received: u64,
    wakes: u64,
    processor: Duration,
}

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).unwrap())
}

/// Two links, a heartbeat on each every `interval`, for `time`.
fn beat(node: NodeId, peer: NodeId, interval: Duration, time: Duration) -> Cost {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut links = Links::open(&two_links(), None, node, &ring("test", 1)).unwrap();
        let mut ticks = tokio::time::interval(interval);
        let mut cost = Cost { received: 0, wakes: 0, processor: Duration::ZERO };
        // The questions of the start are over by then.
        let settled = clock::now() + Duration::from_millis(1_500);
        let mut before = None;
        while clock::now() < settled + time {
            cost.wakes += 1;
            tokio::select! {
                () = links.readable() => {
                    links.receive(&mut |input| cost.received += u64::from(matches!(input, Input::Heartbeat { .. })));
                }
                _ = ticks.tick() => {
                    for link in [FIRST, SECOND] {
                        links.send(link, Heartbeat { link, ..usual(node, peer) });
                    }
                }
            }
            if before.is_none() && clock::now() > settled {
                before = Some(processor_time());
                (cost.received, cost.wakes) = (0, 0);
            }
        }
        cost.processor = processor_time() - before.unwrap();
        cost
    })
}

#[test]
fn heartbeats() {
    in_namespaces("figures::heartbeats", || {
        for interval in [Duration::from_millis(10), Duration::from_millis(100)] {
            let time = Duration::from_secs(3);
            let (a, b) = usual_pair();
            let peer = b.thread(move || beat(B, A, interval, time));
            let cost = a.thread(move || beat(A, B, interval, time)).join().unwrap();
            peer.join().unwrap();
            let expected = 2 * time.as_millis() / interval.as_millis();
            println!(
                "every {interval:?} on two links: {:.3} % of a core, {:.1} us per frame sent and one received, {} received, {} wakes",
                cost.processor.as_secs_f64() / time.as_secs_f64() * 100.0,
                cost.processor.as_secs_f64() * 1e6 / cost.received as f64,
                cost.received,
                cost.wakes
            );
            assert!(u128::from(cost.received) > expected / 2, "{cost:?} of {expected}");
        }
    });
}
