//! What stands in the way of a node is an alarm there as long as it does, or a reason that `why` shows.

use avamgr_core::cluster::{GroupId, NodeId};
use avamgr_core::sim::World;

use crate::checked::Checked;
use crate::script::{Told, order, plan};

pub(crate) const DRE: GroupId = GroupId(0);
pub(crate) const N1: NodeId = NodeId(0);
pub(crate) const N2: NodeId = NodeId(1);

/// A pair after these orders.
fn pair(orders: &[&str]) -> Checked {
    let mut world = Checked::new(plan("cluster"), None);
    play(&mut world, &["boot all", "settle"]);
    play(&mut world, orders);
    world
}

/// Carries out the orders of a story.
pub(crate) fn play(world: &mut Checked, orders: &[&str]) {
    for text in orders {
        if let Told::Run(time) | Told::Settle(time) = order(world, text) {
            world.run_for(time).expect("every rule holds");
        }
    }
}

/// The alarms that stand on a node.
pub(crate) fn alarms(world: &World, node: NodeId) -> Vec<String> {
    let status = world.node(node).expect("it runs").status(world.local(node));
    status.alarms.into_iter().map(|alarm| alarm.text).collect()
}

/// What stands between a node and being ACTIVE.
pub(crate) fn obstacles(world: &World, node: NodeId) -> Vec<String> {
    let status = world.node(node).expect("it runs").status(world.local(node));
    status.groups[DRE.index()].obstacles.clone()
}

#[test]
fn what_fails_in_maintenance_is_an_alarm_until_it_is_mended() {
    let mut world = pair(&["maintenance n1 on", "settle 10ms", "lose n1 dre-svc", "settle 100ms"]);
    assert_eq!(alarms(&world, N1), ["dre/dre-svc: failed: exited with 139"]);
    play(&mut world, &["maintenance n1 off", "settle 1s"]);
    assert_eq!(alarms(&world, N1), [""; 0]);
}

#[test]
fn an_owner_whose_address_is_elsewhere_says_where() {
    let orders = ["maintenance n2 on", "settle 10ms", "bring-up n2 dre-vip1", "settle 3s"];
    let mut world = pair(&orders);
    assert_eq!(alarms(&world, N2), ["dre/dre-vip1: is here although it should not be: put there by somebody else"]);
    assert_eq!(obstacles(&world, N1), [""; 0]);
    play(&mut world, &["resource n1 dre-vip1 restart", "settle 100ms"]);
    let reason = "addresses of the group are on n2 (avamgr status there tells why)";
    assert_eq!(obstacles(&world, N1), [reason]);
    assert_eq!(alarms(&world, N1), [format!("dre/dre-vip1: could not be started here: {reason}")]);
    play(&mut world, &["maintenance n2 off", "settle 1s"]);
    assert_eq!((obstacles(&world, N1), alarms(&world, N1), alarms(&world, N2)), (vec![], vec![], vec![]));
}

#[test]
fn a_node_that_cannot_stop_something_is_not_able() {
    let world = pair(&["stop-of n2 dre-vip1 fails", "bring-up n2 dre-vip1", "settle 4s"]);
    assert!(obstacles(&world, N2).contains(&"dre-vip1 cannot be stopped: survived every signal".to_owned()));
    let status = world.node(N1).expect("it runs").status(world.local(N1));
    assert!(!status.peers[0].groups[DRE.index()].able);
}

#[test]
fn a_daemon_ends_beside_what_somebody_put_there_but_not_in_the_middle_of_a_stop() {
    let put = ["maintenance n2 on", "settle 10ms", "bring-up n2 dre-vip1", "settle 3s"];
    let mut world = pair(&put);
    play(&mut world, &["stop n2", "settle 1s"]);
    assert!(!world.is_running(N2), "it waits for nobody's hand");
    let mut world = pair(&put);
    // The stop takes its half second.
    play(&mut world, &["stop-of n2 dre-vip1 hangs", "maintenance n2 off", "settle 10ms", "stop n2", "settle 200ms"]);
    assert!(world.is_running(N2) && world.owns(N2, pair_vip(&world)), "a stop is under way");
    play(&mut world, &["settle 1s"]);
    assert!(!world.is_running(N2) && !world.owns(N2, pair_vip(&world)));
}

fn pair_vip(world: &World) -> avamgr_core::cluster::ResourceId {
    let config = world.config();
    config.resource_ids(DRE).find(|id| config.resource_name(*id) == "dre-vip1").expect("it has one")
}
