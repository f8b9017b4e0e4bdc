//! The language of the stories: one order a line.
//!
//! ```text
//! cluster [nodes=3] [interval=10ms] [neutral] [tipc] [lease] [witness] [etcd] [fenced[=auto]] [switched] [standalone] [ready] [groups=2] [vips=2] [no-service]
//!         [service-first] [failback] [failovers=2]
//! > settle [5s]                      let time pass untold
//! > run 300ms                        let time pass and tell
//! > boot n1|all   power-off n1   kill n1   start n1   stop n1   pause n1 400ms   freeze n1 2s
//! > cut primary [n1->n2]   mend primary [n1->n2]   unplug primary n1   plug primary n1   lossy primary 30
//! > bearer n1->n2 0 up|down          TIPC tells n1 of its first bearer to n2
//! > arbitrator n1|all off|on   lan off|on   lan-plug n1 off|on   isolate n1   heal
//! > witness off|on   way-to-witness n1 off|on|in|out
//! > lose n1 dre-svc   bring-up n1 dre-vip1   start-of n1 dre-svc fails|hangs|well   stop-of ...
//! > unable n1 dre-svc   able n1 dre-svc
//! > ready n1 fails|well   disk n1 full|ok   clock n1 +5000   config n1 other|other-group|other-voters   damaged-term n1 5
//! > upgrade n1 [3s]                  its program is replaced, which takes 20 ms or as long as it says
//! > switchover n1 [to n2] [dry-run]   offline n1 [2s]   online n1   maintenance n1 on|off
//! > fence-device n1 well|fails|hangs|lies   fence n1 now|confirm|clear n2
//! > voters n1 confirm   term n1 reset
//! > resource n1 dre-svc start|stop|restart|clear
//! ```

use std::time::Duration;

use avamgr_core::cluster::{BearerId, CheckId, GroupId, LinkId, NodeId, ResourceId, Term};
use avamgr_core::control::{Command, FenceVerb, ResourceVerb};
use avamgr_core::node::Input;
use avamgr_core::sim::{Behaviour, Cable, Conduct, FenceDevice, Plan, Quality};

use crate::checked::Checked;
use crate::shape::{GroupShape, Shape, all_resources, pairs};

/// What an order means for the telling.
pub(crate) enum Told {
    /// Nothing has happened yet.
    Order,
    /// Time passes and what happens is told.
    Run(Duration),
    /// Time passes and only its end is told.
    Settle(Duration),
}

/// The cluster a story is about, from its `cluster` line.
pub(crate) fn plan(line: &str) -> Plan {
    let mut shape = Shape::default();
    let mut group = GroupShape::default();
    let (mut groups, mut cable) = (1, Cable::Direct);
    for word in line.split_whitespace().skip(1) {
        match word.split_once('=').unwrap_or((word, "")) {
            ("nodes", count) => shape.nodes = number(count),
            ("interval", time) => shape.interval_ms = u64::try_from(duration(time).as_millis()).expect("a short time"),
            ("neutral", _) => shape.neutral = true,
            ("tipc", _) => shape.tipc = true,
            ("lease", _) => shape.lease = true,
            ("etcd", _) => shape.etcd = true,
            ("witness", _) => (shape.lease, shape.witness) = (true, true),
            ("fenced", "") => shape.fenced = true,
            ("fenced", "auto") => (shape.fenced, shape.rejoin) = (true, true),
            ("watchdog", time) => shape.watchdog = Some(duration(time).as_secs()),
            ("switched", _) => cable = Cable::Switched,
            ("standalone", _) => shape.standalone = true,
            ("ready", _) => shape.ready_check = true,
            ("groups", count) => groups = number(count),
            ("vips", count) => group.vips = number(count),
            ("no-service", _) => group.service = false,
            ("service-first", _) => group.service_first = true,
            ("failback", _) => group.failback = true,
            ("failovers", count) => shape.limits = format!("failovers = {count}\nfailover_window = \"1m\""),
            (other, _) => panic!("a cluster has no {other}"),
        }
    }
    shape.groups = vec![group; usize::from(groups)];
    if shape.standalone {
        shape.nodes = 1;
    }
    Plan { cable, ..Plan::new(shape.config()) }
}

/// Carries out one order.
pub(crate) fn order(world: &mut Checked, line: &str) -> Told {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_on = |word: &str| word == "on";
    match words.as_slice() {
        ["settle"] => return Told::Settle(Duration::from_secs(2)),
        ["settle", time] => return Told::Settle(duration(time)),
        ["run", time] => return Told::Run(duration(time)),
        ["heal"] => world.heal_network(),
        ["lan", state] => {
            for (one, other) in pairs(&world.config().clone()).into_iter().filter(|(one, other)| one < other) {
                world.set_lan(one, other, is_on(state));
            }
        }
        ["arbitrator", "all", state] => {
            world.config().clone().node_ids().for_each(|node| world.set_arbitrator(node, is_on(state)));
        }
        ["arbitrator", name, state] => {
            let node = node(world, name);
            world.set_arbitrator(node, is_on(state));
        }
        ["witness", "on"] => world.start_witness(),
        ["witness", "off"] => world.stop_witness(),
        ["way-to-witness", name, state] => {
            let node = node(world, name);
            world.set_way_to_witness(node, ["on", "in"].contains(state), ["on", "out"].contains(state));
        }
        ["isolate", name] => isolate(world, node(world, name)),
        ["boot", "all"] => world.boot_all(),
        [verb @ ("boot" | "power-off" | "kill" | "start" | "stop" | "pause" | "freeze"), name, rest @ ..] => {
            machine(world, verb, node(world, name), rest);
        }
        [verb @ ("cut" | "mend" | "unplug" | "plug" | "lossy"), name, rest @ ..] => {
            wire(world, verb, link(world, name), rest);
        }
        ["bearer", way, number, state] => {
            let (node, peer) =
                way.split_once("->").map(|(one, two)| (node(world, one), node(world, two))).expect("a way");
            let bearer = BearerId(number.parse().expect("a number"));
            world.inject(node, Input::Bearer { link: LinkId(0), peer, bearer, up: *state == "up" });
        }
        ["upgrade", name, rest @ ..] => {
            let node = node(world, name);
            world.set_exec_time(node, rest.first().map_or(Duration::from_millis(20), |time| duration(time)));
            world.command(node, Command::Upgrade { binary: None });
        }
        [
            verb @ ("switchover" | "offline" | "online" | "maintenance" | "resource" | "voters" | "term" | "fence"),
            name,
            rest @ ..,
        ] => {
            let node = node(world, name);
            world.command(node, command(verb, rest));
        }
        [verb, name, rest @ ..] => circumstance(world, verb, node(world, name), rest),
        _ => panic!("what is meant by: {line}"),
    }
    Told::Order
}

fn machine(world: &mut Checked, verb: &str, node: NodeId, rest: &[&str]) {
    match (verb, rest) {
        ("boot", []) => world.boot(node),
        ("power-off", []) => world.power_off(node),
        ("kill", []) => world.kill_daemon(node),
        ("start", []) => world.start_daemon(node),
        ("stop", []) => world.shut_down(node),
        ("pause", [time]) => world.pause(node, duration(time)),
        ("freeze", [time]) => world.freeze(node, duration(time)),
        _ => panic!("what is meant by: {verb} {rest:?}"),
    }
}

fn wire(world: &mut Checked, verb: &str, link: LinkId, rest: &[&str]) {
    let direction = |world: &Checked, word: &str| {
        let (from, to) = word.split_once("->").expect("a direction is n1->n2");
        (node(world, from), node(world, to))
    };
    match (verb, rest) {
        ("cut", []) => world.cut_all(link),
        ("mend", []) => world.mend_all(link),
        ("cut", [word]) => {
            let (from, to) = direction(world, word);
            world.cut(link, from, to);
        }
        ("mend", [word]) => {
            let (from, to) = direction(world, word);
            world.mend(link, from, to);
        }
        ("unplug", [name]) => {
            let node = node(world, name);
            world.unplug(link, node);
        }
        ("plug", [name]) => {
            let node = node(world, name);
            world.plug(link, node);
        }
        ("lossy", [percent]) => {
            let loss_ppm = u32::from(number(percent)) * 10_000;
            for (from, to) in pairs(&world.config().clone()) {
                world.set_quality(link, from, to, Quality { loss_ppm, ..Quality::GOOD });
            }
        }
        _ => panic!("what is meant by: {verb} {rest:?}"),
    }
}

fn isolate(world: &mut Checked, node: NodeId) {
    let config = world.config().clone();
    world.set_arbitrator(node, false);
    world.set_way_to_witness(node, false, false);
    for other in config.node_ids().filter(|other| *other != node) {
        world.set_lan(node, other, false);
        for link in config.link_ids() {
            world.cut(link, node, other);
            world.cut(link, other, node);
        }
    }
}

fn circumstance(world: &mut Checked, verb: &str, node: NodeId, rest: &[&str]) {
    match (verb, rest) {
        ("lan-plug", [state]) => world.set_lan_plug(node, *state == "on"),
        ("lose", [name]) => {
            let resource = resource(world, name);
            world.lose(node, resource);
        }
        ("bring-up", [name]) => {
            let resource = resource(world, name);
            world.bring_up(node, resource);
        }
        ("start-of", [name, how]) => behave(world, node, name, &|it| it.start = conduct(how)),
        ("stop-of", [name, how]) => behave(world, node, name, &|it| it.stop = conduct(how)),
        ("unable", [name]) => behave(world, node, name, &|it| it.unable = Some("it is not installed".to_owned())),
        ("able", [name]) => behave(world, node, name, &|it| it.unable = None),
        ("ready", ["well"]) => world.set_ready(node, CheckId(0), Ok(())),
        ("ready", ["fails"]) => world.set_ready(node, CheckId(0), Err("no process memcached".to_owned())),
        ("disk", [state]) => world.set_disk_full(node, *state == "full"),
        ("clock", [millis]) => world.set_wall_error(node, millis.parse().expect("milliseconds")),
        ("config", ["other-group"]) => {
            let mut other = world.config().clone();
            other.groups[0].resources[0].name.push_str("-renamed");
            other.digest ^= 1;
            world.set_config(node, other);
        }
        ("config", ["other-voters"]) => {
            let mut other = world.config().clone();
            other.digest ^= 1;
            if let Some(witness) = &mut other.witness {
                witness.port += 1;
            }
            world.set_config(node, other);
        }
        ("config", ["same"]) => {
            let same = world.config().clone();
            world.set_config(node, same);
        }
        ("fence-device", ["lies"]) => world.set_fence_device(node, FenceDevice { lies: true, ..FenceDevice::GOOD }),
        ("fence-device", [how]) => {
            world.set_fence_device(node, FenceDevice { conduct: conduct(how), ..FenceDevice::GOOD });
        }
        ("damaged-term", [term]) => world.damage_term(node, GroupId(0), Term(term.parse().expect("a term"))),
        ("config", ["other"]) => {
            let mut other = world.config().clone();
            other.digest ^= 1;
            world.set_config(node, other);
        }
        _ => panic!("what is meant by: {verb} {rest:?}"),
    }
}

fn behave(world: &mut Checked, node: NodeId, name: &str, change: &dyn Fn(&mut Behaviour)) {
    let id = resource(world, name);
    let mut behaviour = world.behaviour(node, id).expect("every host has every resource").clone();
    change(&mut behaviour);
    world.set_behaviour(node, id, behaviour);
}

fn command(verb: &str, rest: &[&str]) -> Command {
    let switchover =
        |to: Option<&str>, dry_run| Command::Switchover { group: None, to: to.map(str::to_owned), dry_run };
    match (verb, rest) {
        ("switchover", []) => switchover(None, false),
        ("switchover", ["dry-run"]) => switchover(None, true),
        ("switchover", ["to", name]) => switchover(Some(name), false),
        ("switchover", ["to", name, "dry-run"]) => switchover(Some(name), true),
        ("offline", []) => Command::Offline { duration: None },
        ("offline", [time]) => Command::Offline { duration: Some(duration(time)) },
        ("online", []) => Command::Online,
        ("maintenance", [state]) => Command::Maintenance { on: *state == "on" },
        ("fence", ["now", name]) => Command::Fence { node: (*name).to_owned(), verb: FenceVerb::Shoot },
        ("fence", ["confirm", name]) => Command::Fence { node: (*name).to_owned(), verb: FenceVerb::Confirm },
        ("fence", ["clear", name]) => Command::Fence { node: (*name).to_owned(), verb: FenceVerb::Clear },
        ("voters", ["confirm"]) => Command::ConfirmVoters,
        ("term", ["reset"]) => Command::ResetTerm { group: None },
        ("resource", [name, verb]) => Command::Resource {
            resource: (*name).to_owned(),
            verb: match *verb {
                "start" => ResourceVerb::Start,
                "stop" => ResourceVerb::Stop,
                "restart" => ResourceVerb::Restart,
                "clear" => ResourceVerb::Clear,
                other => panic!("no resource can be told to {other}"),
            },
        },
        _ => panic!("what is meant by: {verb} {rest:?}"),
    }
}

fn conduct(word: &str) -> Conduct {
    match word {
        "well" => Conduct::Well,
        "fails" => Conduct::Fails,
        "hangs" => Conduct::Hangs,
        other => panic!("nothing starts or stops {other}"),
    }
}

fn node(world: &Checked, name: &str) -> NodeId {
    world.config().node(name).unwrap_or_else(|| panic!("there is no node {name}"))
}

fn link(world: &Checked, name: &str) -> LinkId {
    let config = world.config();
    config.link_ids().find(|id| config.link_name(*id) == name).unwrap_or_else(|| panic!("there is no link {name}"))
}

fn resource(world: &Checked, name: &str) -> ResourceId {
    let config = world.config();
    let mut all = all_resources(config).into_iter();
    all.find(|id| config.resource_name(*id) == name).unwrap_or_else(|| panic!("there is no resource {name}"))
}

fn number(word: &str) -> u8 {
    word.parse().unwrap_or_else(|_| panic!("{word} is not a small number"))
}

fn duration(word: &str) -> Duration {
    let (count, unit) = word.split_at(word.find(|it: char| !it.is_ascii_digit()).expect("a duration has a unit"));
    let count: u64 = count.parse().expect("a duration begins with a number");
    match unit {
        "ms" => Duration::from_millis(count),
        "s" => Duration::from_secs(count),
        "m" => Duration::from_secs(60 * count),
        other => panic!("there is no unit {other}"),
    }
}
