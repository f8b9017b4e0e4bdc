//! The window (`avamgr-webui`) as a companion of the daemon: it runs on every node whose config has `[web]`, whatever the
//! node's role, unless a unit of its own starts it.

use std::sync::Arc;

use avamgr_core::config::{Config, WebConfig};
use avamgr_core::node::Event;
use avamgr_core::node::event::Fact;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock;
use crate::companion::Companion;
use crate::companion::briefing::Briefing;
use crate::companion::follow::follow;
use crate::process::Program;
use crate::process::family::Mark;
use crate::scribe::Scribe;

/// Name of the program.
pub const PROGRAM: &str = "avamgr-webui";

/// The window, and whoever looks after it.
#[derive(Debug)]
pub struct Window {
    companion: Companion,
    follows: JoinHandle<()>,
}

impl Window {
    /// Follows the config from now on. What happens is written down by `scribe`.
    pub fn start(briefing: Briefing, config: watch::Receiver<Arc<Config>>, scribe: &Scribe) -> Self {
        let mark = {
            let config = config.borrow();
            Mark::new(&config.cluster, config.node_name(briefing.node), "", PROGRAM)
        };
        let pen = scribe.clone();
        let tell = move |severity, text| pen.write(Event { at: clock::now(), fact: Fact::Web { severity, text } });
        let companion = Companion::start(PROGRAM, mark, Box::new(tell));
        let need = async |config: &Config| config.web.clone().filter(|web| web.start);
        let follows = tokio::spawn(follow(config, companion.orders(), need, move |web| program(&briefing, web)));
        Self { companion, follows }
    }

    /// Ends it, within [`STOP_TIME`](crate::companion::STOP_TIME).
    pub async fn stop(self) {
        self.follows.abort();
        self.companion.stop().await;
    }

    /// Kills it, and waits for nothing: whoever looks finds the next one.
    pub async fn end_at_once(self) {
        self.follows.abort();
        self.companion.end_at_once().await;
    }
}

fn program(briefing: &Briefing, web: &WebConfig) -> Program {
    let mut command = vec![PROGRAM.to_owned(), "--socket".to_owned(), briefing.socket()];
    command.extend(["--listen".to_owned(), web.listen.to_string(), "--user".to_owned(), web.user.clone()]);
    command.extend(web.names.iter().flat_map(|name| ["--name".to_owned(), name.clone()]));
    if let Some(users) = &web.users {
        command.extend(["--users".to_owned(), users.display().to_string()]);
        command.extend(["--idle-time".to_owned(), format!("{}s", web.idle_time.as_secs())]);
    }
    if let Some(certificate) = &web.certificate {
        command.extend(["--certificate".to_owned(), certificate.display().to_string()]);
    }
    briefing.program(command)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use avamgr_core::cluster::NodeId;

    use super::*;
    use crate::journal::{Settings, Target};

    #[test]
    fn the_window_is_told_where_to_ask_and_where_to_listen() {
        let log = Settings { target: Target::Syslog, filter: "info".to_owned() };
        let (file, socket) = ("/etc/avamgr/avamgr.toml".into(), "/run/avamgr/other.sock".into());
        let briefing = Briefing { file, node: NodeId(0), socket, log };
        let (listen, user) = ("127.0.0.1:8080".parse().unwrap(), "nobody".to_owned());
        let (names, idle_time) = (vec!["dre.example".to_owned()], Duration::from_secs(300));
        let web = WebConfig { start: true, listen, user, names, users: None, idle_time, certificate: None };
        assert_eq!(
            program(&briefing, &web).command.join(" "),
            "avamgr-webui --socket /run/avamgr/other.sock --listen 127.0.0.1:8080 --user nobody --name dre.example \
             --log-target syslog --log-level info"
        );
        let (users, certificate) = (Some("/etc/avamgr/users".into()), Some("/etc/avamgr/web.pem".into()));
        let line = program(&briefing, &WebConfig { users, certificate, ..web }).command.join(" ");
        let more = " --users /etc/avamgr/users --idle-time 300s --certificate /etc/avamgr/web.pem ";
        assert!(line.contains(more), "{line}");
    }
}
