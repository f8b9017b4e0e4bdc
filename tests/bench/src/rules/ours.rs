//! Ours: `rules-sync` on both nodes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use avamgr_lab::Process;

use crate::keys;
use crate::system::{ADDRESSES, INTERFACE, NODES, Site, System, version_of, write_private};

/// What its processes are called, and its program.
const PROGRAM: &str = "rules-sync";

/// A pair of `rules-sync`.
#[derive(Debug)]
pub(crate) struct RulesSync {
    program: PathBuf,
    version: String,
}

impl RulesSync {
    /// The one in this directory.
    pub(crate) fn find(bin_dir: &Path) -> Result<Self> {
        let program = bin_dir.join(PROGRAM);
        ensure!(
            program.is_file(),
            "{} is missing: build it (cargo build --release), say where it is (--bin-dir), or leave it out (--system \
             incron,lsyncd)",
            program.display()
        );
        let version = version_of(&program, "--version")?;
        Ok(Self { program, version })
    }

    fn config(site: &Site, node: usize) -> String {
        let [a, b] = NODES;
        format!(
            r#"[cluster]
name = "bench"
nodes = ["{a}", "{b}"]

[[link]]
name = "primary"
interface = "{INTERFACE}"
address = {{ {a} = "{}", {b} = "{}" }}

[rules]
directories = {{ re = "{}" }}
state_dir = "{}"
socket = "{}"

[daemon]
key_file = "{}"
"#,
            ADDRESSES[0],
            ADDRESSES[1],
            site.rules[node].display(),
            site.private(node, "state").display(),
            site.private(node, "rules.sock").display(),
            site.private(node, "keys").display(),
        )
    }
}

impl System for RulesSync {
    fn name(&self) -> &'static str {
        PROGRAM
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn start(&self, site: &Site) -> Result<[Process; 2]> {
        let keys = keys::fresh()?;
        let start = |node: usize| -> Result<Process> {
            let (config, state) = (site.private(node, "rules-sync.toml"), site.private(node, "state"));
            fs::create_dir_all(&state).with_context(|| format!("make {}", state.display()))?;
            fs::write(&config, Self::config(site, node)).with_context(|| format!("write {}", config.display()))?;
            write_private(&site.private(node, "keys"), &keys)?;
            let mut daemon = site.hosts[node].command(&self.program);
            Ok(daemon.arg("run").arg("--config").arg(&config).args(["--node", NODES[node]]).spawn()?)
        };
        Ok([start(0)?, start(1)?])
    }
}
