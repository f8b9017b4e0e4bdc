//! RELOAD: the config file and the keys once more, while everything runs.
//!
//! All of it or nothing: the file is judged, then whatever holds a part of the old config is asked, and only then is
//! anything replaced.

mod differences;

use std::sync::Arc;

use anyhow::{Result, bail};
use avamgr_core::config::Config;
use avamgr_core::control::Answer;
use avamgr_core::node::Event;
use avamgr_core::node::event::Fact;
use avamgr_core::wire::seal::{Key, Keyring, Secret};
use tokio::sync::{mpsc, oneshot, watch};

use crate::control::{Outbox, Reload};
use crate::daemon::Tune;
use crate::journal::service;
use crate::reload::differences::differences;
use crate::{clock, keys};

/// How the config file is read and checked.
pub type Read = Box<dyn Fn() -> Result<Config> + Send + Sync>;

/// Whoever reads the config again.
pub struct Reloader {
    read: Read,
    config: watch::Sender<Arc<Config>>,
    tunes: mpsc::Sender<Tune>,
    outbox: Outbox,
}

impl Reloader {
    /// With the config in force, and the ways to those who must know of a new one.
    pub fn new(read: Read, config: watch::Sender<Arc<Config>>, tunes: mpsc::Sender<Tune>, outbox: Outbox) -> Self {
        Self { read, config, tunes, outbox }
    }

    /// The config in force, from now on.
    pub fn config(&self) -> watch::Receiver<Arc<Config>> {
        self.config.subscribe()
    }

    /// Reads the config again whenever an operator asks.
    pub async fn serve(self: Arc<Self>, mut orders: mpsc::Receiver<Reload>) {
        while let Some(order) = orders.recv().await {
            let answer = self.reload(order.who).await;
            let _ = order.answer.send(answer);
        }
    }

    /// A bad file changes nothing; nor does one that needs a restart. Told to the history like any other order.
    pub async fn reload(&self, who: String) -> Answer {
        service::reloading();
        let answer = match self.try_reload().await {
            Ok(text) => Answer::Done { text },
            Err(error) => Answer::Refused { reason: format!("the running config stays in force: {error:#}") },
        };
        service::ready();
        self.tell(who, &answer);
        answer
    }

    /// All that is wrong with a file is in the answer; one line of it is enough for the history.
    fn tell(&self, who: String, answer: &Answer) {
        let refused = match answer {
            Answer::Refused { reason } | Answer::Failed { reason } => reason.lines().next().map(str::to_owned),
            Answer::Done { .. } | Answer::Plan { .. } => None,
        };
        let fact = Fact::Command { who, command: "reload".to_owned(), refused };
        self.outbox.event(Event { at: clock::now(), fact });
    }

    async fn try_reload(&self) -> Result<String> {
        let new = Arc::new((self.read)()?);
        let keys = keyring(&new)?;
        let witness_keys = witness_keyring(&new)?;
        let old = Arc::clone(&self.config.borrow());
        if new.digest == old.digest {
            self.tunes.send(Tune::Keys(keys, witness_keys)).await?;
            // Whoever else has read the keys looks at them again.
            self.config.send_replace(old);
            return Ok("the keys were read again; the config has not changed".to_owned());
        }
        let held = differences(&old, &new);
        if !held.is_empty() {
            bail!("changes of {} need a restart of the daemon", held.join(", "));
        }
        let (sender, answer) = oneshot::channel();
        self.tunes.send(Tune::Config(Arc::clone(&new), sender)).await?;
        if let Err(parts) = answer.await? {
            bail!("changes of {parts} need a restart of the daemon");
        }
        self.tunes.send(Tune::Keys(keys, witness_keys)).await?;
        self.config.send_replace(new);
        Ok("the new config is in force; load it on the other nodes too".to_owned())
    }
}

/// Keys of the heartbeats; one node alone has no links and needs none.
pub fn keyring(config: &Config) -> Result<Arc<Keyring>> {
    if config.standalone {
        let unused = Key { number: 1, secret: Secret::new([0; 32]) };
        return Ok(Arc::new(Keyring::new(&config.cluster, &[unused], 1)?));
    }
    Ok(Arc::new(keys::keyring(&config.daemon.key_file, &config.cluster)?))
}

/// Keys shared with the witness; none without one.
pub fn witness_keyring(config: &Config) -> Result<Option<Arc<Keyring>>> {
    let Some(witness) = config.witness.as_ref().filter(|_| !config.standalone) else { return Ok(None) };
    Ok(Some(Arc::new(keys::keyring(&witness.key_file, &config.cluster)?)))
}

#[cfg(test)]
mod tests;
