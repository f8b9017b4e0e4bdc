//! The order of succession, as each node sees its own place in it.

use avamgr_core::cluster::{GroupId, NodeId};
use avamgr_core::sim::World;

use crate::checked::Checked;
use crate::script::{Told, order, plan};

const DRE: GroupId = GroupId(0);

fn play(world: &mut Checked, orders: &[&str]) {
    for text in orders {
        if let Told::Run(time) | Told::Settle(time) = order(world, text) {
            world.run_for(time).expect("every rule holds");
        }
    }
}

/// The place of each node that runs.
fn positions(world: &World) -> Vec<Option<u8>> {
    let position = |node: NodeId| Some(world.node(node)?.status(world.local(node)).groups[DRE.index()].position);
    world.config().node_ids().map(position).collect()
}

#[test]
fn the_owner_is_first_then_those_who_could_take_over_in_their_order() {
    let mut world = Checked::new(plan("cluster nodes=3 neutral"), None);
    play(&mut world, &["boot all", "settle"]);
    assert_eq!(positions(&world), [Some(1), Some(2), Some(3)]);
    play(&mut world, &["offline n2", "settle"]);
    assert_eq!(positions(&world), [Some(1), Some(0), Some(2)]);
    play(&mut world, &["power-off n1", "settle"]);
    assert_eq!(positions(&world), [None, Some(0), Some(1)]);
    play(&mut world, &["boot n1", "online n2", "settle"]);
    assert_eq!(positions(&world), [Some(2), Some(3), Some(1)]);
}
