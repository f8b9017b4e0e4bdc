//! The witness's config file, and the clusters it serves.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use avamgr_core::wire::seal::{Keyring, cluster_id};
use serde::Deserialize;
use thiserror::Error;

use super::table::NewSeat;
use crate::keys;

/// The file cannot be used; the text says why and where.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct BadConfig(String);

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WitnessFile {
    /// Where votes are asked for.
    #[serde(default = "listen")]
    pub(super) listen: Vec<SocketAddr>,
    /// Where the longest promise is remembered.
    #[serde(default = "state_dir")]
    pub(super) state_dir: PathBuf,
    /// Where `avamgr-witness status` asks.
    #[serde(default = "socket")]
    pub(super) socket: PathBuf,
    /// Where Prometheus asks; nowhere unless set.
    pub(super) metrics: Option<SocketAddr>,
    /// Bound on the error of this machine's clock rate.
    #[serde(default = "clock_rate_ppm")]
    pub(super) clock_rate_ppm: u32,
    /// The clusters.
    #[serde(default)]
    pub(super) cluster: Vec<ClusterEntry>,
}

/// One cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterEntry {
    /// As in the cluster's own config.
    pub(super) name: String,
    /// The keys it shares with this witness.
    pub(super) key_file: PathBuf,
}

fn listen() -> Vec<SocketAddr> {
    vec![SocketAddr::from(([0, 0, 0, 0], 6941))]
}

fn state_dir() -> PathBuf {
    PathBuf::from("/var/lib/avamgr-witness")
}

fn socket() -> PathBuf {
    PathBuf::from("/run/avamgr-witness/witness.sock")
}

fn clock_rate_ppm() -> u32 {
    1_000
}

impl WitnessFile {
    /// Reads and judges the file.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).map_err(|error| BadConfig(format!("cannot read {}: {error}", path.display())))?;
        let file: Self =
            toml::from_str(&text).map_err(|error| BadConfig(format!("{} is not valid\n{error}", path.display())))?;
        file.judge().map_err(|reason| BadConfig(format!("{}: {reason}", path.display())))?;
        Ok(file)
    }

    fn judge(&self) -> Result<(), String> {
        if self.listen.is_empty() {
            return Err("listen names no address: nobody could ask for a vote".to_owned());
        }
        if self.clock_rate_ppm > 100_000 {
            return Err(format!("clock_rate_ppm = {} must be at most 100000", self.clock_rate_ppm));
        }
        if self.cluster.is_empty() {
            return Err("there is no [[cluster]]: add one with its name and key_file".to_owned());
        }
        for (index, cluster) in self.cluster.iter().enumerate() {
            let before = self.cluster.get(..index).unwrap_or_default();
            if before.iter().any(|other| cluster_id(&other.name) == cluster_id(&cluster.name)) {
                return Err(format!("cluster {} is there twice", cluster.name));
            }
        }
        Ok(())
    }

    /// The clusters with their keys.
    pub(super) fn seats(&self) -> Result<Vec<NewSeat>> {
        let seat = |cluster: &ClusterEntry| -> Result<NewSeat> {
            let keyring: Keyring =
                keys::keyring(&cluster.key_file, &cluster.name).with_context(|| format!("cluster {}", cluster.name))?;
            Ok(NewSeat { name: cluster.name.clone(), keyring })
        };
        self.cluster.iter().map(seat).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<WitnessFile, String> {
        let file: WitnessFile = toml::from_str(text).map_err(|error| error.to_string())?;
        file.judge().map(|()| file)
    }

    #[test]
    fn the_sample_is_good() {
        let file = parsed(include_str!("../../../etc/witness.toml")).unwrap();
        assert_eq!((file.cluster.len(), file.listen, file.state_dir), (1, listen(), state_dir()));
        assert_eq!((file.socket, file.clock_rate_ppm), (socket(), clock_rate_ppm()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let one = "[[cluster]]\nname = \"a\"\nkey_file = \"/k\"\n";
        for (text, said) in [
            (String::new(), "no [[cluster]]"),
            (format!("listen = []\n{one}"), "listen"),
            (format!("{one}{one}"), "twice"),
            (format!("clock_rate_ppm = 100001\n{one}"), "at most 100000"),
            (format!("colour = 1\n{one}"), "unknown field `colour`"),
            (format!("listen = [\"here\"]\n{one}"), "socket address"),
        ] {
            let error = parsed(&text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
