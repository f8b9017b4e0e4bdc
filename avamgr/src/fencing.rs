//! FENCING: another node is turned off through a device outside of it, so that it surely owns nothing.
//!
//! The decision says when; here it is done, and it is never said to be done on less than a proof. Levels are tried in order
//! until all devices of one have succeeded. One run for each node at a time: whoever asks while it is under way gets
//! its result.

pub mod agent;
mod secrets;
pub mod watchdog;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use avamgr_core::cluster::NodeId;
use avamgr_core::config::{Config, FenceAction};
use avamgr_core::control::words::duration;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use thiserror::Error;

pub use agent::{Agent, AgentError, Power, Proof};
pub use secrets::SecretsError;

use crate::clock;

/// A run whose result any number of tasks may wait for.
type Run = Shared<BoxFuture<'static, Result<String, FenceError>>>;

/// Why a node is not known to be off.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FenceError {
    /// Nothing can turn it off.
    #[error("no [[fence]] device of the config turns {node} off")]
    NoDevice {
        /// The node.
        node: String,
    },
    /// No level succeeded.
    #[error("{}", .levels.join("; "))]
    Failed {
        /// What went wrong in each.
        levels: Vec<String>,
    },
    /// The run was given up: the daemon ends, or it panicked.
    #[error("it was given up before its end")]
    GivenUp,
}

/// The devices of a config.
#[derive(Debug)]
pub struct Fencer {
    names: Vec<String>,
    agents: Vec<Agent>,
    runs: Mutex<BTreeMap<NodeId, Run>>,
}

impl Fencer {
    /// As configured.
    pub fn new(config: &Config) -> Self {
        let agents = config.fences.iter().map(Agent::new).collect();
        Self { names: config.nodes.clone(), agents, runs: Mutex::default() }
    }

    /// All devices, in the order of the config.
    pub fn agents(&self) -> &[Agent] {
        &self.agents
    }

    /// Turns a node off, in a task of its own that goes on when the caller does not wait. Must be called by the thread that
    /// lives as long as the daemon. Answers how it was done.
    ///
    /// # Errors
    /// When the node is not known to be off.
    pub async fn fence(&self, target: NodeId) -> Result<String, FenceError> {
        let run = {
            let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            match runs.get(&target).filter(|run| run.peek().is_none()) {
                Some(under_way) => under_way.clone(),
                None => {
                    let run = self.start(target);
                    runs.insert(target, run.clone());
                    run
                }
            }
        };
        run.await
    }

    fn start(&self, target: NodeId) -> Run {
        let name = self.names.get(target.index()).cloned().unwrap_or_default();
        let mut levels: BTreeMap<u8, Vec<Agent>> = BTreeMap::new();
        for agent in self.agents.iter().filter(|agent| agent.config().node == target) {
            levels.entry(agent.config().level).or_default().push(agent.clone());
        }
        let task = tokio::spawn(turn_off(name, levels));
        async move { task.await.unwrap_or(Err(FenceError::GivenUp)) }.boxed().shared()
    }
}

async fn turn_off(node: String, levels: BTreeMap<u8, Vec<Agent>>) -> Result<String, FenceError> {
    if levels.is_empty() {
        return Err(FenceError::NoDevice { node });
    }
    let mut failures = Vec::new();
    for (level, agents) in levels {
        let begun = clock::now();
        match all_off(&agents).await {
            Ok(proofs) => {
                let took = clock::now().since(begun);
                tokio::spawn(on_again(node, agents.clone()));
                return Ok(success(level, &agents, &proofs, took, &failures));
            }
            Err(error) => {
                tracing::warn!("fencing {node}, level {level}: {error}");
                failures.push(format!("level {level}: {error}"));
            }
        }
    }
    Err(FenceError::Failed { levels: failures })
}

/// All of a level, one after the other. What has been turned off by a level that fails stays off.
async fn all_off(agents: &[Agent]) -> Result<Vec<Proof>, AgentError> {
    let mut proofs = Vec::new();
    for agent in agents {
        proofs.push(agent.off().await?);
    }
    Ok(proofs)
}

/// After the proof, and nobody waits for it: a node that does not come back is somebody's morning, not somebody's night.
async fn on_again(node: String, agents: Vec<Agent>) {
    let rebooting = |agent: &&Agent| match agent.config().action {
        FenceAction::Off => false,
        FenceAction::Reboot => true,
    };
    for agent in agents.iter().filter(rebooting) {
        match agent.on().await {
            Ok(()) => tracing::info!("fencing {node}: {} has turned it on again", agent.name()),
            Err(error) => tracing::warn!("fencing {node}: it stays off: {error}"),
        }
    }
}

fn success(level: u8, agents: &[Agent], proofs: &[Proof], took: Duration, failures: &[String]) -> String {
    let word = |(agent, proof): (&Agent, &Proof)| match proof {
        Proof::Status => format!("{} turned it off, its status confirms it", agent.name()),
        Proof::Word => format!("{} turned it off by its own word, it has no status to confirm it", agent.name()),
    };
    let words: Vec<String> = agents.iter().zip(proofs).map(word).collect();
    let before = failures.iter().map(|failure| format!("; {failure}")).collect::<String>();
    format!("{} (level {level}, {}){before}", words.join("; "), duration(took))
}
