//! A pair of nodes with one group, as in the sample config.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::NodeId;
use crate::config::{
    ArbitratorConfig, Authority, Check, Config, DaemonConfig, ExecConfig, Failback, FencingConfig, GroupConfig, IpNet,
    Limits, LinkConfig, LinkKind, MonitorConfig, ReadyConfig, ResourceConfig, ResourceKind, RestartConfig, Timers,
    Transport, UdpConfig, VipConfig,
};

/// hadev1 and hadev2, links `primary` and `secondary`, group `dre` with VIPs and a service, group `mysql` without VIPs.
pub(crate) fn pair() -> Config {
    Config {
        cluster: "hadev".to_owned(),
        nodes: vec!["hadev1".to_owned(), "hadev2".to_owned()],
        standalone: false,
        by_hand: BTreeSet::new(),
        timers: timers(),
        limits: Limits {
            failovers: 3,
            failover_window: Duration::from_secs(600),
            clock_offset: Duration::from_millis(500),
        },
        links: vec![link("primary", "eth3", 11), link("secondary", "eth4", 13)],
        authority: Authority::Ping,
        witness: None,
        fencing: FencingConfig::default(),
        fences: Vec::new(),
        watchdog: None,
        etcd: None,
        rules: None,
        web: None,
        arbitrator: Some(ArbitratorConfig {
            ping: vec![IpAddr::from([172, 16, 6, 250])],
            interfaces: Some(vec!["eth0".to_owned(), "eth0".to_owned()]),
        }),
        groups: vec![
            group("dre", vec![vip("traffic"), exec("dre", "freeDiameterd")]),
            group("mysql", vec![exec("mysql", "mysqld")]),
        ],
        ready: vec![ReadyConfig {
            name: "tomcat".to_owned(),
            monitor: MonitorConfig {
                check: Check::Tcp("127.0.0.1:8080".to_owned()),
                interval: Duration::from_secs(2),
                timeout: Duration::from_secs(1),
                fall: 2,
                rise: 1,
            },
        }],
        daemon: DaemonConfig {
            key_file: PathBuf::from("/etc/avamgr/keys"),
            state_dir: PathBuf::from("/var/lib/avamgr"),
            socket: PathBuf::from("/run/avamgr/avamgr.sock"),
            operators: None,
            realtime: true,
        },
        digest: 0,
    }
}

fn timers() -> Timers {
    let millis = Duration::from_millis;
    Timers {
        failover_budget: millis(1_000),
        heartbeat_interval: millis(100),
        suspect_time: millis(150),
        dead_time: millis(310),
        probe_interval: millis(10),
        link_rise: 3,
        arbitrator_timeout: millis(100),
        arbitrator_pace: millis(20),
        arbitrator_interval: millis(1_000),
        arbitrator_fall: 2,
        arbitrator_rise: 2,
        vip_probe_time: millis(30),
        stop_bound: millis(200),
        hold_time: millis(600),
        lease_time: millis(335),
        guard_margin: millis(17),
        start_grace: millis(1_000),
        guard_lifetime: millis(3_000),
        guard_refresh: millis(1_000),
        announce_delay: millis(1_000),
        announce_refresh: millis(0),
        switchover_timeout: millis(10_000),
        failback_settle: millis(30_000),
        fence_delay: millis(5_000),
        clock_rate_ppm: 1_000,
    }
}

fn link(name: &str, interface: &str, third: u8) -> LinkConfig {
    LinkConfig {
        name: name.to_owned(),
        kind: LinkKind::Dedicated,
        transport: Transport::Udp(UdpConfig {
            interfaces: vec![interface.to_owned(), interface.to_owned()],
            addresses: vec![IpAddr::from([172, 16, third, 54]), IpAddr::from([172, 16, third, 55])],
            port: 7_400,
        }),
    }
}

fn group(name: &str, resources: Vec<ResourceConfig>) -> GroupConfig {
    GroupConfig { name: name.to_owned(), failback: Failback::Manual, preferred: NodeId(0), hook: None, resources }
}

fn vip(name: &str) -> ResourceConfig {
    resource(
        name,
        ResourceKind::Vip(VipConfig {
            interfaces: vec!["eth1".to_owned(), "eth1".to_owned()],
            addresses: vec![IpNet { address: IpAddr::from([172, 16, 9, 61]), prefix: 24 }],
            ranges: Vec::new(),
            label: None,
        }),
    )
}

fn exec(name: &str, program: &str) -> ResourceConfig {
    resource(
        name,
        ResourceKind::Exec(ExecConfig {
            command: vec![program.to_owned()],
            environment: BTreeMap::new(),
            directory: None,
            user: None,
            ready: None,
        }),
    )
}

fn resource(name: &str, kind: ResourceKind) -> ResourceConfig {
    ResourceConfig {
        name: name.to_owned(),
        kind,
        monitors: Vec::new(),
        start_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(5),
        restart: RestartConfig {
            max: 3,
            window: Duration::from_secs(60),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(8),
        },
    }
}
