//! Passwords and tokens, and what is kept of them.

use argon2::password_hash::phc::{PasswordHash, Salt};
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Bytes of a password: enough to be worth a hash, and no burden for whoever makes it.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;
/// What a token begins with, so that it is found where it should not be.
const TOKEN: &str = "avamgr_";
/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;
/// What the hash of a token begins with.
const TOKEN_HASH: &str = "sha256:";
/// What a hash in the file may cost at most: a file is no way to stop the page, which has 256 MiB.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
/// And how often that memory is gone through.
const PASSES_MAX: u32 = 10;

/// The hash of a password, with a salt of its own: argon2id with the parameters its authors recommend.
///
/// # Errors
/// When there are no random numbers.
pub fn password_hash(password: &str) -> Result<String, String> {
    let hash = argon2().hash_password(password.as_bytes()).map_err(|error| format!("no hash: {error}"))?;
    let hash: PasswordHash = hash;
    Ok(hash.to_string())
}

/// Whether a password fits a hash. It takes some 20 ms and 19 MiB. `None`: there is no such user, which takes as long.
pub fn is_password(password: &str, hash: Option<&str>) -> bool {
    if !PASSWORD_BYTES.contains(&password.len()) {
        return false;
    }
    match hash.map(PasswordHash::new) {
        Some(Ok(hash)) => argon2().verify_password(password.as_bytes(), &hash).is_ok(),
        Some(Err(_)) | None => {
            let salt = Salt::try_from([0; 16].as_slice());
            let made: Result<PasswordHash, _> = match &salt {
                Ok(salt) => argon2().hash_password_with_salt(password.as_bytes(), salt.as_ref()),
                Err(_) => return false,
            };
            // Only the time it took was wanted.
            drop(made);
            false
        }
    }
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

pub(super) fn is_password_hash(text: &str) -> bool {
    let is_cheap = |params: Params| params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX;
    PasswordHash::new(text).is_ok_and(|hash| hash.hash.is_some() && Params::try_from(&hash).is_ok_and(is_cheap))
}

/// A new token. It is told once and kept by nobody.
///
/// # Errors
/// When there are no random numbers.
pub fn new_token() -> Result<String, String> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(format!("{TOKEN}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// What is kept of a token. It is too long to be guessed, so its hash need not be slow.
pub fn token_hash(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    digest.iter().fold(TOKEN_HASH.to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

pub(super) fn is_token_hash(text: &str) -> bool {
    let digits = text.strip_prefix(TOKEN_HASH).unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}
