//! The program that shows the node to browsers (`avamgr-webui`). Nothing that is decided depends on it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the page is, who makes it, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WebConfig {
    /// Whether the daemon starts it; else a unit of its own does, which says on its command line what stands here otherwise.
    pub start: bool,
    /// An address of the node, and a port; loopback as long as there are no `users`.
    pub listen: SocketAddr,
    /// Account to run as: with `users` one of its own, which steers in their name.
    pub user: String,
    /// What browsers may call the node by, besides its addresses, its host name and `localhost`.
    pub names: Vec<String>,
    /// The file with those who may look and steer; `None` = whoever is on the node may look, and nobody steers.
    pub users: Option<PathBuf>,
    /// Who does nothing for so long is asked again who he is.
    pub idle_time: Duration,
    /// Certificate and key for HTTPS; `None` = plain HTTP.
    pub certificate: Option<PathBuf>,
}

impl WebConfig {
    /// The account that steers in the name of users; `None` = nobody steers through the page.
    pub fn relay(&self) -> Option<&str> {
        self.users.is_some().then_some(self.user.as_str())
    }
}
