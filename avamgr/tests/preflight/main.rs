//! Each thing `avamgr check` looks at on a host: well, and broken in every way.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

// Where the shared fixture looks for the core's modules.
use avamgr_core::{cluster, config};

#[path = "../../../src/control/sentence/fixture.rs"]
mod fixture;
mod tipc;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use avamgr::guard::Support;
use avamgr::preflight::{
    Directory, Door, Facts, Finding, Interface, KeyFile, Level, Owner, PeerClock, Program, Route, Rules, Web, judge,
};
use avamgr_core::config::{Authority, Config, EtcdConfig, ResourceKind, SystemdConfig, WatchdogConfig, WitnessConfig};

const ME: cluster::NodeId = cluster::NodeId(0);

fn interface(addresses: &[[u8; 4]]) -> Interface {
    Interface {
        up: true,
        running: true,
        addresses: addresses.iter().map(|address| IpAddr::from(*address)).collect(),
        arp_filter: Some(false),
    }
}

/// A host on which nothing is wrong.
fn well() -> Facts {
    Facts {
        witness_key_file: Some(KeyFile::Found { mode: 0o600, uid: 0, is_file: true }),
        witness_route: None,
        fence_secrets: Vec::new(),
        watchdog: None,
        etcd: Vec::new(),
        guard: Ok(Support { egress: true }),
        guard_earliness: Duration::from_millis(17),
        interfaces: BTreeMap::from([
            ("eth0".to_owned(), interface(&[[172, 16, 8, 50]])),
            ("eth1".to_owned(), interface(&[[172, 16, 9, 54]])),
            ("eth3".to_owned(), interface(&[[172, 16, 11, 54]])),
            ("eth4".to_owned(), interface(&[[172, 16, 13, 54]])),
        ]),
        arp_filter_all: Some(true),
        nonlocal_bind: false,
        destroys_connections: Ok(true),
        network_manager: false,
        key_file: Some(KeyFile::Found { mode: 0o600, uid: 0, is_file: true }),
        routes: BTreeMap::from([(arbitrator(), Ok(Route { interface: "eth0".to_owned(), gateway: None }))]),
        programs: vec![Program {
            owner: Owner::Resource("dre/dre".to_owned()),
            path: "freeDiameterd".to_owned(),
            found: Ok(PathBuf::from("/usr/bin/freeDiameterd")),
        }],
        rules: None,
        tipc: None,
        web: None,
        systemd: true,
        operators_group: None,
        clocks: Some(vec![PeerClock { node: "hadev2".to_owned(), offset_millis: Some(-3) }]),
        uid: 0,
    }
}

fn arbitrator() -> IpAddr {
    IpAddr::from([172, 16, 6, 250])
}

/// The one finding that is not ok, as `level subject: text -> hint`.
fn only_fault(config: &Config, facts: &Facts) -> String {
    let findings = judge(config, ME, facts);
    let faults: Vec<&Finding> = findings.iter().filter(|finding| finding.level != Level::Ok).collect();
    let [fault] = faults.as_slice() else { panic!("not one fault: {faults:#?}") };
    format!("{:?} {}: {} -> {}", fault.level, fault.subject, fault.text, fault.hint.as_ref().unwrap())
}

fn fault(change: impl FnOnce(&mut Facts)) -> String {
    let mut facts = well();
    change(&mut facts);
    only_fault(&fixture::pair(), &facts)
}

#[test]
fn a_host_without_faults_is_told_thing_by_thing() {
    let findings = judge(&fixture::pair(), ME, &well());
    assert!(findings.iter().all(|finding| finding.level == Level::Ok && finding.hint.is_none()), "{findings:#?}");
    let told: Vec<String> = findings.iter().map(|finding| format!("{}: {}", finding.subject, finding.text)).collect();
    assert_eq!(
        told,
        [
            "key file /etc/avamgr/keys: mode 0600, owner as it should be",
            "link primary: 172.16.11.54 on eth3, up, with carrier",
            "link secondary: 172.16.13.54 on eth4, up, with carrier",
            "arbitrator 172.16.6.250: through eth0",
            "resource dre/traffic: 1 address for eth1, up, with carrier",
            "resource dre/dre: runs /usr/bin/freeDiameterd",
            "sysctl net.ipv4.conf.all.arp_filter: is 1",
            "connections to VIPs: end with their address",
            "NetworkManager: does not run",
            "wall clock of hadev2: differs by -3 ms (limit 500 ms)",
        ]
    );
}

#[test]
fn the_key_file_is_for_its_owner_only() {
    let file = |file| fault(|facts| facts.key_file = Some(file));
    let found = |mode, uid, is_file| file(KeyFile::Found { mode, uid, is_file });
    assert!(
        file(KeyFile::Missing)
            .starts_with("Error key file /etc/avamgr/keys: is missing -> make it with `avamgr keygen`")
    );
    assert!(found(0o640, 0, true).contains("has mode 0640: others than its owner can use it -> chmod 0600"));
    assert!(found(0o600, 1000, true).contains("belongs to uid 1000 -> chown root"));
    assert!(found(0o600, 0, false).contains("is not a file"));
    assert!(file(KeyFile::Hidden("no".into())).starts_with("Error"));
    let other = fault(|facts| {
        facts.key_file = Some(KeyFile::Hidden("Permission denied".into()));
        facts.uid = 1000;
    });
    assert!(other.starts_with("Warning") && other.ends_with("run the check as root"), "{other}");
}

#[test]
fn links_need_their_interface_their_address_and_a_carrier() {
    let with = |change: fn(&mut Interface)| fault(|facts| change(facts.interfaces.get_mut("eth3").unwrap()));
    let gone = fault(|facts| drop(facts.interfaces.remove("eth3")));
    assert_eq!(gone, "Error link primary: interface eth3 does not exist -> there is: eth0, eth1, eth4");
    let off = with(|eth3| eth3.up = false);
    assert_eq!(off, "Error link primary: interface eth3 is switched off -> ip link set eth3 up, and at every boot");
    let moved = with(|eth3| eth3.addresses = BTreeSet::from([IpAddr::from([10, 0, 0, 1])]));
    assert_eq!(
        moved,
        "Error link primary: interface eth3 does not have the address 172.16.11.54 -> \
         give it this address, or correct link.primary.address; it has: 10.0.0.1"
    );
    let cut = with(|eth3| eth3.running = false);
    assert_eq!(cut, "Warning link primary: interface eth3 has no carrier -> check cable, switch port and peer");
}

#[test]
fn the_arbitrator_is_reached_over_a_neutral_path() {
    let route = |route| fault(|facts| drop(facts.routes.insert(arbitrator(), route)));
    let wrong = route(Ok(Route { interface: "eth3".to_owned(), gateway: None }));
    assert!(wrong.starts_with(
        "Error arbitrator 172.16.6.250: the way to it leaves through eth3, which is heartbeat link primary -> add a route"
    ));
    let none = route(Err("Network is unreachable".to_owned()));
    assert!(none.starts_with("Error arbitrator 172.16.6.250: there is no way to it: Network is unreachable"), "{none}");
}

#[test]
fn resources_can_run_here() {
    let missing = fault(|facts| facts.programs[0].found = Err("not found in /usr/bin".to_owned()));
    assert!(
        missing.starts_with("Error resource dre/dre: freeDiameterd cannot be run: not found in /usr/bin"),
        "{missing}"
    );
    let hook = fault(|facts| {
        let (owner, path) = (Owner::Hook("dre".to_owned()), "/etc/avamgr/hook".to_owned());
        facts.programs.push(Program { owner, path, found: Err("not executable".to_owned()) });
    });
    assert!(hook.starts_with("Warning hook of dre: /etc/avamgr/hook cannot be run: not executable -> "), "{hook}");
    let gone = fault(|facts| drop(facts.interfaces.remove("eth1")));
    assert!(gone.starts_with("Error resource dre/traffic: interface eth1 does not exist"), "{gone}");
    let mut config = fixture::pair();
    config.groups[0].resources[1].kind = ResourceKind::Systemd(SystemdConfig { unit: "dre.service".to_owned() });
    let facts = Facts { systemd: false, ..well() };
    let fault = only_fault(&config, &facts);
    assert!(fault.starts_with("Error resource dre/dre: unit dre.service, but systemd is not the init"), "{fault}");
}

#[test]
fn addresses_left_behind_are_named_only_where_no_daemon_runs() {
    let mut facts = well();
    facts.interfaces.get_mut("eth1").unwrap().addresses.insert(IpAddr::from([172, 16, 9, 61]));
    let findings = judge(&fixture::pair(), ME, &facts);
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    facts.clocks = None;
    let findings = judge(&fixture::pair(), ME, &facts);
    let left = findings.iter().find(|finding| finding.subject == "resource dre/traffic").unwrap();
    assert_eq!(
        (left.level, left.text.as_str()),
        (Level::Warning, "1 of its 1 addresses on eth1 although no daemon runs")
    );
}

#[test]
fn the_system_settings_that_hurt_are_named() {
    let flux = fault(|facts| facts.arp_filter_all = Some(false));
    assert!(flux.starts_with("Warning sysctl net.ipv4.conf.all.arp_filter: is 0, also on eth1:"), "{flux}");
    let mut facts = well();
    facts.arp_filter_all = Some(false);
    facts.interfaces.get_mut("eth1").unwrap().arp_filter = Some(true);
    let findings = judge(&fixture::pair(), ME, &facts);
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    // An interface that is not there yet has no setting of its own either.
    facts.interfaces.remove("eth1");
    let findings = judge(&fixture::pair(), ME, &facts);
    assert!(findings.iter().any(|finding| finding.text.starts_with("is 0, also on eth1")), "{findings:#?}");
    let hang = fault(|facts| facts.destroys_connections = Ok(false));
    assert!(hang.starts_with("Warning connections to VIPs: do not end with their address"), "{hang}");
    assert!(hang.ends_with("use a kernel with CONFIG_INET_DIAG_DESTROY and CONFIG_INET_TCP_DIAG"), "{hang}");
    let unknown = fault(|facts| facts.destroys_connections = Err("Permission denied".to_owned()));
    assert!(unknown.contains("time out: Permission denied -> use a kernel"), "{unknown}");
    let manager = fault(|facts| facts.network_manager = true);
    assert!(manager.starts_with("Warning NetworkManager: runs"), "{manager}");
    let mut config = fixture::pair();
    config.daemon.operators = Some("dreops".to_owned());
    let missing = only_fault(&config, &Facts { operators_group: Some(false), ..well() });
    assert!(missing.contains("only root may steer -> groupadd --system dreops"), "{missing}");
}

#[test]
fn a_service_that_starts_before_its_address_needs_nonlocal_bind() {
    let mut config = fixture::pair();
    config.groups[0].resources.reverse();
    let early = only_fault(&config, &well());
    assert!(early.starts_with(
        "Warning sysctl net.ipv4.ip_nonlocal_bind: is 0, and dre/dre starts before a VIP of its group is there"
    ));
    let facts = Facts { nonlocal_bind: true, ..well() };
    assert!(judge(&config, ME, &facts).iter().all(|finding| finding.level == Level::Ok));
}

#[test]
fn clocks_are_compared_as_far_as_they_are_known() {
    let clock = |offset_millis| {
        fault(|facts| facts.clocks = Some(vec![PeerClock { node: "hadev2".to_owned(), offset_millis }]))
    };
    assert!(
        clock(Some(2_500)).starts_with("Warning wall clock of hadev2: differs by +2500 ms (limit 500 ms) -> check NTP")
    );
    assert!(clock(None).starts_with("Warning wall clock of hadev2: is not known: the peer is not heard"));
    assert!(fault(|facts| facts.clocks = None).starts_with("Warning wall clocks: cannot be compared"));
}

#[test]
fn a_node_alone_needs_no_key() {
    let mut config = fixture::pair();
    config.standalone = true;
    let facts = Facts { key_file: Some(KeyFile::Missing), ..well() };
    assert!(judge(&config, ME, &facts).iter().all(|finding| finding.level == Level::Ok));
}

#[test]
fn what_turning_nodes_off_needs_of_a_host() {
    let program = |found| Program { owner: Owner::Fence("hadev2".to_owned()), path: "/a".to_owned(), found };
    let said = fault(|facts| facts.programs = vec![program(Err("not executable".to_owned()))]);
    assert!(said.starts_with("Error fence device of hadev2: /a cannot be run: not executable"), "{said}");
    let secrets = |found| vec![(PathBuf::from("/s"), found)];
    let said = fault(|facts| facts.fence_secrets = secrets(KeyFile::Found { mode: 0o640, uid: 0, is_file: true }));
    assert!(said.starts_with("Error secrets file /s: has mode 0640: others than its owner can use it"), "{said}");
    assert!(said.ends_with("if somebody may have read it, change the passwords in it"), "{said}");
    let said = fault(|facts| facts.fence_secrets = secrets(KeyFile::Missing));
    assert!(said.starts_with("Error secrets file /s: is missing -> write it, mode 0600"), "{said}");
    let watchdog = WatchdogConfig { device: "/dev/watchdog".into(), timeout: Duration::from_secs(3) };
    let config = Config { watchdog: Some(watchdog), ..fixture::pair() };
    let said = only_fault(&config, &Facts { watchdog: Some(Err("is not a device".to_owned())), ..well() });
    assert!(said.starts_with("Error watchdog /dev/watchdog: is not a device -> load the driver"), "{said}");
    let good = judge(&config, ME, &Facts { watchdog: Some(Ok(())), ..well() });
    assert!(good.iter().all(|finding| finding.level == Level::Ok), "{good:?}");
}

/// The pair under leases, with a witness.
fn leased() -> Config {
    let witness = WitnessConfig {
        address: IpAddr::from([172, 16, 7, 9]),
        port: 6941,
        interfaces: None,
        key_file: PathBuf::from("/etc/avamgr/witness.keys"),
    };
    Config { authority: Authority::Lease, witness: Some(witness), ..fixture::pair() }
}

#[test]
fn what_a_lease_needs_of_a_host() {
    let way = |interface: &str| Some(Ok(Route { interface: interface.to_owned(), gateway: None }));
    let well = || Facts { witness_route: way("eth0"), ..well() };
    let said = judge(&leased(), ME, &well());
    assert!(said.iter().all(|finding| finding.level == Level::Ok), "{said:?}");
    assert!(said.iter().any(|finding| finding.text.contains("closes them when the lease is over")), "{said:?}");
    for (facts, said) in [
        (
            Facts { guard: Err("no nftables".to_owned()), ..well() },
            "Warning guard of the addresses: is only their lifetime",
        ),
        (Facts { guard: Ok(Support { egress: false }), ..well() }, "what comes in only"),
        (Facts { guard_earliness: Duration::from_millis(41), ..well() }, "set timers.guard_margin = \"41ms\""),
        (
            Facts { witness_key_file: Some(KeyFile::Missing), ..well() },
            "Error key file /etc/avamgr/witness.keys: is missing",
        ),
        (
            Facts { witness_route: Some(Err("unreachable".to_owned())), ..well() },
            "Error witness 172.16.7.9: there is no way",
        ),
        (Facts { witness_route: way("eth3"), ..well() }, "which is heartbeat link primary"),
    ] {
        let fault = only_fault(&leased(), &facts);
        assert!(fault.contains(said), "{said}: {fault}");
    }
}

#[test]
fn an_etcd_that_holds_the_leases_is_asked_at_each_endpoint() {
    let etcd = EtcdConfig {
        endpoints: Vec::new(),
        prefix: "avamgr".to_owned(),
        ca_file: None,
        cert_file: None,
        key_file: None,
    };
    let config = Config { authority: Authority::Etcd, etcd: Some(etcd), ..fixture::pair() };
    let good = || ("http://172.16.8.21:2379".to_owned(), Ok("etcd 3.4.23".to_owned()));
    let bad = || ("http://172.16.8.22:2379".to_owned(), Err("cannot connect".to_owned()));
    let asked = |etcd| Facts { etcd, ..well() };
    assert!(judge(&config, ME, &asked(vec![good()])).iter().all(|finding| finding.level == Level::Ok));
    let fault = only_fault(&config, &asked(vec![good(), bad()]));
    assert!(fault.contains("Warning http://172.16.8.22:2379: does not answer: cannot connect"), "{fault}");
    let said = judge(&config, ME, &asked(vec![bad()]));
    let errors: Vec<_> = said.iter().filter(|finding| finding.level == Level::Error).collect();
    assert!(matches!(errors.as_slice(), [one] if one.text == "no endpoint answers"), "{said:?}");
}

/// A host on which rules can be kept the same.
fn ruled() -> Rules {
    Rules {
        rsync: Ok("3.2.7".to_owned()),
        program: Ok(PathBuf::from("/usr/sbin/rules-sync")),
        directories: vec![("re".to_owned(), Directory::There("/etc/re".into()))],
        doors: vec![("172.16.11.54:6942".parse().unwrap(), Door::Ours)],
    }
}

#[test]
fn what_keeping_rules_the_same_needs_of_a_host() {
    let with = |change: fn(&mut Rules)| {
        let mut rules = ruled();
        change(&mut rules);
        Facts { rules: Some(rules), ..well() }
    };
    let good = judge(&fixture::pair(), ME, &with(|_| ()));
    assert!(good.iter().all(|finding| finding.level == Level::Ok), "{good:?}");
    let told: Vec<String> = good.iter().map(|finding| format!("{}: {}", finding.subject, finding.text)).collect();
    for line in [
        "rsync: version 3.2.7",
        "rules-sync: is /usr/sbin/rules-sync",
        "rules directory re: /etc/re is there",
        "rules port 172.16.11.54:6942: is that of rules-sync, which runs",
    ] {
        assert!(told.iter().any(|told| told == line), "{line}: {told:#?}");
    }
    let fault = |change| only_fault(&fixture::pair(), &with(change));
    for (said, words) in [
        (
            fault(|it| it.rsync = Err("not found in /bin".into())),
            "Error rsync: cannot be run: not found in /bin -> inst",
        ),
        (
            fault(|it| it.rsync = Ok("3.1.3".into())),
            "Error rsync: version 3.1.3 is too old, or not known -> install rsync 3.2",
        ),
        (fault(|it| it.rsync = Ok(String::new())), "Error rsync: version  is too old, or not known"),
        (
            fault(|it| it.program = Err("not found in /bin".into())),
            "Error rules-sync: not found in /bin: the rules would",
        ),
        (
            fault(|it| it.directories[0].1 = Directory::Missing("/r".into(), "no".into())),
            "Error rules directory re: /r cannot be used: no -> make it",
        ),
        (
            fault(|it| it.directories[0].1 = Directory::Unset("RULES".into())),
            "Warning rules directory re: the variable RULES is not set here -> set it for the daemon",
        ),
        (
            fault(|it| it.directories[0].1 = Directory::Relative("RULES".into(), "r".into())),
            "Error rules directory re: the variable RULES is r, which is no path from / on",
        ),
        (
            fault(|it| it.doors[0].1 = Door::Taken),
            "Error rules port 172.16.11.54:6942: is used by another program -> stop",
        ),
        (
            fault(|it| it.doors[0].1 = Door::Closed("no".into())),
            "Warning rules port 172.16.11.54:6942: cannot be used: no",
        ),
    ] {
        assert!(said.starts_with(words), "{words}: {said}");
    }
    let free = judge(&fixture::pair(), ME, &with(|it| it.doors[0].1 = Door::Free));
    assert!(free.iter().any(|finding| finding.text == "is free"), "{free:?}");
}

#[test]
fn what_the_page_needs_of_a_host() {
    let with = |change: fn(&mut Web)| {
        let mut web = Web {
            listen: "127.0.0.1:8080".parse().unwrap(),
            door: Some(Door::Free),
            program: Ok(PathBuf::from("/usr/sbin/avamgr-webui")),
            account: Ok("avamgr-web (uid 990, gid 990)".to_owned()),
            users: Some(Ok((3, 1))),
        };
        change(&mut web);
        Facts { web: Some(web), ..well() }
    };
    let good = judge(&fixture::pair(), ME, &with(|_| ()));
    assert!(good.iter().all(|finding| finding.level == Level::Ok), "{good:?}");
    assert!(good.iter().any(|finding| finding.text == "3 may look, 1 of them steer"), "{good:?}");
    let of_a_unit = judge(&fixture::pair(), ME, &with(|it| it.door = None));
    assert!(of_a_unit.iter().any(|finding| finding.text == "is of the unit that starts it"), "{of_a_unit:?}");
    let fault = |change| only_fault(&fixture::pair(), &with(change));
    for (said, words) in [
        (
            fault(|it| it.program = Err("not found".into())),
            "Error avamgr-webui: not found: there would be no page -> inst",
        ),
        (fault(|it| it.account = Err("unknown".into())), "Error account of the page: unknown -> useradd"),
        (fault(|it| it.users = Some(Err("mode 0644".into()))), "Error users of the page: mode 0644 -> avamgr user add"),
        (fault(|it| it.users = Some(Ok((0, 0)))), "Warning users of the page: nobody may look"),
        (
            fault(|it| it.door = Some(Door::Taken)),
            "Error port of the page 127.0.0.1:8080: is used by another program -> stop",
        ),
        (
            fault(|it| it.door = Some(Door::Closed("no".into()))),
            "Error port of the page 127.0.0.1:8080: cannot be had: no",
        ),
    ] {
        assert!(said.starts_with(words), "{said}");
    }
}
