//! `avamgr resource`: an order to the daemon; where none runs, to this host itself.

use avamgr_core::cluster::{NodeId, ResourceId};
use avamgr_core::config::Config;
use avamgr_core::control::{Command, Request, ResourceVerb};
use nix::unistd::geteuid;

use crate::cli::args::{ResourceArgs, ResourceOrder};
use crate::cli::output::Styled;
use crate::cli::session::{DAEMON, Session};
use crate::cli::{CliError, command, offline};
use crate::control::connection::{Connection, Unreachable};
use crate::exit::Exit;

pub(super) fn run(session: &Session, args: &ResourceArgs) -> Result<Exit, CliError> {
    match with_daemon(session, args) {
        // Only where it is certain that no daemon runs: a hung one still owns what it started.
        Err(CliError::Unreachable(error)) if error.is_stopped() => without_daemon(session, args, error),
        result => result,
    }
}

fn with_daemon(session: &Session, args: &ResourceArgs) -> Result<Exit, CliError> {
    let Some(resource) = args.resource.clone() else {
        Connection::open(DAEMON, &session.socket())?;
        return Err(CliError::Refused("name the resource: `avamgr status` lists them".to_owned()));
    };
    command::order(session, &Request::Command(Command::Resource { resource, verb: verb(args.verb) }))
}

fn without_daemon(session: &Session, args: &ResourceArgs, stopped: Unreachable) -> Result<Exit, CliError> {
    if args.verb == ResourceOrder::Clear {
        // Failures live in the daemon only: there is nothing to clear.
        return Err(stopped.into());
    }
    if !geteuid().is_root() {
        return Err(CliError::Refused(format!("{stopped}; without it, only root may start or stop resources")));
    }
    if args.verb != ResourceOrder::Stop && !args.force {
        return Err(CliError::Refused(format!(
            "{stopped}; nobody would check whether another node owns the resource: start the daemon, or add --force"
        )));
    }
    let config = session.config()?;
    let node = session.node(&config, args.node.as_deref())?;
    let chosen = chosen(&config, args)?;
    anstream::eprintln!("{}: {stopped}; acting on this host directly", Styled::notable("note"));
    let mut exit = Exit::Done;
    for resource in chosen {
        exit = worse(exit, act(session, &config, node, resource, args.verb)?);
    }
    Ok(exit)
}

fn act(
    session: &Session,
    config: &Config,
    node: NodeId,
    resource: ResourceId,
    order: ResourceOrder,
) -> Result<Exit, CliError> {
    let name = format!("{}/{}", config.group_name(resource.group), config.resource_name(resource));
    match offline::act(config, node, resource, verb(order)) {
        Ok(done) => {
            session.print(&format!("{name}: {}\n", Styled::good(done)))?;
            Ok(Exit::Done)
        }
        // The next one is stopped all the same: half a stop is worse than one with a failure.
        Err(error) => {
            session.print(&format!("{name}: {}: {error}\n", Styled::bad("failed")))?;
            Ok(Exit::Failed)
        }
    }
}

fn worse(one: Exit, other: Exit) -> Exit {
    if one == Exit::Done { other } else { one }
}

/// The resources meant, in the order in which the verb must take them: a stop without a name means all, backwards.
fn chosen(config: &Config, args: &ResourceArgs) -> Result<Vec<ResourceId>, CliError> {
    let all = || config.group_ids().flat_map(|group| config.resource_ids(group));
    let Some(name) = &args.resource else {
        if args.verb != ResourceOrder::Stop {
            return Err(CliError::Refused("name the resource".to_owned()));
        }
        let mut all: Vec<ResourceId> = all().collect();
        all.reverse();
        return Ok(all);
    };
    let is_meant = |id: &ResourceId| match name.split_once('/') {
        Some((group, resource)) => config.group_name(id.group) == group && config.resource_name(*id) == resource,
        None => config.resource_name(*id) == name,
    };
    let found: Vec<ResourceId> = all().filter(is_meant).collect();
    match found.as_slice() {
        [_one] => Ok(found),
        [] => Err(CliError::Refused(format!("no resource `{name}` in {}", config.cluster))),
        [..] => Err(CliError::Refused(format!("`{name}` is in more than one group: say GROUP/{name}"))),
    }
}

fn verb(order: ResourceOrder) -> ResourceVerb {
    match order {
        ResourceOrder::Start => ResourceVerb::Start,
        ResourceOrder::Stop => ResourceVerb::Stop,
        ResourceOrder::Restart => ResourceVerb::Restart,
        ResourceOrder::Clear => ResourceVerb::Clear,
    }
}
