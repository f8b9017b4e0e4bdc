//! The link over TIPC.

use avamgr::netlink::tipc::{Bearer, Tipc as Kernel};
use avamgr::preflight::{Facts, Finding, Interface, Level, Tipc, judge, tipc_setup};
use avamgr_core::config::{Config, TipcConfig, Transport};

use crate::{ME, fixture, only_fault, well};

fn config() -> Config {
    let mut config = fixture::pair();
    config.links.truncate(1);
    config.links[0].transport = Transport::Tipc(TipcConfig {
        network_id: 1983,
        node_addresses: ["1.1.23", "1.1.29"].map(|text| text.parse().unwrap()).to_vec(),
        bearers: vec!["eth3".to_owned(), "eth4".to_owned()],
    });
    config
}

fn bearer(interface: &str) -> Bearer {
    Bearer { interface: interface.to_owned(), priority: 10, tolerance_millis: 1_500 }
}

fn kernel() -> Kernel {
    Kernel { network_id: Some(1983), bearers: vec![bearer("eth3"), bearer("eth4")], links: Vec::new() }
}

/// A host on which TIPC is as it should be, but for a change.
fn facts(change: impl FnOnce(&mut Kernel)) -> Facts {
    let mut kernel = kernel();
    change(&mut kernel);
    Facts { tipc: Some(Tipc { kernel: Ok(kernel), address: "1.1.23".parse().ok() }), ..well() }
}

fn fault(facts: &Facts) -> String {
    only_fault(&config(), facts)
}

#[test]
fn a_host_that_is_set_up_is_told_bearer_by_bearer() {
    let facts = facts(|_| {});
    let findings = judge(&config(), ME, &facts);
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    let link = |finding: &&Finding| finding.subject == "link primary";
    let told: Vec<&str> = findings.iter().filter(link).map(|finding| finding.text.as_str()).collect();
    let bearers = ["eth3", "eth4"].map(|name| format!("bearer {name}, up, with carrier, tolerance 1.500 s"));
    assert_eq!(told, ["TIPC address 1.1.23", &bearers[0], &bearers[1]]);
    assert_eq!(tipc_setup(&config(), ME, &facts), [""; 0]);
}

#[test]
fn a_kernel_without_tipc_is_one_error() {
    let facts = Facts { tipc: Some(Tipc { kernel: Err("no such family".to_owned()), address: None }), ..well() };
    assert_eq!(
        fault(&facts),
        "Error link primary: this kernel has no TIPC: no such family -> modprobe tipc, and at every boot \
         (/etc/modules-load.d); some kernels come without it"
    );
}

#[test]
fn each_thing_that_is_missing_comes_with_its_command() {
    assert_eq!(
        fault(&facts(|kernel| kernel.bearers.truncate(1))),
        "Error link primary: eth4 is no bearer of TIPC -> tipc bearer enable media eth device eth4"
    );
    let mut bare = facts(|kernel| *kernel = Kernel { network_id: Some(4711), ..Kernel::default() });
    bare.tipc.as_mut().unwrap().address = None;
    bare.interfaces.insert("eth4".to_owned(), Interface::default());
    let commands = [
        "tipc node set netid 1983",
        "tipc node set address 1.1.23",
        "tipc bearer enable media eth device eth3",
        "ip link set eth4 up",
        "tipc bearer enable media eth device eth4",
    ];
    assert_eq!(tipc_setup(&config(), ME, &bare), commands);
    let findings = judge(&config(), ME, &bare);
    let hints: Vec<&str> = findings.iter().filter_map(|finding| finding.hint.as_deref()).collect();
    assert_eq!(hints[..3], commands[..3]);
    bare.tipc.as_mut().unwrap().kernel = Err("no such family".to_owned());
    assert_eq!(tipc_setup(&config(), ME, &bare)[..2], ["modprobe tipc", "tipc node set netid 1983"]);
}

#[test]
fn what_is_there_and_wrong_is_said_and_left_alone() {
    let elsewhere = facts(|kernel| kernel.network_id = Some(4711));
    assert_eq!(
        fault(&elsewhere),
        "Error link primary: TIPC's network is 4711, not 1983: nodes of another network are not heard -> it can be set only \
         before the address: stop avamgrd, switch the bearers off, rmmod tipc (or reboot), set it first"
    );
    let mut other = facts(|_| {});
    other.tipc.as_mut().unwrap().address = "1.1.24".parse().ok();
    assert_eq!(
        fault(&other),
        "Error link primary: this node's TIPC address is 1.1.24, not 1.1.23 -> correct `node_address`; or stop avamgrd, \
         rmmod tipc (or reboot) and set the right one"
    );
    assert_eq!([tipc_setup(&config(), ME, &elsewhere), tipc_setup(&config(), ME, &other)], [[""; 0], [""; 0]]);
}

#[test]
fn bearers_that_do_not_share_the_frames_are_a_warning() {
    assert_eq!(
        fault(&facts(|kernel| kernel.bearers[1].priority = 9)),
        "Warning link primary: eth3 has priority 10 and eth4 has 9: frames go over one of them, and when it is cut they are \
         lost for up to its tolerance of 1500 ms (dead time 310 ms) -> tipc bearer set priority 10 media eth device eth4"
    );
}

#[test]
fn a_third_bearer_is_a_spare() {
    let mut config = config();
    let Transport::Tipc(tipc) = &mut config.links[0].transport else { panic!("over TIPC") };
    tipc.bearers.push("eth1".to_owned());
    let third = Bearer { priority: 9, ..bearer("eth1") };
    let findings = judge(&config, ME, &facts(|kernel| kernel.bearers.push(third)));
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
}

#[test]
fn a_bearer_nobody_named_is_a_warning() {
    assert_eq!(
        fault(&facts(|kernel| kernel.bearers.push(bearer("eth0")))),
        "Warning link primary: TIPC has the bearer eth0 besides: frames may travel over it, and nobody tells of its loss -> \
         name it in `bearers`, or: tipc bearer disable media eth device eth0"
    );
}

#[test]
fn an_interface_without_carrier_is_a_warning() {
    let mut facts = facts(|_| {});
    facts.interfaces.get_mut("eth4").unwrap().running = false;
    assert_eq!(fault(&facts), "Warning link primary: bearer eth4 has no carrier -> check cable, switch port and peer");
}
