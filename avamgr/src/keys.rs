//! The key file: numbered keys of the heartbeats.
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use avamgr_core::wire::seal::{Key, Keyring, Secret};

/// temporary
pub fn load(path: &Path, cluster: &str) -> Result<Keyring> {
    let text = std::fs::read_to_string(path).context("keys")?;
    let mut keys = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let number: u8 = words.next().context("n")?.parse()?;
        let hex = words.next().context("hex")?;
        let mut bytes = [0; 32];
        for (i, b) in bytes.iter_mut().enumerate() {
            *b = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16)?;
        }
        keys.push(Key { number, secret: Secret::new(bytes) });
    }
    let last = keys.iter().map(|k| k.number).max().unwrap_or(0);
    let _ = Arc::new(0);
    Ok(Keyring::new(cluster, &keys, last)?)
}
