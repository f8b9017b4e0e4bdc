//! THE LINKS: every heartbeat path of this node, side by side.
//!
//! [`Links`] belongs to the loop's own task, so a frame goes from the kernel to the decision without a queue in between, and
//! after a stall the loop empties every socket *before* it judges anybody's silence:
//!
//! ```text
//! loop {
//!     select! {
//!         _ = links.readable()   => links.receive(&mut |input| …handle it…),
//!         input = inputs.recv()  => …handle it…,
//!         _ = sleep(deadline)    => { links.drain(&mut |input| …handle it…); …handle Input::Deadline… }
//!     }
//! }
//! ```
//!
//! * [`link`]: one path; opens and re-opens its sockets by itself. * [`transport`]: those sockets, [`udp`] or [`tipc`].
//! * [`judge`]: who may speak on it.
//! * [`witness`], [`etcd`]: who holds leases and is no node.
//! * [`carrier`]: which interfaces can pass frames. * [`sys`]: system calls without a safe wrapper.
//!
//! Each link gets its turn: a flood on one cannot keep the loop from another. No method waits except `readable`, and none
//! returns an error: what goes wrong on a link is in its counters and its trouble.

pub(crate) mod bucket;
pub mod carrier;
pub mod counters;
pub mod etcd;
pub mod interface;
mod judge;
pub mod link;
mod notice;
mod sent;
pub(crate) mod sys;
mod tipc;
mod transport;
mod udp;
pub mod witness;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use avamgr_core::cluster::{LinkId, NodeId};
use avamgr_core::config::{ArbitratorConfig, LinkConfig};
use avamgr_core::node::Input;
use avamgr_core::wire::Heartbeat;
use avamgr_core::wire::seal::Keyring;
use thiserror::Error;

use carrier::Carriers;
pub use counters::Counters;
use etcd::EtcdPath;
pub use interface::Interface;
pub use link::Link;
use sys::Reading;
pub use tipc::{is_loaded as has_tipc, own_address as own_tipc_address};
use witness::WitnessPath;

/// Datagrams taken from one link in its turn: about a tenth of a millisecond of work, so that a flood on one link delays the
/// others by no more.
const TURN: usize = 64;
/// Datagrams taken from one link when it is emptied after a stall: more than its receive buffer holds.
const DRAIN: usize = 2_048;

/// A link that cannot be opened.
#[derive(Debug, Error)]
pub enum LinkError {
    /// Its socket cannot be opened.
    #[error("link {link}: cannot open {what}: {source} ({hint})")]
    Open {
        /// Its name.
        link: String,
        /// Which one.
        what: String,
        /// What to do.
        hint: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// The kernel does not tell about interfaces.
    #[error("cannot watch the carrier of the links: {0} (netlink is needed)")]
    Carriers(#[source] io::Error),
}

/// All heartbeat paths of this node.
pub struct Links {
    links: Vec<Link>,
    witness: Option<WitnessPath>,
    etcd: Option<EtcdPath>,
    carriers: Option<Carriers>,
    interfaces: Vec<Arc<Interface>>,
}

impl Links {
    /// Opens every link at `node`, and watches their interfaces and the arbitrator's. One that cannot be opened now is tried
    /// again and again, without harm to the others; when that is all of them, it is an error. Must be called within the
    /// runtime of the loop.
    pub fn open(
        config: &[LinkConfig],
        arbitrator: Option<&ArbitratorConfig>,
        node: NodeId,
        keys: &Arc<Keyring>,
    ) -> Result<Self, LinkError> {
        let mut interfaces: BTreeMap<&str, Arc<Interface>> = BTreeMap::new();
        let mut known = |name| Arc::clone(interfaces.entry(name).or_insert_with(|| Arc::new(Interface::new(name))));
        if let Some(name) = arbitrator.and_then(|arbitrator| arbitrator.interfaces.as_ref()?.get(node.index())) {
            known(name);
        }
        let mut links = Vec::with_capacity(config.len());
        let mut uses = Vec::with_capacity(config.len());
        for (id, link) in (0..).map(LinkId).zip(config) {
            let own: Vec<_> = link.interfaces(node).into_iter().map(&mut known).collect();
            uses.push((id, own.clone()));
            links.push(Link::open(id, link, node, Arc::clone(keys), own));
        }
        let mut obstacles: Vec<_> = links.iter().filter_map(Link::obstacle).collect();
        // The module of TIPC may be loaded in a moment.
        let hopeless = |link: &Link| link.obstacle().is_some() && !link.is_over_tipc();
        if links.iter().all(hopeless) && !links.is_empty() {
            return Err(obstacles.remove(0));
        }
        for obstacle in obstacles {
            tracing::error!("{obstacle}; it is tried again");
        }
        let interfaces: Vec<_> = interfaces.into_values().collect();
        let carriers = if interfaces.is_empty() { None } else { Some(Carriers::open(interfaces.clone(), uses)) };
        Ok(Self {
            links,
            witness: None,
            etcd: None,
            carriers: carriers.transpose().map_err(LinkError::Carriers)?,
            interfaces,
        })
    }

    /// Adds the way to the witness.
    pub fn with_witness(mut self, path: Option<WitnessPath>) -> Self {
        self.witness = path;
        self
    }

    /// Adds the way to etcd; it is asked in place of a witness, and answers through the inputs.
    pub fn with_etcd(mut self, path: Option<EtcdPath>) -> Self {
        self.etcd = path;
        self
    }

    /// The way to the witness.
    pub fn witness(&self) -> Option<&WitnessPath> {
        self.witness.as_ref()
    }

    /// Seals for the witness with these keys and opens with them from now on.
    pub fn set_witness_keys(&mut self, keys: &Arc<Keyring>) {
        if let Some(witness) = &mut self.witness {
            witness.set_keys(Arc::clone(keys));
        }
    }

    /// What is known of an interface that a link or the arbitrator uses.
    pub fn interface(&self, name: &str) -> Option<Arc<Interface>> {
        self.interfaces.iter().find(|interface| interface.name() == name).map(Arc::clone)
    }

    /// Waits until `receive` has something to do. May be dropped at any time.
    pub async fn readable(&mut self) {
        poll_fn(|cx| self.poll_readable(cx)).await;
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Each is asked, so that each knows whom to wake.
        let carriers = self.carriers.as_mut().is_some_and(|carriers| carriers.poll_readable(cx).is_ready());
        let links = self.links.iter_mut().fold(false, |ready, link| ready | link.poll_readable(cx).is_ready());
        let witness = self.witness.as_mut().is_some_and(|witness| witness.poll_readable(cx).is_ready());
        if carriers | links | witness { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Hands over what has arrived, one turn for each link, without waiting. `true` = more may be there (and `readable` will
    /// say so).
    pub fn receive(&mut self, sink: &mut impl FnMut(Input)) -> bool {
        self.read(Reading::WhenReady, TURN, sink)
    }

    /// As `receive`, but asks the kernel and empties every socket: before anybody is held to be silent. After a stall the
    /// runtime may know of the deadline and not yet of the frames that came before it.
    pub fn drain(&mut self, sink: &mut impl FnMut(Input)) {
        self.read(Reading::Always, DRAIN, sink);
    }

    fn read(&mut self, reading: Reading, budget: usize, sink: &mut impl FnMut(Input)) -> bool {
        if let Some(carriers) = &mut self.carriers {
            carriers.read(reading, sink);
        }
        let more = self.witness.as_mut().is_some_and(|witness| witness.read(reading, budget, sink));
        self.links.iter_mut().fold(more, |more, link| more | link.read(reading, budget, sink))
    }

    /// Sends a frame on a link, now or never.
    pub fn send(&mut self, link: LinkId, heartbeat: Heartbeat) {
        if link == LinkId::WITNESS {
            match (&mut self.witness, &mut self.etcd) {
                (Some(witness), _) => witness.send(heartbeat),
                (None, Some(etcd)) => etcd.send(heartbeat),
                (None, None) => {}
            }
        } else if let Some(link) = self.links.get_mut(link.index()) {
            link.send(heartbeat);
        }
    }

    /// Asks the kernel after the carrier of every interface, without waiting for the answer. The loss of a physical carrier is
    /// announced up to a second late when other interfaces have changed meanwhile: worth asking when a link is suspect.
    pub fn ask_carriers(&self) {
        if let Some(carriers) = &self.carriers {
            carriers.ask();
        }
    }

    /// Seals with these keys and opens with them from now on, on every link.
    pub fn set_keys(&mut self, keys: &Arc<Keyring>) {
        for link in &mut self.links {
            link.set_keys(Arc::clone(keys));
        }
    }

    /// All links, in the order of the config.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }
}
