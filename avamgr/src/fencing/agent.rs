//! One fence agent: a program that reads `name=value` lines, one of them `action=off`, and speaks to one device.
//!
//! What an agent says is not believed alone: after `off` the device is asked for its `status`, and only "off" is a proof. An
//! agent that hangs is killed with everything it has started, and has failed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use avamgr_core::config::FenceConfig;
use avamgr_core::control::words::duration;
use thiserror::Error;
use tokio::time::{sleep, timeout};

use super::secrets::{Secrets, SecretsError};
use crate::process::aside::Aside;
use crate::process::{Ended, Exit, Line, Outcome, Program, ProgramError, Sink, nowhere, quoted, run_reading};

/// Reading a small file takes microseconds; a network file system that is away hangs.
const SECRETS_TIME: Duration = Duration::from_secs(2);

/// How often a device that has taken the order is asked whether it is done, and the pause before it is asked again: some
/// boards answer the order first and act a moment later.
const CONFIRM_TRIES: u32 = 5;
const CONFIRM_PAUSE: Duration = Duration::from_secs(1);

/// Kept of what an agent says of itself; the longest of them says 40 KiB.
const METADATA_BYTES_MAX: usize = 256 * 1024;

/// Options that tell devices apart, by their present and former names.
const DEVICE_OPTIONS: [&str; 4] = ["ip", "ipaddr", "plug", "port"];

/// What an agent is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Off,
    On,
    Status,
    Monitor,
    Metadata,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Status => "status",
            Self::Monitor => "monitor",
            Self::Metadata => "metadata",
        }
    }
}

/// Whether the node has power, as the device sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It has.
    On,
    /// It has not.
    Off,
}

/// Why a node is believed to be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The device was asked afterwards.
    Status,
    /// Only the agent's word for it: it has no `status`.
    Word,
}

/// What went wrong with an agent.
#[derive(Debug, Error)]
pub enum AgentError {
    /// It cannot be run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It cannot be told what it needs to know.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// It says no, or died.
    #[error("{agent} {verb} {exit}{output}")]
    Refused {
        /// The agent.
        agent: String,
        /// What it was asked.
        verb: &'static str,
        /// Its answer.
        exit: Exit,
        /// What it said last.
        output: String,
    },
    /// It does not end.
    #[error("{agent} {verb} did not end within {} and was killed{output}", duration(*.time))]
    Hangs {
        /// The agent.
        agent: String,
        /// What it was asked.
        verb: &'static str,
        /// How long it had.
        time: Duration,
        /// What it said last.
        output: String,
    },
    /// The device contradicts it.
    #[error("{agent} off succeeded, but its status says that the node is on")]
    StillOn {
        /// The agent.
        agent: String,
    },
}

/// A device, through its agent.
#[derive(Clone, Debug)]
pub struct Agent {
    config: FenceConfig,
    /// Where its program and its secrets are looked for.
    lookups: Aside,
}

impl Agent {
    /// As configured.
    pub fn new(config: &FenceConfig) -> Self {
        Self { config: config.clone(), lookups: Aside::default() }
    }

    /// Its settings.
    pub fn config(&self) -> &FenceConfig {
        &self.config
    }

    /// What it is called: its program, and which device that speaks to, where the options tell.
    pub fn name(&self) -> String {
        let path = &self.config.agent;
        let mut name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        for option in DEVICE_OPTIONS {
            if let Some(value) = self.config.options.get(option) {
                name.push_str(&format!(" {option}={value}"));
            }
        }
        name
    }

    /// Turns the node off, and makes sure of it.
    ///
    /// # Errors
    /// When it is not known to be off.
    pub async fn off(&self) -> Result<Proof, AgentError> {
        self.succeeds(Verb::Off, nowhere()).await?;
        let mut failed = match self.confirmed().await {
            Ok(()) => return Ok(Proof::Status),
            Err(error) => error,
        };
        if self.lacks_status().await {
            return Ok(Proof::Word);
        }
        for _ in 1..CONFIRM_TRIES {
            // One that hangs would only hang again.
            if matches!(failed, AgentError::Hangs { .. }) {
                break;
            }
            sleep(CONFIRM_PAUSE).await;
            failed = match self.confirmed().await {
                Ok(()) => return Ok(Proof::Status),
                Err(error) => error,
            };
        }
        Err(failed)
    }

    /// Turns the node on.
    ///
    /// # Errors
    /// When the agent does not say that it did.
    pub async fn on(&self) -> Result<(), AgentError> {
        self.succeeds(Verb::On, nowhere()).await.map(drop)
    }

    /// Whether the node has power.
    ///
    /// # Errors
    /// When the device does not tell.
    pub async fn status(&self) -> Result<Power, AgentError> {
        let ended = self.call(Verb::Status, nowhere()).await?;
        match ended.outcome {
            Outcome::Exited(Exit::Code(0)) => Ok(Power::On),
            Outcome::Exited(Exit::Code(2)) => Ok(Power::Off),
            Outcome::Exited(_) | Outcome::TimedOut(_) => Err(self.failed(Verb::Status, &ended)),
        }
    }

    /// Whether the device itself answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn monitor(&self) -> Result<(), AgentError> {
        self.succeeds(Verb::Monitor, nowhere()).await.map(drop)
    }

    /// Whether the agent says of itself that it has no `status`. One that does not say what it has is held to have it.
    pub async fn lacks_status(&self) -> bool {
        let said = Arc::new(Mutex::new(Some(String::new())));
        let heard = self.succeeds(Verb::Metadata, keep(&said)).await.is_ok();
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        heard && said.as_deref().is_some_and(lists_no_status)
    }

    async fn confirmed(&self) -> Result<(), AgentError> {
        match self.status().await? {
            Power::Off => Ok(()),
            Power::On => Err(AgentError::StillOn { agent: self.name() }),
        }
    }

    async fn succeeds(&self, verb: Verb, sink: Sink) -> Result<(), AgentError> {
        let ended = self.call(verb, sink).await?;
        if ended.success() { Ok(()) } else { Err(self.failed(verb, &ended)) }
    }

    async fn call(&self, verb: Verb, sink: Sink) -> Result<Ended, AgentError> {
        let secrets = self.secrets().await?;
        let program = Program {
            command: vec![self.config.agent.to_string_lossy().into_owned()],
            bare: true,
            lookups: self.lookups.clone(),
            ..Program::default()
        };
        let executable = program.resolve().await?;
        let mut ended =
            run_reading(&executable, self.told(verb, &secrets).as_bytes(), sink, self.config.timeout).await?;
        for line in &mut ended.lines {
            *line = secrets.hidden(line);
        }
        Ok(ended)
    }

    async fn secrets(&self) -> Result<Secrets, SecretsError> {
        let Some(path) = self.config.secrets.clone() else { return Ok(Secrets::default()) };
        let hangs = |path: PathBuf| Err(SecretsError::Hangs(path));
        let read = path.clone();
        match timeout(SECRETS_TIME, self.lookups.run(move || Secrets::read(&read))).await {
            Ok(Ok(secrets)) => secrets,
            Ok(Err(_)) | Err(_) => hangs(path),
        }
    }

    /// The order, then the options by their names; of two with one name the secret one counts.
    fn told(&self, verb: Verb, secrets: &Secrets) -> String {
        let mut options = self.config.options.clone();
        options.extend(secrets.options().map(|(name, value)| (name.to_owned(), value.to_owned())));
        let lines: String = options.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        format!("action={}\n{lines}", verb.word())
    }

    fn failed(&self, verb: Verb, ended: &Ended) -> AgentError {
        let (agent, verb, output) = (self.name(), verb.word(), quoted(last_words(&ended.lines)));
        match ended.outcome {
            Outcome::Exited(exit) => AgentError::Refused { agent, verb, exit, output },
            Outcome::TimedOut(time) => AgentError::Hangs { agent, verb, time, output },
        }
    }
}

/// The last lines in one.
fn last_words(lines: &[String]) -> Option<String> {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| lines.join(" / "))
}

/// Keeps everything an agent says; `None` as soon as something of it is lost.
fn keep(said: &Arc<Mutex<Option<String>>>) -> Sink {
    let said = Arc::clone(said);
    Arc::new(move |line| {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        match (line, said.as_mut()) {
            (Line::Text(text), Some(all)) if all.len() + text.len() < METADATA_BYTES_MAX => {
                all.push_str(text);
                all.push('\n');
            }
            (Line::Text(_) | Line::Dropped(_) | Line::Lost(_), _) => *said = None,
        }
    })
}

/// Whether a description of an agent lists its actions, and `status` is none of them.
fn lists_no_status(metadata: &str) -> bool {
    let actions = metadata.split_once("<actions>").and_then(|(_, rest)| Some(rest.split_once("</actions>")?.0));
    let listed = actions.filter(|actions| actions.contains("<action ") && actions.contains("off"));
    listed.is_some_and(|actions| !["\"status\"", "'status'"].iter().any(|name| actions.contains(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_list_without_status_says_that_there_is_none() {
        let list = |names: &[&str]| {
            let actions: String = names.iter().map(|name| format!("<action name=\"{name}\" />\n")).collect();
            format!("<resource-agent>\n<actions>\n{actions}</actions>\n</resource-agent>\n")
        };
        assert!(lists_no_status(&list(&["on", "off", "list-status", "metadata"])));
        assert!(!lists_no_status(&list(&["on", "off", "status"])));
        assert!(!lists_no_status(&list(&["on", "off", "status"]).replace('"', "'")));
        let cut = list(&["on", "off"]);
        assert!(!lists_no_status(cut.split("</actions>").next().unwrap_or_default()));
        assert!(!lists_no_status(&list(&[])) && !lists_no_status(""));
    }

    #[test]
    fn what_is_lost_of_a_description_makes_it_worthless() {
        let said = Arc::new(Mutex::new(Some(String::new())));
        let sink = keep(&said);
        sink(Line::Text("one"));
        assert_eq!(said.lock().unwrap().as_deref(), Some("one\n"));
        sink(Line::Dropped(1));
        sink(Line::Text("two"));
        assert_eq!(*said.lock().unwrap(), None);
    }

    #[test]
    fn the_last_words_are_one_line() {
        let lines = ["", " one ", "two"].map(str::to_owned);
        assert_eq!(last_words(&lines).as_deref(), Some("one / two"));
        assert_eq!(last_words(&[]), None);
    }
}
