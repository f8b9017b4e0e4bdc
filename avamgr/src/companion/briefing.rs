//! Where companions are found, and what each is told of the daemon that starts it.

use std::env;
use std::path::{Path, PathBuf};

use avamgr_core::cluster::NodeId;

use crate::journal::Settings;
use crate::process::{DEFAULT_PATH, Program};
use crate::upgrade;

/// What a companion has to be told.
#[derive(Clone, Debug)]
pub struct Briefing {
    /// The config file.
    pub file: PathBuf,
    /// Our node.
    pub node: NodeId,
    /// Our control socket.
    pub socket: PathBuf,
    /// Where our log goes: what a companion logs goes there too.
    pub log: Settings,
}

impl Briefing {
    /// A program with its arguments, and with where our log goes.
    pub fn program(&self, mut command: Vec<String>) -> Program {
        command.extend(["--log-target".to_owned(), self.log.target.to_string()]);
        command.extend(["--log-level".to_owned(), self.log.filter.clone()]);
        let environment = search_path().into_iter().map(|path| ("PATH".to_owned(), path)).collect();
        Program { command, environment, ..Program::default() }
    }

    /// Our control socket, as an argument.
    pub fn socket(&self) -> String {
        absolute(&self.socket)
    }

    /// The config file, as an argument.
    pub fn file(&self) -> String {
        absolute(&self.file)
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Ours, after the directory of our own program: the companion of the same installation comes first, also when it is
/// installed later.
fn search_path() -> Option<String> {
    let own = upgrade::own_file().ok()?;
    let ours = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let all = own.parent().map(Path::to_owned).into_iter().chain(env::split_paths(&ours));
    env::join_paths(all).ok()?.into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_beside_the_daemon_first() {
        let path = search_path().unwrap();
        let first = env::split_paths(&path).next().unwrap();
        assert_eq!(first, env::current_exe().unwrap().parent().unwrap());
        assert!(path.ends_with(&env::var("PATH").unwrap()), "{path}");
    }
}
