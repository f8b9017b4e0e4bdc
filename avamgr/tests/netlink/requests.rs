//! Requests and events without a resource around them.

use std::time::Duration;

use avamgr::netlink::{Assign, Change, Netlink, Scope, Watcher};
use avamgr_core::config::IpNet;

use crate::in_namespaces;
use crate::space::pair;
use crate::vip::net;

fn assign(net: IpNet) -> Assign {
    Assign { net, label: None, lifetime: Duration::from_secs(60) }
}

in_namespaces! {
    fn each_address_of_a_batch_has_its_own_outcome() {
        let (node, _peer) = pair();
        let errors = node.block_on(async {
            let mut netlink = Netlink::open().unwrap();
            let index = netlink.interface("eth1").await.unwrap().unwrap().index;
            let texts = ["10.0.0.1/24", "10.0.0.2/33", "2001:db8::1/64", "2001:db8::2/129", "10.0.0.3/24"];
            let batch: Vec<_> = texts.into_iter().map(net).map(assign).collect();
            let outcomes = netlink.put(index, &batch).await.unwrap();
            let refused: Vec<_> = outcomes.iter().map(Result::is_err).collect();
            assert_eq!(refused, [false, true, false, true, false]);
            let present = netlink.addresses(index).await.unwrap();
            let ours: Vec<_> = present.into_iter().filter(avamgr::netlink::Present::is_ours).collect();
            assert_eq!(ours.len(), 3);
            for _ in 0..2 {
                let outcomes = netlink.remove(&ours).await.unwrap();
                assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            }
            let gone = netlink.addresses(index).await.unwrap();
            assert!(!gone.iter().any(avamgr::netlink::Present::is_ours));
            outcomes.into_iter().filter_map(Result::err).map(|refusal| refusal.to_string()).collect::<Vec<_>>()
        });
        assert!(errors.iter().all(|error| error.starts_with("Invalid argument")), "{errors:?}");
    }

    fn an_interface_is_known_by_name() {
        let (node, _peer) = pair();
        let mac = node.mac("eth1");
        node.block_on(async {
            let mut netlink = Netlink::open().unwrap();
            let link = netlink.interface("eth1").await.unwrap().unwrap();
            assert!(link.is_ready());
            assert_eq!(link.mac.unwrap().to_string(), mac);
            assert_eq!(netlink.interface("nothing").await.unwrap(), None);
            assert_eq!(netlink.interface("a name that is far too long for one").await.unwrap(), None);
            let lo = netlink.interface("lo").await.unwrap().unwrap();
            assert_eq!((lo.is_ready(), lo.mac), (true, None));
            assert_eq!(netlink.interfaces().await.unwrap().len(), 2);
            assert_eq!(netlink.addresses(4711).await.unwrap(), []);
        });
    }

    fn a_request_that_was_given_up_does_not_spoil_the_next() {
        let (node, _peer) = pair();
        node.block_on(async {
            let mut netlink = Netlink::open().unwrap();
            let index = netlink.interface("eth1").await.unwrap().unwrap().index;
            let net = |host: u8, net: u8| IpNet { address: [10, 1, net, host].into(), prefix: 32 };
            let all: Vec<_> = (0..10).flat_map(|n| (1..=200).map(move |host| net(host, n))).map(assign).collect();
            netlink.put(index, &all).await.unwrap();
            for polls in 1..12 {
                give_up_after(polls, netlink.addresses(index)).await;
                give_up_after(polls, netlink.put(index, &all)).await;
                let present = netlink.addresses(index).await.unwrap();
                assert_eq!(present.iter().filter(|present| present.is_ours()).count(), 2_000, "after {polls} polls");
            }
        });
    }

    fn a_watcher_that_was_not_listened_to_knows_that_it_missed_something() {
        let (node, _peer) = pair();
        node.block_on(async {
            let mut netlink = Netlink::open().unwrap();
            let mut watcher = Watcher::open("eth1", Scope::Everything).await.unwrap();
            let index = watcher.link().unwrap().index;
            let net = |place: u32| IpNet { address: std::net::Ipv4Addr::from_bits(0x0a01_0001 + place).into(), prefix: 32 };
            let all: Vec<_> = (0..2_000).map(net).map(assign).collect();
            for _ in 0..10 {
                netlink.put(index, &all).await.unwrap();
                let present = netlink.addresses(index).await.unwrap();
                let ours: Vec<_> = present.into_iter().filter(avamgr::netlink::Present::is_ours).collect();
                netlink.remove(&ours).await.unwrap();
            }
            let mut events = 0;
            let missed = async {
                while watcher.next().await.unwrap() != Change::Missed {
                    events += 1;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), missed).await.expect("it says so");
            println!("{events} events of 20000, then it knew");
        });
    }

    fn a_watcher_hears_nothing_of_what_is_put_on_or_of_other_interfaces() {
        let (node, peer) = pair();
        node.cable("eth2", &peer, "eth2");
        // Let the news about eth2 come first.
        std::thread::sleep(Duration::from_millis(100));
        let mut changes = node.block_on(async {
            let mut netlink = Netlink::open().unwrap();
            let mut watcher = Watcher::open("eth1", Scope::Everything).await.unwrap();
            let eth1 = watcher.link().unwrap().index;
            let eth2 = netlink.interface("eth2").await.unwrap().unwrap().index;
            for (index, text) in [(eth1, "10.0.0.1/24"), (eth2, "10.0.0.2/24")] {
                netlink.put(index, &[assign(net(text))]).await.unwrap();
                let present = netlink.addresses(index).await.unwrap();
                let ours: Vec<_> = present.into_iter().filter(avamgr::netlink::Present::is_ours).collect();
                netlink.remove(&ours).await.unwrap();
            }
            let mut changes = Vec::new();
            while let Ok(change) = tokio::time::timeout(Duration::from_millis(100), watcher.next()).await {
                changes.push(change.unwrap());
            }
            changes
        });
        assert_eq!(changes.pop(), Some(Change::AddressRemoved(net("10.0.0.1/24").address)));
        assert_eq!(changes, []);
    }
}

/// Polls a future a few times, at most, and drops it.
async fn give_up_after<T>(polls: usize, future: impl Future<Output = T>) {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        let done =
            std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if done {
            return;
        }
        tokio::task::yield_now().await;
    }
}
