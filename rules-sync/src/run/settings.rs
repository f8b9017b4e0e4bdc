//! Everything a courier has to be told, and what joins it with the rest of the program.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use avamgr_core::courier::Status;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::Order;
use crate::courier::keep::Retention;
use crate::filter::Filter;
use crate::rsync::Password;

/// One way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Our address on the link.
    pub from: IpAddr,
    /// Where the peer's daemon listens.
    pub to: SocketAddr,
}

/// Everything a courier has to be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub me: String,
    /// The directories, by the names that all nodes have for them.
    pub directories: BTreeMap<String, PathBuf>,
    /// What of them is replicated.
    pub filter: Filter,
    /// Where its own files are: the store, what comes and goes, what is kept.
    pub state: PathBuf,
    /// Where its rsync listens, one on each link; nowhere with a remote shell.
    pub listen: Vec<SocketAddr>,
    /// The ways to the others, the best first.
    pub peers: BTreeMap<String, Vec<Line>>,
    /// What only the nodes know: the one that is shown first.
    pub passwords: Vec<Password>,
    /// The remote shell that is used in the place of daemons.
    pub shell: Option<Vec<String>>,
    /// Changes go from the ACTIVE node only.
    pub one_way: bool,
    /// How long and how much is kept.
    pub retention: Retention,
    /// How often everything is read again and compared.
    pub audit: Duration,
}

/// What joins the loop with the rest of the program.
#[derive(Debug)]
pub struct Ports {
    /// What operators want.
    pub orders: UnboundedReceiver<Order>,
    /// The ACTIVE node, as far as anybody knows.
    pub active: watch::Receiver<Option<String>>,
    /// How everything stands.
    pub status: watch::Sender<Option<Arc<Status>>>,
}
