//! An agent of the package fence-agents: the interface as others understand it.

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr::fencing::{Agent, Power};
use avamgr_core::config::{FenceAction, FenceConfig};

use crate::site::{Site, TARGET};

/// In the package fence-agents, which tests/run installs.
const DUMMY: &str = "/usr/sbin/fence_dummy";

fn dummy(site: &Site, more: &[(&str, &str)]) -> Agent {
    let mut options = BTreeMap::from([("status_file".to_owned(), site.path("power").display().to_string())]);
    options.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Agent::new(&FenceConfig {
        node: TARGET,
        level: 1,
        agent: DUMMY.into(),
        action: FenceAction::Off,
        options,
        secrets: None,
        timeout: Duration::from_secs(20),
    })
}

#[tokio::test]
async fn debians_agent_turns_its_device_on_and_off_and_tells() {
    let site = Site::new();
    let agent = dummy(&site, &[("type", "file")]);
    agent.on().await.unwrap();
    assert_eq!(site.read("power"), "on");
    assert_eq!(agent.status().await.unwrap(), Power::On);
    agent.monitor().await.unwrap();
    assert!(!agent.lacks_status().await, "it lists its status");
    let options = format!("options = {{ status_file = \"{}\" }}", site.path("power").display());
    let said = site.fence_with(&[format!("agent = \"{DUMMY}\"\ntimeout = \"20s\"\n{options}")]).await.unwrap();
    assert!(said.starts_with("fence_dummy turned it off, its status confirms it (level 1, "), "{said}");
    assert_eq!(site.read("power"), "off");
    assert_eq!(agent.status().await.unwrap(), Power::Off);
}

#[tokio::test]
async fn debians_agent_that_fails_is_no_proof() {
    let site = Site::new();
    let failing = dummy(&site, &[("type", "fail"), ("plug", "hadev2"), ("power_timeout", "1"), ("power_wait", "0")]);
    let said = failing.off().await.unwrap_err().to_string();
    assert!(said.contains("fence_dummy plug=hadev2 off exited with status 1"), "{said}");
    assert!(said.contains("Unable to obtain correct plug status") || said.contains("Timed out"), "{said}");
}
