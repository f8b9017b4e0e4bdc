//! The only source of chance.

use anyhow::Result;

/// A number that nobody can guess.
///
/// # Errors
/// When the kernel gives none.
pub fn random() -> Result<u64> {
    getrandom::u64().map_err(|error| anyhow::anyhow!("the kernel gives no random numbers: {error}"))
}
