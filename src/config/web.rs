//! The program that shows the node to browsers (`avamgr-webui`). Nothing that is decided depends on it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Where the page is, and who makes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WebConfig {
    /// A loopback address of the node, and a port.
    pub listen: SocketAddr,
    /// Account to run as.
    pub user: String,
    /// What browsers may call the node by, besides its addresses, its host name and `localhost`.
    pub names: Vec<String>,
}
