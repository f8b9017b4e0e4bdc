//! `avamgr fence`: the devices that turn nodes off, asked from here without a daemon.

use std::fmt::Write as _;
use std::time::Duration;

use avamgr_core::cluster::NodeId;
use avamgr_core::config::Config;
use avamgr_core::control::words::duration;
use avamgr_core::control::{Command, FenceVerb as Order, Request};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::runtime;
use tokio::time::sleep;

use crate::cli::CliError;
use crate::cli::args::{FenceArgs, FenceVerb};
use crate::cli::command;
use crate::cli::output::{Styled, plural};
use crate::cli::session::Session;
use crate::clock;
use crate::exit::Exit;
use crate::fencing::{Agent, Fencer, Power};

/// How often those who have not answered yet are named.
const PROGRESS: Duration = Duration::from_secs(5);

/// What a device said.
#[derive(Debug, Serialize)]
struct Look {
    node: String,
    level: u8,
    agent: String,
    /// `on`, `off`, or why there is none of them.
    answer: String,
    /// What `monitor` complained of.
    monitor: Option<String>,
    /// Whether it would do its work, as far as can be seen without it.
    good: bool,
    elapsed_millis: u128,
}

/// `fence test --json`.
#[derive(Debug, Serialize)]
struct Report {
    devices: Vec<Look>,
}

pub(super) fn run(session: &Session, args: &FenceArgs) -> Result<Exit, CliError> {
    match &args.verb {
        FenceVerb::Test { node } => test(session, node.as_deref()),
        FenceVerb::Now { node } => order(session, node, Order::Shoot),
        FenceVerb::Confirm { node } => order(session, node, Order::Confirm),
        FenceVerb::Clear { node } => order(session, node, Order::Clear),
    }
}

fn order(session: &Session, node: &str, verb: Order) -> Result<Exit, CliError> {
    command::order(session, &Request::Command(Command::Fence { node: node.to_owned(), verb }))
}

fn test(session: &Session, node: Option<&str>) -> Result<Exit, CliError> {
    let config = session.config()?;
    let chosen = node.map(|name| session.node(&config, Some(name))).transpose()?;
    let fencer = Fencer::new(&config);
    let is_chosen = |agent: &&Agent| chosen.is_none_or(|node| agent.config().node == node);
    let agents: Vec<&Agent> = fencer.agents().iter().filter(is_chosen).collect();
    if agents.is_empty() {
        return Err(CliError::Refused("the config has no [[fence]] device: nothing turns a node off".to_owned()));
    }
    // On a machine that is none of the nodes every device can be asked all the same.
    let me = session.node(&config, None).ok();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let devices = runtime.block_on(ask_all(session, &config, me, &agents))?;
    // Not waiting for what hangs.
    runtime.shutdown_background();
    let bad = devices.iter().filter(|look| !look.good).count();
    if session.json() {
        session.print_json(&Report { devices })?;
    } else if bad > 0 {
        session.print(&format!("{} of {} not ready\n", bad, plural(agents.len(), "device")))?;
    }
    Ok(if bad > 0 { Exit::Failed } else { Exit::Done })
}

/// All at once, each shown as soon as it has answered; returned in the order of the config.
async fn ask_all(
    session: &Session,
    config: &Config,
    me: Option<NodeId>,
    agents: &[&Agent],
) -> Result<Vec<Look>, CliError> {
    let mut asked: FuturesUnordered<_> =
        agents.iter().enumerate().map(async |(index, agent)| (index, ask(config, me, agent).await)).collect();
    let mut answers: Vec<Option<Look>> = agents.iter().map(|_| None).collect();
    let width = agents.iter().map(|agent| agent.name().chars().count()).max().unwrap_or_default();
    loop {
        tokio::select! {
            answer = asked.next() => match answer {
                Some((index, look)) => {
                    if !session.json() {
                        session.print(&line(&look, width))?;
                    }
                    answers[index] = Some(look);
                }
                None => return Ok(answers.into_iter().flatten().collect()),
            },
            () = sleep(PROGRESS), if !session.json() => {
                let silent = agents.iter().zip(&answers).filter(|(_, answer)| answer.is_none());
                let names: Vec<String> = silent.map(|(agent, _)| called(config, agent)).collect();
                anstream::eprintln!("{}", Styled::faint(format!("  still waiting for {}", names.join(", "))));
            }
        }
    }
}

fn called(config: &Config, agent: &Agent) -> String {
    format!("{} ({})", agent.name(), config.node_name(agent.config().node))
}

async fn ask(config: &Config, me: Option<NodeId>, agent: &Agent) -> Look {
    let begun = clock::now();
    let node = agent.config().node;
    let status = agent.status().await;
    let monitor = agent.monitor().await.err().map(|error| error.to_string());
    let (answer, good) = match status {
        // Whoever asks is on: that is another plug.
        Ok(Power::Off) if me == Some(node) => {
            ("off, but this is that node and it is on: the wrong plug?".to_owned(), false)
        }
        Ok(Power::Off) => ("off".to_owned(), true),
        Ok(Power::On) => ("on".to_owned(), true),
        Err(_) if monitor.is_none() && agent.lacks_status().await => {
            ("has no status: what it does cannot be confirmed".to_owned(), true)
        }
        Err(error) => (error.to_string(), false),
    };
    let elapsed_millis = clock::now().since(begun).as_millis();
    let (node, level) = (config.node_name(node).to_owned(), agent.config().level);
    Look { node, level, agent: agent.name(), answer, monitor, good, elapsed_millis }
}

fn line(look: &Look, width: usize) -> String {
    let verdict = if look.good { Styled::good("ok") } else { Styled::bad("ERROR") };
    let took = duration(Duration::from_millis(u64::try_from(look.elapsed_millis).unwrap_or(u64::MAX)));
    let agent = Styled::plain(&look.agent).padded(width);
    let mut text = format!(
        "  {}  {}  level {}  {agent}  {} in {took}\n",
        verdict.padded(5),
        Styled::strong(&look.node),
        look.level,
        look.answer
    );
    if let Some(complaint) = look.monitor.as_ref().filter(|complaint| **complaint != look.answer) {
        let _ = writeln!(text, "         {}", Styled::faint(format!("-> monitor: {complaint}")));
    }
    text
}
