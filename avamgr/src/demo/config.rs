//! The config of the demo's cluster: the installation of the lab's plan, as an operator would write it.

use std::path::Path;

use super::program::SERVICE_PORT;

/// The nodes, in the order of their rank.
pub(super) const NODES: [&str; 2] = ["hadev1", "hadev2"];
/// The one group.
pub(super) const GROUP: &str = "dre";
/// The dedicated links: name in the config, and the lab's network of their cable.
pub(super) const LINKS: [(&str, &str); 2] = [("primary", "hb1"), ("secondary", "hb2")];
/// What the config promises for a failover, in its own words.
pub(super) const BUDGET: &str = "1s";

/// The other node of the pair.
pub(super) fn other(name: &str) -> &'static str {
    let [first, second] = NODES;
    if name == first { second } else { first }
}

/// The file, the same on both nodes.
pub(super) fn text(vip: &str, vip6: &str, arbitrator: &str, service: &Path) -> String {
    let [first, second] = NODES;
    let [(primary, _), (secondary, _)] = LINKS;
    // What JSON escapes in a string, TOML reads back.
    let service = serde_json::Value::from(service.to_string_lossy());
    format!(
        r#"# The config of `avamgr demo`. docs/config.md explains every key.

[cluster]
name = "demo"
nodes = ["{first}", "{second}"]
failover_budget = "{BUDGET}"

[[link]]
name = "{primary}"
interface = "eth3"
address = {{ {first} = "172.16.11.54", {second} = "172.16.11.55" }}

[[link]]
name = "{secondary}"
interface = "eth4"
address = {{ {first} = "172.16.13.54", {second} = "172.16.13.55" }}

[arbitrator]
ping = ["{arbitrator}"]
interface = "eth0"
address = {{ {first} = "172.16.8.50", {second} = "172.16.8.51" }}

[[group]]
name = "{GROUP}"

[[group.resource]]
name = "traffic"
vip = ["{vip}/24", "{vip6}/64"]
interface = "eth1"

[[group.resource]]
name = "dre"
exec = [{service}]
ready = {{ tcp = "127.0.0.1:{SERVICE_PORT}" }}
stop_timeout = "2s"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_of_the_demo_is_valid() {
        let service = Path::new("/tmp/it's a \"test\" \\/demo-dre");
        let config = avamgr_core::config::parse(&text("172.16.9.61", "2001:db8:9::61", "172.16.6.250", service), "demo");
        let config = config.unwrap();
        assert_eq!(config.nodes, NODES);
    }
}
