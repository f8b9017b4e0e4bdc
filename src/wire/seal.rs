//! Keyed digest around a frame: the bytes of [`codec`], then a tag over all of them.
//!
//! The tag is the left half of HMAC-SHA-256. Keys are numbered, and the number travels in the frame, so keys are changed
//! without an outage: (1) add the new key on every node, (2) make it the sending key on every node, (3) remove the old one.
//! At each step every node has the key the others send with.
//!
//! [`Keyring::open`] decodes nothing before the tag is verified, in constant time. It does not know what is fresh: a replayed
//! datagram opens, and the decision refuses it by incarnation and sequence.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Heartbeat;
use super::codec::{self, EncodeError, HEADER};
use crate::node::input::BadDatagram;

/// Bytes of the tag: 128 bits cannot be guessed, and a guess costs a datagram each.
pub const TAG: usize = 16;
/// Bytes of a secret: as many as the digest is wide.
pub const SECRET: usize = 32;
/// Most keys held at once: a rotation needs two; more than a few are forgotten ones.
pub const MAX_KEYS: usize = 16;

/// A shared secret. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET]);

impl Secret {
    /// A secret from its bytes.
    pub fn new(bytes: [u8; SECRET]) -> Self {
        Self(bytes)
    }
}

impl Secret {
    /// Another secret made from this one, in hex digits: whoever knows it knows nothing of this one, nor of those for other
    /// purposes.
    pub fn derive(&self, purpose: &str) -> String {
        let tag = keyed(self).chain_update(b"avamgr derived ").chain_update(purpose).finalize().into_bytes();
        let digits = tag.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A key with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// 1..=255, the same on every node.
    pub number: u8,
    /// What only the nodes know.
    pub secret: Secret,
}

/// Keys that make no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyringError {
    /// No key at all.
    #[error("no key: heartbeats cannot be sealed (make one with `avamgr keygen`)")]
    Empty,
    /// More than `MAX_KEYS`.
    #[error("{count} keys, at most {MAX_KEYS} are held (remove those no node sends with any more)")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A key with the number 0.
    #[error("key number 0: numbers go from 1 to 255")]
    Zero,
    /// Two keys with the same number.
    #[error("key number {number} appears twice: give each key a number of its own")]
    Duplicate {
        /// The number.
        number: u8,
    },
    /// The sending key is not among the keys.
    #[error("sending key {number} is not among the keys")]
    NoSendingKey {
        /// The number.
        number: u8,
    },
}

/// All keys of one cluster: seals with one of them, opens with any.
#[derive(Clone)]
pub struct Keyring {
    cluster: u64,
    /// Keyed and ready to be cloned per frame, which saves two blocks of hashing.
    keys: Vec<(u8, Hmac<Sha256>)>,
    /// The one of them that seals.
    sending: (u8, Hmac<Sha256>),
}

impl Keyring {
    /// What stands for the cluster's name in a frame.
    pub fn cluster_id(&self) -> u64 {
        self.cluster
    }

    /// A ring for the cluster of this name that seals with the key `sending`.
    pub fn new(cluster: &str, keys: &[Key], sending: u8) -> Result<Self, KeyringError> {
        if keys.is_empty() {
            return Err(KeyringError::Empty);
        }
        if keys.len() > MAX_KEYS {
            return Err(KeyringError::TooMany { count: keys.len() });
        }
        let mut ring: Vec<(u8, Hmac<Sha256>)> = Vec::with_capacity(keys.len());
        for Key { number, secret } in keys {
            if *number == 0 {
                return Err(KeyringError::Zero);
            }
            if ring.iter().any(|(other, _)| other == number) {
                return Err(KeyringError::Duplicate { number: *number });
            }
            ring.push((*number, keyed(secret)));
        }
        let found = ring.iter().find(|(number, _)| *number == sending).cloned();
        let sending = found.ok_or(KeyringError::NoSendingKey { number: sending })?;
        Ok(Self { cluster: cluster_id(cluster), keys: ring, sending })
    }

    /// Number of the key that seals.
    pub fn sending(&self) -> u8 {
        self.sending.0
    }

    /// Writes the sealed datagram of a heartbeat into `out`, whose content is replaced and whose memory is reused.
    pub fn seal(&self, heartbeat: &Heartbeat, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.clear();
        let (number, keyed) = &self.sending;
        codec::encode(heartbeat, self.cluster, *number, TAG, out)?;
        let tag = keyed.clone().chain_update(&out[..]).finalize().into_bytes();
        out.extend(tag.iter().take(TAG));
        Ok(())
    }

    /// The heartbeat in a datagram, or why it is refused. Cheap refusals come first: size, magic, version, length, cluster,
    /// key number; then the digest; only then is anything decoded.
    pub fn open(&self, datagram: &[u8]) -> Result<Heartbeat, BadDatagram> {
        let header = codec::header(datagram)?;
        let (frame, tag) = datagram.split_last_chunk::<TAG>().ok_or(BadDatagram::Truncated)?;
        if frame.len() < HEADER {
            return Err(BadDatagram::Truncated);
        }
        if header.cluster != self.cluster {
            return Err(BadDatagram::Cluster);
        }
        let key = self.keys.iter().find(|(number, _)| *number == header.key);
        let (_, keyed) = key.ok_or(BadDatagram::UnknownKey)?;
        keyed.clone().chain_update(frame).verify_truncated_left(tag).map_err(|_| BadDatagram::Digest)?;
        codec::decode(frame)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<u8> = self.keys.iter().map(|(number, _)| *number).collect();
        f.debug_struct("Keyring").field("keys", &numbers).field("sending", &self.sending()).finish_non_exhaustive()
    }
}

/// What stands for a cluster's name in a frame. Not a secret: it only tells a neighbour's frames from broken ones.
pub fn cluster_id(name: &str) -> u64 {
    let digest = Sha256::new().chain_update(b"avamgr cluster ").chain_update(name.as_bytes()).finalize();
    digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

/// The digest, keyed. A secret is shorter than a block, so it goes in as it is.
fn keyed(secret: &Secret) -> Hmac<Sha256> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    for (place, byte) in block.iter_mut().zip(secret.0) {
        *place = byte;
    }
    Hmac::new(&block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_secret_is_another_for_each_purpose_and_each_secret() {
        let derived = [
            Secret::new([1; SECRET]).derive("one"),
            Secret::new([1; SECRET]).derive("two"),
            Secret::new([2; SECRET]).derive("one"),
        ];
        let different: std::collections::BTreeSet<&String> = derived.iter().collect();
        assert_eq!((different.len(), derived[0].len()), (3, 64));
        assert_eq!(derived[0], Secret::new([1; SECRET]).derive("one"));
    }
}
