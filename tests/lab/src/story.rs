//! How a test becomes a story of the lab: as root, or as root of a user namespace.

use std::any::type_name_of_val;
use std::error::Error;
use std::process::Command;

use nix::unistd::Uid;

use crate::userns::{explain, within_user_namespace};

/// Runs `body`, the closure of one test, where it may make networks. An ordinary account's test starts itself anew in a
/// user namespace; where that is refused, it fails and says what would permit it. A story is never skipped.
///
/// # Panics
/// When the body fails, as a test does.
pub fn story<F: FnOnce() -> Result<(), Box<dyn Error>>>(body: F) {
    if Uid::effective().is_root() {
        if let Err(error) = body() {
            panic!("{error}");
        }
        return;
    }
    let test = test_name(type_name_of_val(&body));
    let own_program = std::env::current_exe();
    let mut again = Command::new(own_program.unwrap_or_else(|error| panic!("find this program: {error}")));
    again.args(["--exact", &test, "--nocapture", "--test-threads=1"]);
    match within_user_namespace(&mut again).status() {
        Ok(status) => assert!(status.success(), "{test}, run in a user namespace: {status}"),
        Err(source) => panic!("a story needs root, or else: {}", explain("start in a user namespace", source)),
    }
}

/// The test's path as its harness knows it, from the closure's `crate::path::test::{{closure}}`.
fn test_name(closure: &str) -> String {
    let path = closure.split("::{{closure}}").next().unwrap_or(closure);
    path.split_once("::").map_or(path, |(_crate, rest)| rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_of_a_closure_is_found() {
        assert_eq!(test_name("lab_itself::power::comes_back::{{closure}}"), "power::comes_back");
    }
}
