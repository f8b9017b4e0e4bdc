//! A file of keys for the daemons under test.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context, Result};

/// Length of a key.
const SECRET_BYTES: usize = 32;

/// One new key in the form the program writes: number, secret, and the mark of the one that is used.
pub(crate) fn fresh() -> Result<String> {
    let mut secret = [0; SECRET_BYTES];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut secret)).context("read /dev/urandom")?;
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("1 {digits} send\n"))
}
