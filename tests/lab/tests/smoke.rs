//! smoke
use std::time::Duration;
use avamgr_lab::{Lab, Plan, Probe, VIP, mark, story, wait_until};

const CONFIG: &str = r#"
[cluster]
name = "hadev"
nodes = ["hadev1", "hadev2"]
failover_budget = "1s"
[[link]]
name = "primary"
interface = "eth3"
address = { hadev1 = "172.16.11.54", hadev2 = "172.16.11.55" }
[[link]]
name = "secondary"
interface = "eth4"
address = { hadev1 = "172.16.13.54", hadev2 = "172.16.13.55" }
[arbitrator]
ping = ["172.16.6.250"]
interface = "eth0"
address = { hadev1 = "172.16.8.50", hadev2 = "172.16.8.51" }
[[group]]
name = "dre"
[[group.resource]]
name = "traffic"
vip = ["172.16.9.61/24"]
interface = "eth1"
[[group.resource]]
name = "dre"
exec = "sleep 1000"
"#;

#[test]
fn smoke() {
    story(|| {
        let vip: std::net::IpAddr = VIP.parse()?;
        let lab = Lab::start(Plan::pair())?;
        let daemon = std::env::current_exe()?.parent().unwrap().parent().unwrap().join("avamgrd");
        for node in lab.nodes() {
            node.write("/etc/avamgr/avamgr.toml", CONFIG)?;
            node.write("/etc/avamgr/keys", format!("1 {} send\n", "0123456789abcdef".repeat(4)))?;
            node.command("chmod").args(["600", "/etc/avamgr/keys"]).output()?;
            node.command(&daemon).env("AVAMGR_LOG", "debug").spawn()?;
        }
        let probe = Probe::start(&lab.host("client")?, &[vip])?;
        let r = wait_until(Duration::from_secs(8), "the VIP on hadev1", || lab.owners().of(vip) == ["hadev1"]);
        for node in lab.nodes() { println!("{}", node.log("avamgrd")); }
        r?; std::thread::sleep(Duration::from_secs(2));
        let t = mark();
        lab.power_off("hadev1")?;
        std::thread::sleep(Duration::from_secs(4));
        println!("{:?}", probe.outage_since(vip, t));
        println!("{}", lab.host("hadev2")?.log("avamgrd"));
        Ok(())
    });
}
