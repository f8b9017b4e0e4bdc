//! The pair with a real Diameter router: freeDiameterd as the DRE, and a second one as the client that peers with the VIP.

use std::time::Duration;

use avamgr_lab::{Host, Plan, Process, mark, story, wait_until};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::pair::{Outcome, Pair, SOON, config, vip};

/// The DRE as in the sample config: it listens on the VIP, so it starts behind it.
const DRE: &str = r#"
[[group.resource]]
name = "dre"
exec = "freeDiameterd -c /etc/freeDiameter/dre.conf"
ready = { tcp = "172.16.9.61:3868" }
start_timeout = "20s"
stop_timeout = "3s"
restart = { max = 1, window = "1m", backoff = "100ms" }
[[group.resource.monitor]]
tcp = "172.16.9.61:3868"
interval = "1s"
"#;

/// A certificate that freeDiameter insists on, and its config.
fn install(host: &Host, identity: &str, listen: &str, rest: &str) -> Outcome {
    let key = format!("/etc/freeDiameter/{identity}.key");
    let certificate = format!("/etc/freeDiameter/{identity}.pem");
    host.write("/etc/freeDiameter/acl.conf", "ALLOW_IPSEC *.lab\n")?;
    let subject = format!("/CN={identity}");
    let output = host
        .command("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", &subject])
        .args(["-keyout", &key, "-out", &certificate])
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = format!(
        "Identity = \"{identity}\";\nRealm = \"lab\";\nPort = 3868;\nSecPort = 0;\nNo_SCTP;\nListenOn = \"{listen}\";\n\
         TLS_Cred = \"{certificate}\", \"{key}\";\nTLS_CA = \"{certificate}\";\nAppServThreads = 1;\n{rest}"
    );
    let name = identity.split('.').next().unwrap_or(identity);
    host.write(&format!("/etc/freeDiameter/{name}.conf"), text)?;
    Ok(())
}

/// Installs the router on both nodes; starts the client.
fn diameter(pair: &Pair) -> Result<Process, Box<dyn std::error::Error>> {
    let client = pair.node("client")?;
    let peer = "TwTimer = 6;\nTcTimer = 1;\n\
                ConnectPeer = \"dre.lab\" { ConnectTo = \"172.16.9.61\"; Port = 3868; No_TLS; };\n";
    install(&client, "client.lab", "172.16.9.1", peer)?;
    Ok(client.command("freeDiameterd").args(["-c", "/etc/freeDiameter/client.conf"]).spawn()?)
}

fn start() -> Result<(Pair, Process), Box<dyn std::error::Error>> {
    let pair = Pair::start_with(Plan::pair(), &config("", DRE), |pair, name| {
        install(
            &pair.node(name)?,
            "dre.lab",
            "172.16.9.61",
            "LoadExtension = \"acl_wl.fdx\" : \"/etc/freeDiameter/acl.conf\";\n",
        )
    })?;
    let client = diameter(&pair)?;
    wait_until(SOON, "the client to peer with the DRE", || opened(&pair) == 1)?;
    Ok((pair, client))
}

/// How often the client's peer has reached the state OPEN.
fn opened(pair: &Pair) -> usize {
    pair.node("client").map_or(0, |client| client.log("freeDiameterd").matches("-> 'STATE_OPEN'").count())
}

#[test]
fn a_diameter_client_follows_the_vip_over_switchover_and_power_off() {
    story(|| {
        let (pair, _client) = start()?;
        let begin = mark();
        let output = pair.avamgr("hadev2", &["switchover", "dre"])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        pair.wait_role("hadev2", "active")?;
        wait_until(Duration::from_secs(30), "the client to peer again after the switchover", || opened(&pair) == 2)?;
        println!("peered again {:?} after the switchover", begin.elapsed());
        let begin = mark();
        pair.lab.power_off("hadev2")?;
        pair.wait_role("hadev1", "active")?;
        wait_until(Duration::from_secs(60), "the client to peer again after the power-off", || opened(&pair) == 3)?;
        println!("peered again {:?} after the power-off", begin.elapsed());
        pair.never_two_owners()
    });
}

#[test]
fn a_router_that_dies_is_restarted_and_one_that_keeps_dying_moves() {
    story(|| {
        let (pair, _client) = start()?;
        kill_router(&pair, "hadev1")?;
        pair.wait_event("hadev1", "dre/dre: will be restarted")?;
        wait_until(SOON, "the router to be up again", || resource(&pair, "hadev1") == "started")?;
        assert_eq!(pair.role("hadev2"), "standby", "one death is no reason to move");
        kill_router(&pair, "hadev1")?;
        pair.wait_role("hadev2", "active")?;
        pair.wait_role("hadev1", "fault")?;
        assert!(pair.probe.wait_for_answer(vip(), "hadev2", SOON).is_ok());
        let output = pair.avamgr("hadev1", &["resource", "clear", "dre/dre"])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        pair.wait_role("hadev1", "standby")?;
        pair.never_two_owners()
    });
}

fn resource(pair: &Pair, name: &str) -> String {
    pair.status(name)
        .map_or_else(|_| String::new(), |status| crate::pair::text(&status["groups"][0]["resources"][1]["state"]))
}

/// Kills the router of a node from outside, as the kernel would for want of memory.
fn kill_router(pair: &Pair, name: &str) -> Outcome {
    let is_router = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "freeDiameterd")
    };
    let pid = pair.node(name)?.pids()?.into_iter().find(is_router).ok_or("there is no router to kill")?;
    Ok(kill(Pid::from_raw(pid), Signal::SIGKILL)?)
}
