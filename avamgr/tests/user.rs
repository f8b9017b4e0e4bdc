//! `avamgr user`: the file that the page believes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use avamgr::users::secret::is_password;
use avamgr::users::{Right, Users};

/// The command with these words, and what is typed.
fn user(file: &Path, words: &[&str], typed: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_avamgr"));
    command.args(["user", "--file"]).arg(file).args(words).env("AVAMGR_CONFDIR", "/nowhere");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever refuses what was asked for reads nothing.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    child.wait_with_output().unwrap()
}

fn says(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn people_and_programs_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    assert!(says(&user(&file, &["list"], "")).contains("nobody: `avamgr user add"));
    let added = user(&file, &["add", "alice", "--right", "operator"], "correct horse\n");
    assert!(added.status.success() && says(&added).contains("alice may look and steer"), "{added:?}");
    let made = user(&file, &["token", "prometheus"], "");
    let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let users = Users::read(&file).unwrap();
    assert!(is_password("correct horse", users.named("alice").map(|alice| alice.hash.as_str())));
    assert_eq!(users.of_token(&token).map(|program| program.right), Some(Right::Viewer));
    let list = says(&user(&file, &["list"], ""));
    assert!(list.contains("alice  user, may look and steer") && list.contains("prometheus  token, may look"), "{list}");
    assert!(!list.contains("argon2") && !list.contains(&token), "{list}");
    assert!(user(&file, &["password", "alice"], "another horse\n").status.success());
    let hash = |name: &str| Users::read(&file).unwrap().named(name).map(|user| user.hash.clone());
    assert!(is_password("another horse", hash("alice").as_deref()));
    assert!(user(&file, &["remove", "alice"], "").status.success());
    assert_eq!(hash("alice"), None);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    assert!(user(&file, &["add", "alice"], "correct horse\n").status.success());
    let before = fs::read(&file).unwrap();
    for (words, typed, why) in [
        (&["add", "alice"][..], "correct horse\n", "already"),
        (&["add", "al ice"], "correct horse\n", "is no name"),
        (&["add", "bob"], "short\n", "8 to 256 bytes"),
        (&["add", "bob"], "", "8 to 256 bytes"),
        (&["password", "bob"], "correct horse\n", "no user bob"),
        (&["remove", "bob"], "", "no user or token bob"),
        (&["token", "alice"], "", "already"),
    ] {
        let refused = user(&file, words, typed);
        assert_eq!(refused.status.code(), Some(3), "{words:?}: {refused:?}");
        assert!(says(&refused).contains(why), "{words:?}: {refused:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn many_at_once_lose_nothing_of_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    std::thread::scope(|scope| {
        for number in 0..12 {
            let file = &file;
            scope.spawn(move || {
                let made = user(file, &["token", &format!("t{number}")], "");
                assert!(made.status.success(), "{made:?}");
            });
        }
    });
    assert_eq!(Users::read(&file).unwrap().all().len(), 12);
}
