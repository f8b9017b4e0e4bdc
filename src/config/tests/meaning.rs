//! What a good file means: the checked config, its digest, and what is the same for two nodes.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::{PAIR, SAMPLE, changed, good};
use crate::cluster::{NodeId, SafetyClass};
use crate::config::{
    Check, Config, Failback, FenceAction, HookStyle, IpNet, LinkKind, Rejoin, ResourceKind, WatchdogConfig,
    describe_timers, parse_with_warnings,
};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|()| panic!("{text}"))
}

#[test]
fn the_sample_is_the_pair_of_the_requirements() {
    let config = good(SAMPLE);
    assert_eq!(config.cluster, "hadev");
    assert_eq!(config.nodes, ["hadev1", "hadev2"]);
    assert!(!config.standalone);
    let links: Vec<(&str, LinkKind, u16)> =
        config.links.iter().map(|link| (link.name.as_str(), link.kind, link.udp().unwrap().port)).collect();
    let expected = [
        ("primary", LinkKind::Dedicated, 6940),
        ("secondary", LinkKind::Dedicated, 6940),
        ("neutral", LinkKind::Neutral, 6940),
    ];
    assert_eq!(links, expected);
    assert_eq!(config.links[0].udp().unwrap().interfaces, ["eth3", "eth3"]);
    assert_eq!(config.links[0].udp().unwrap().addresses, [address("172.16.11.54"), address("172.16.11.55")]);
    assert_eq!(config.links[2].udp().unwrap().interfaces, ["eth0", "eth0"]);
    assert_eq!(config.links[2].udp().unwrap().addresses, [address("172.16.8.50"), address("172.16.8.51")]);
    let arbitrator = config.arbitrator.as_ref();
    assert_eq!(arbitrator.map(|found| found.ping.clone()), Some(vec![address("172.16.6.250")]));
    assert_eq!(arbitrator.and_then(|found| found.interfaces.clone()), Some(vec!["eth0".to_owned(); 2]));
    assert_eq!(config.ready.len(), 2);
    assert_eq!(config.ready[1].monitor.check, Check::Process("memcached".to_owned()));
}

#[test]
fn the_resources_of_the_sample_are_what_is_written() {
    let config = good(SAMPLE);
    let group = &config.groups[0];
    assert_eq!((group.name.as_str(), group.failback, group.preferred), ("dre", Failback::Manual, NodeId(0)));
    let ResourceKind::Vip(vip) = &group.resources[0].kind else { panic!("{:?}", group.resources[0]) };
    assert_eq!(vip.addresses, [net("172.16.9.61/24"), net("2001:db8:9::61/64")]);
    assert_eq!(
        (vip.interfaces.as_slice(), vip.label.as_ref()),
        (["eth1".to_owned(), "eth1".to_owned()].as_slice(), None)
    );
    let dre = &group.resources[2];
    let ResourceKind::Exec(exec) = &dre.kind else { panic!("{dre:?}") };
    assert_eq!(exec.command, ["freeDiameterd", "-c", "/etc/freeDiameter/dre.conf"]);
    assert_eq!(exec.ready, Some(Check::Tcp("127.0.0.1:3868".to_owned())));
    assert_eq!((dre.start_timeout, dre.stop_timeout), (Duration::from_secs(30), Duration::from_secs(5)));
    assert_eq!((dre.restart.max, dre.restart.backoff_max), (3, Duration::from_secs(5)));
    let monitor = &dre.monitors[0];
    assert_eq!((monitor.interval, monitor.timeout), (Duration::from_secs(2), Duration::from_secs(1)));
    assert_eq!((monitor.fall, monitor.rise), (3, 1));
}

#[test]
fn every_kind_and_every_key_arrives() {
    let more = r#"
        [limits]
        failovers = 7
        failover_window = "1h"
        clock_offset = "3s"
        [daemon]
        key_file = "/k"
        state_dir = "/s"
        socket = "/c"
        operators = "ops"
        realtime = false
        [[group]]
        name = "two"
        preferred = "b2"
        failback = "auto"
        [[group.resource]]
        name = "ip"
        range = "10.20.0.0/24"
        vip = "10.21.0.1/24"
        interface = { b2 = "ens2", a1 = "ens1" }
        [[group.resource]]
        name = "exec"
        exec = ["prog", "a b"]
        directory = "/d"
        user = "u"
        environment = { B = "2", A = "1" }
        ready = { script = "test -e 'x y'" }
        restart = { max = 0, window = "2m", backoff = "1s", backoff_max = "2s" }
        [[group.resource.monitor]]
        http = "http://127.0.0.1/"
        interval = "5s"
        timeout = "4s"
        fall = 2
        rise = 9
        [[group.resource]]
        name = "lsb"
        lsb = "/etc/init.d/x"
        [[group.resource]]
        name = "unit"
        systemd = "x.service"
    "#;
    let config = good(&changed("", more));
    let facts = serde_json::to_string_pretty(&(&config.limits, &config.daemon, &config.groups[1])).unwrap_or_default();
    let expected = include_str!("every_kind.json").trim_end();
    assert_eq!(facts, expected);
}

#[test]
fn defaults_are_those_of_the_manual() {
    let config = good(PAIR);
    assert_eq!(config.daemon.key_file.to_str(), Some("/etc/avamgr/keys"));
    assert_eq!(config.daemon.state_dir.to_str(), Some("/var/lib/avamgr"));
    assert_eq!(config.daemon.socket.to_str(), Some("/run/avamgr/avamgr.sock"));
    assert_eq!((config.daemon.operators.as_ref(), config.daemon.realtime), (None, true));
    assert_eq!((config.limits.failovers, config.limits.failover_window.as_secs()), (5, 600));
    assert_eq!(config.limits.clock_offset.as_secs(), 1);
}

#[test]
fn a_node_alone_has_neither_links_nor_arbitrator() {
    let text = PAIR.replace("name = \"pair\"", "name = \"pair\"\nstandalone = true");
    let config = good(&text);
    assert!(config.standalone && config.links.is_empty() && config.arbitrator.is_none());
    let one = "[cluster]\nname = \"one\"\nnodes = \"n1\"\nstandalone = true\n[[group]]\nname = \"g\"\n[[group.resource]]\n\
               name = \"r\"\nexec = \"x\"\n";
    assert_eq!(good(one).nodes, ["n1"]);
}

#[test]
fn the_settings_of_the_service_can_make_a_node_of_a_pair_alone() {
    let (pair, alone) = (good(PAIR), good(PAIR).alone());
    assert!(alone.standalone && alone.links.is_empty() && alone.arbitrator.is_none());
    assert_eq!(alone.nodes, pair.nodes);
    assert_ne!(alone.digest, pair.digest);
    assert_eq!(alone.digest, good(&PAIR.replace("name = \"pair\"", "name = \"pair\"\nstandalone = true")).digest);
}

#[test]
fn the_digest_is_that_of_the_meaning() {
    let digest = good(PAIR).digest;
    let same = [
        PAIR.replace('\n', "\r\n"),
        PAIR.replace(" = ", "=   "),
        format!("# a comment\n{PAIR}\n\n# another\n"),
        changed("interface = \"eth3\"", "interface = { b2 = \"eth3\", a1 = 'eth3' } # the same"),
        changed("vip = [\"10.9.0.61/24\"]", "vip = \"10.9.0.61/24\""),
        changed("exec = \"dred -f\"", "exec = [\"dred\", \"-f\"]\nstart_timeout = \"0.5m\""),
        changed("", "[timers]\ndead_time = \"300ms\""),
        changed("name = \"pair\"", "name = \"pair\"\nfailover_budget = \"1000ms\""),
        changed("", "[daemon]\nrealtime = true\n[limits]\n"),
    ];
    for text in same {
        assert_eq!(good(&text).digest, digest, "{text}");
    }
    let other = [
        changed("name = \"pair\"", "name = \"pear\""),
        changed("nodes = [\"a1\", \"b2\"]", "nodes = [\"b2\", \"a1\"]"),
        changed("exec = \"dred -f\"", "exec = \"dred -g\""),
        changed("", "[timers]\ndead_time = \"301ms\""),
        changed("", "[daemon]\nrealtime = false"),
        changed("interface = \"eth1\"", "interface = { a1 = \"eth1\", b2 = \"eth2\" }"),
    ];
    for text in other {
        assert_ne!(good(&text).digest, digest, "{text}");
    }
}

#[test]
fn a_hook_has_its_defaults_and_is_no_part_of_what_the_group_is() {
    assert_eq!(good(PAIR).groups[0].hook, None);
    let with = |more: &str| good(&changed("name = \"dre\"", &format!("name = \"dre\"\n{more}")));
    let config = with("on_role_change = \"/usr/local/bin/told 'by avamgr'\"");
    let Some(hook) = &config.groups[0].hook else { panic!("{:?}", config.groups[0]) };
    assert_eq!(hook.command, ["/usr/local/bin/told", "by avamgr"]);
    assert_eq!((hook.timeout, hook.style), (Duration::from_secs(10), HookStyle::Environment));
    let other = with("on_role_change = [\"told\", \"a b\"]\nhook_timeout = \"1s\"\nhook_style = \"keepalived\"");
    let Some(hook) = &other.groups[0].hook else { panic!("{:?}", other.groups[0]) };
    assert_eq!(hook.command, ["told", "a b"]);
    assert_eq!((hook.timeout, hook.style), (Duration::from_secs(1), HookStyle::Keepalived));
    assert_eq!(other.groups[0].digest(), good(PAIR).groups[0].digest());
    assert_ne!(other.digest, config.digest);
}

/// Two devices for the second node, one for the first.
const FENCES: &str = r#"
    [[fence]]
    node = "b2"
    level = 2
    agent = "/usr/sbin/fence_apc"
    action = "reboot"
    options = { plug = "7", ip = "10.0.0.3" }
    timeout = "90s"
    [[fence]]
    node = "b2"
    agent = "/usr/sbin/fence_ipmilan"
    secrets = "/etc/avamgr/fence-b2"
    [[fence]]
    node = "a1"
    agent = "/usr/sbin/fence_ipmilan"
"#;

#[test]
fn devices_arrive_in_the_order_of_the_file() {
    let config = good(&changed("", FENCES));
    let [apc, ipmi, other] = config.fences.as_slice() else { panic!("{:?}", config.fences) };
    assert_eq!((apc.node, apc.level, apc.action, apc.timeout.as_secs()), (NodeId(1), 2, FenceAction::Reboot, 90));
    let options: Vec<String> = apc.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(options, ["ip=10.0.0.3", "plug=7"]);
    assert_eq!((ipmi.node, ipmi.level, ipmi.action, ipmi.timeout.as_secs()), (NodeId(1), 1, FenceAction::Off, 60));
    assert_eq!(ipmi.secrets.as_deref(), Some(Path::new("/etc/avamgr/fence-b2")));
    assert_eq!((other.node, other.secrets.as_ref()), (NodeId(0), None));
    assert_eq!(config.fencing.rejoin, Rejoin::Clear);
    let auto = good(&changed("", &format!("{FENCES}\n[fencing]\nrejoin = \"auto\"")));
    assert_eq!(auto.fencing.rejoin, Rejoin::Auto);
}

#[test]
fn with_devices_the_class_says_so_and_a_node_alone_has_none() {
    assert_eq!(good(PAIR).safety_class(), SafetyClass::Ping);
    let config = good(&changed("", FENCES));
    assert!(config.fences(NodeId(0)) && config.fences(NodeId(1)) && !good(PAIR).fences(NodeId(0)));
    assert_eq!(config.safety_class().to_string(), "ping+fencing");
    assert_eq!(config.timers.fence_delay, Duration::from_secs(5));
    let leased = good(&changed("", &format!("{FENCES}\n[witness]\naddress = \"192.0.2.9\"")));
    assert_eq!(leased.safety_class(), SafetyClass::LeaseFencing);
    assert_eq!(leased.timers.fence_delay, Duration::ZERO);
    let json = serde_json::to_string(&leased.safety_class()).unwrap_or_default();
    assert_eq!(json, "\"lease+fencing\"");
    let alone = config.alone();
    assert!(alone.fences.is_empty() && alone.safety_class() == SafetyClass::Standalone);
}

#[test]
fn nodes_agree_on_devices_too() {
    let digest = |more: &str| good(&changed("", more)).digest;
    let with = digest(FENCES);
    assert_ne!(with, digest(""));
    assert_ne!(with, digest(&FENCES.replace("\"7\"", "\"8\"")));
    assert_ne!(with, digest(&format!("{FENCES}\n[fencing]\nrejoin = \"auto\"")));
    assert_eq!(with, digest(&FENCES.replace("plug = \"7\", ip = \"10.0.0.3\"", "ip = \"10.0.0.3\", plug = \"7\"")));
}

#[test]
fn a_watchdog_goes_with_timers_of_seconds() {
    let slow = "[timers]\nheartbeat_interval = \"1s\"\n[watchdog]\ntimeout = \"3s\"";
    let watchdog = good(&changed("", slow)).watchdog;
    let expected = WatchdogConfig { device: "/dev/watchdog".into(), timeout: Duration::from_secs(3) };
    assert_eq!(watchdog, Some(expected));
    assert_eq!(good(PAIR).watchdog, None);
}

/// Two versions of the program must agree on it, so a change is a decision.
#[test]
fn the_digest_of_the_pair_is_this() {
    assert_eq!(format!("{:016x}", good(PAIR).digest), "a9c9acaf60eb22bf");
}

#[test]
fn timers_tell_where_they_come_from() {
    let config = good(&changed("", "[timers]\ndead_time = \"300ms\"\nlink_rise = 4"));
    let lines = describe_timers(&config);
    let origin = |name: &str| lines.iter().find(|line| line.name == name).map(|line| line.origin()).unwrap_or_default();
    assert_eq!(lines.len(), 25);
    assert_eq!(origin("dead_time"), "set");
    assert_eq!(origin("link_rise"), "set");
    assert_eq!(origin("arbitrator_rise"), "default");
    assert_eq!(origin("suspect_time"), "derived: 1.5 x heartbeat_interval");
    let json = serde_json::to_value(&lines).unwrap_or_default();
    let expected = r#"{"by_hand":true,"formula":"3 x heartbeat_interval","name":"dead_time","value":"300ms"}"#;
    assert_eq!(json.get(3).map(ToString::to_string).as_deref(), Some(expected));
}

#[test]
fn a_config_survives_the_control_socket() {
    let config = good(SAMPLE);
    let text = serde_json::to_string(&config).unwrap_or_default();
    let back: Result<Config, String> = serde_json::from_str(&text).map_err(|error| error.to_string());
    assert_eq!(back, Ok(config));
}

#[test]
fn a_good_file_comes_with_its_warnings_and_a_bad_one_without() {
    let range = "range = [\"10.20.0.0/20\"]";
    let text = changed("vip = [\"10.9.0.61/24\"]", range);
    let (_, warnings) = parse_with_warnings(&text, "x").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(warnings.findings.len(), 1);
    let bad = text.replace("name = \"pair\"", "name = 7");
    let errors = parse_with_warnings(&bad, "x").map(|_| ()).unwrap_err();
    assert_eq!(errors.findings.len(), 1);
    assert_eq!(errors.findings[0].key, "cluster.name");
}
