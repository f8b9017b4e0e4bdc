//! etcd in the witness's place: requests of the decision become requests to etcd, and what etcd has confirmed becomes the answer
//! of a voter.
//!
//! The decision speaks to etcd as it does to a witness: a heartbeat to [`NodeId::WITNESS`] says what it wants of each group's
//! lease, the answer repeats the sending time of that heartbeat and says whom each lease is promised to. The newest heartbeat
//! is the only one that counts; it is dealt with in a *round* ([`voter`]) on a thread of its own, one round at a time.
//!
//! **Why no two nodes hold a lease at once.** The promise of a group is one key; a key has one value, and every member of etcd
//! asks a majority of them before it says which.
//!
//! * A node counts its lease from the *sending* of the heartbeat whose round has renewed it, and every request of the round
//!   is sent after that. etcd counts its time to live from the receipt, so from later.
//! * etcd does not know `clock_rate_ppm`: the node shortens what it counts on twice, for its own clock and for etcd's
//!   ([`avamgr_core::lease::held_until_by_plain_voter`]). What etcd grants is never less than `lease_time`, or it is no promise.
//! * A change of etcd's leader, and a restart of it, only lengthen leases: a new leader begins each anew, and adds the time in
//!   which an old one may go on believing that it leads.
//! * Nothing is answered before etcd has confirmed, after the renewal, that the key is ours still. A round that was not
//!   confirmed says nothing, and an answer that comes too late to be of use is dropped.
//! * What comes late at etcd does no harm: a claim compares the revisions it has seen, and stands on an etcd lease that is
//!   revoked when the promise is given back.
//! * Each run of the daemon has etcd leases of its own: it never goes on with what an earlier one was promised.

mod api;
mod client;
mod tls;
mod voter;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use avamgr_core::cluster::{LinkId, NodeId};
use avamgr_core::config::{Config, EtcdConfig};
use avamgr_core::node::Input;
use avamgr_core::wire::Heartbeat;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock;
use crate::inputs::Inputs;
use client::Client;
pub use tls::TlsError;
use voter::Voter;

/// From one attempt that has failed at every endpoint to the next.
const RETRY: Duration = Duration::from_millis(100);
/// The daemon's end waits this long for what is being given back.
const LAST_ROUND: Duration = Duration::from_secs(1);
/// How long `avamgr check` waits for an endpoint.
const PATIENCE_OF_CHECK: Duration = Duration::from_secs(2);

/// What goes wrong between this node and etcd.
#[derive(Debug, Error)]
pub enum EtcdError {
    /// Nobody takes the connection.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// Not in time.
    #[error("no answer to {0} within {1:?}")]
    Late(&'static str, Duration),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It says no.
    #[error("{path} was refused: {message} (code {code})")]
    Refused {
        /// What was asked.
        path: &'static str,
        /// gRPC's number of the reason.
        code: i64,
        /// In etcd's words.
        message: String,
    },
    /// It speaks another language.
    #[error("the answer to {0} is not understood: {1} (is it etcd 3.4 or newer?)")]
    Strange(&'static str, String),
    /// It would let go before we do.
    #[error("etcd grants {granted} s where {needed} s are needed: its lease is not counted on")]
    Short {
        /// What it grants.
        granted: u64,
        /// What was asked for.
        needed: u64,
    },
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No thread, or nobody to give random numbers.
    #[error("cannot start to speak to etcd: {0}")]
    Start(String),
}

/// One member of etcd.
#[derive(Clone, Debug)]
struct Endpoint {
    /// As written.
    name: String,
    address: SocketAddr,
    secure: bool,
}

impl Endpoint {
    fn all(config: &EtcdConfig) -> Vec<Self> {
        let parse = |name: &String| {
            let (scheme, address) = name.split_once("://")?;
            Some(Self { name: name.clone(), address: address.parse().ok()?, secure: scheme == "https" })
        };
        // What is no endpoint was refused with the config.
        config.endpoints.iter().filter_map(parse).collect()
    }
}

/// The way to etcd. It never waits, but for the last round at its end.
pub struct EtcdPath {
    newest: Option<watch::Sender<Option<Heartbeat>>>,
    ended: mpsc::Receiver<()>,
}

impl EtcdPath {
    /// The way from `node`; its answers come through `inputs`. An etcd that does not answer is tried again and again.
    ///
    /// # Errors
    /// When certificates cannot be read, or there is no thread. `None` = the config has no etcd.
    pub fn open(config: &Config, node: NodeId, inputs: Inputs) -> Result<Option<Self>, EtcdError> {
        let Some(etcd) = config.etcd.as_ref().filter(|_| !config.standalone) else { return Ok(None) };
        check_certificates(config)?;
        let voter = Voter::new(config, &etcd.prefix, node).map_err(|error| EtcdError::Start(error.to_string()))?;
        // Several attempts fit into a lease, with a change of leader between them.
        let client = Client::new(etcd, config.timers.lease_time / 6);
        let (newest, frames) = watch::channel(None);
        let (end, ended) = mpsc::channel();
        let plane = Plane { voter, client, frames, inputs, lease_time: config.timers.lease_time, well: true };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| EtcdError::Start(error.to_string()))?;
        let run = move || {
            runtime.block_on(plane.serve());
            // The other end may have given up waiting.
            let _ = end.send(());
        };
        thread::Builder::new().name("etcd".into()).spawn(run).map_err(|error| EtcdError::Start(error.to_string()))?;
        Ok(Some(Self { newest: Some(newest), ended }))
    }

    /// Gives a heartbeat the time of its sending and puts it in the place of the last one.
    pub fn send(&mut self, mut heartbeat: Heartbeat) {
        heartbeat.sent_nanos = clock::now().as_nanos();
        if let Some(newest) = &self.newest {
            newest.send_replace(Some(heartbeat));
        }
    }
}

impl Drop for EtcdPath {
    /// What is given back with the last heartbeat is given back: otherwise the next holder waits for the time to live.
    fn drop(&mut self) {
        self.newest = None;
        let _ = self.ended.recv_timeout(LAST_ROUND);
    }
}

/// What the thread owns.
struct Plane {
    voter: Voter,
    client: Client,
    frames: watch::Receiver<Option<Heartbeat>>,
    inputs: Inputs,
    lease_time: Duration,
    /// The last round was confirmed.
    well: bool,
}

impl Plane {
    /// Until nobody sends heartbeats any more.
    async fn serve(mut self) {
        loop {
            let news = self.frames.changed();
            let news = if self.well { news.await } else { timeout(RETRY, news).await.unwrap_or(Ok(())) };
            if news.is_err() {
                return;
            }
            self.try_round().await;
        }
    }

    /// One round, at the next endpoint when one fails, and once more where a connection has grown old.
    async fn try_round(&mut self) {
        for _ in 0..=self.client.endpoints() {
            let newest = self.frames.borrow_and_update().clone();
            let Some(frame) = newest.filter(|frame| age(frame) < self.lease_time) else { return };
            let begun = clock::now();
            match self.voter.round(&mut self.client, &frame).await {
                Ok(groups) => {
                    self.tell_well();
                    // Too late to be of use: by now the node has let go.
                    if age(&frame) < self.lease_time {
                        let answer = self.voter.answer(&frame, begun, groups);
                        self.give(answer);
                    }
                    return;
                }
                Err(error) => self.tell_trouble(&error),
            }
        }
    }

    fn give(&self, heartbeat: Heartbeat) {
        let wall_millis = clock::wall_nanos() / 1_000_000;
        // What is dropped under pressure is as good as late: the next round says it again.
        self.inputs.offer(Input::Heartbeat { link: LinkId::WITNESS, arrived: clock::now(), wall_millis, heartbeat });
    }

    fn tell_well(&mut self) {
        if !self.well {
            tracing::info!("etcd answers at {}", self.client.endpoint());
        }
        self.well = true;
    }

    fn tell_trouble(&mut self, error: &EtcdError) {
        if self.well {
            tracing::warn!("etcd at {}: {error}", self.client.endpoint());
        } else {
            tracing::debug!("etcd at {}: {error}", self.client.endpoint());
        }
        self.well = false;
        self.client.move_on();
    }
}

fn age(frame: &Heartbeat) -> Duration {
    Duration::from_nanos(clock::now().as_nanos().saturating_sub(frame.sent_nanos))
}

/// Whether certificates and key can be used, where the config has any.
///
/// # Errors
/// Which file is of no use, and why.
pub fn check_certificates(config: &Config) -> Result<(), EtcdError> {
    let etcd = config.etcd.as_ref().filter(|_| !config.standalone);
    Ok(etcd.map(tls::connector).transpose().map(|_| ())?)
}

/// Asks every endpoint for its version, for `avamgr check`: what it says, or what is wrong.
pub fn ask_endpoints(config: &EtcdConfig) -> Vec<(String, Result<String, String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ask = |name: &String| {
        let one = EtcdConfig { endpoints: vec![name.clone()], ..config.clone() };
        let mut client = Client::new(&one, PATIENCE_OF_CHECK);
        match &runtime {
            Ok(runtime) => runtime.block_on(api::status(&mut client)).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    };
    config.endpoints.iter().map(|name| (name.clone(), ask(name))).collect()
}
