use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn user(name: &str, right: Right, password: &str) -> User {
    User { name: name.to_owned(), kind: Kind::User, right, hash: secret::password_hash(password).unwrap() }
}

#[test]
fn what_is_written_is_read_and_only_the_right_secret_fits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    let token = secret::new_token().unwrap();
    let mut users = Users::default();
    users.put(user("alice", Right::Operator, "correct horse"));
    let hash = secret::token_hash(&token);
    users.put(User { name: "prometheus".to_owned(), kind: Kind::Token, right: Right::Viewer, hash });
    users.write(&path, None).unwrap();
    let read = Users::read(&path).unwrap();
    assert_eq!(read, users);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("correct horse") && !text.contains(&token), "{text}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, MODE);
    let alice = read.named("alice").unwrap();
    assert!(secret::is_password("correct horse", Some(&alice.hash)));
    assert!(!secret::is_password("correct horsf", Some(&alice.hash)));
    assert!(!secret::is_password("correct horse", None));
    assert!(!secret::is_password("", Some(&alice.hash)) && !secret::is_password(&"x".repeat(999), Some(&alice.hash)));
    assert_eq!(read.of_token(&token).map(|user| user.name.as_str()), Some("prometheus"));
    assert_eq!(read.of_token("avamgr_x"), None);
    assert_eq!(read.of_token(&alice.hash), None, "a hash is no token");
}

#[test]
fn a_password_has_a_salt_of_its_own_and_its_hash_is_slow() {
    let (one, other) = (secret::password_hash("the same").unwrap(), secret::password_hash("the same").unwrap());
    assert_ne!(one, other);
    assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
}

#[test]
fn somebody_is_there_once_and_gone_when_removed() {
    let mut users = Users::default();
    users.put(user("alice", Right::Viewer, "first one"));
    users.put(user("alice", Right::Operator, "second one"));
    assert_eq!(users.all().len(), 1);
    assert_eq!(users.named("alice").unwrap().right, Right::Operator);
    assert!(users.remove("alice") && !users.remove("alice"));
}

#[test]
fn a_file_that_others_can_read_or_change_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    Users::default().write(&path, None).unwrap();
    for mode in [0o644, 0o660, 0o602] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(Users::read(&path), Err(UsersError::Unfit { .. })), "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(Users::read(&path).unwrap(), Users::default());
}

#[test]
fn a_line_that_says_nothing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    Users::default().write(&path, None).unwrap();
    let hash = secret::password_hash("something").unwrap();
    let (greedy, slow) = (hash.replace("m=19456", "m=131072"), hash.replace("t=2", "t=99"));
    for (line, why) in [
        ("user alice", "expected"),
        (&format!("user alice admin {hash}"), "neither viewer"),
        (&format!("root alice viewer {hash}"), "neither user"),
        (&format!("user al/ice viewer {hash}"), "no name"),
        ("user alice viewer plain", "hash of alice"),
        (&format!("token alice viewer {hash}"), "hash of alice"),
        (&format!("user alice viewer {greedy}"), "hash of alice"),
        (&format!("user alice viewer {slow}"), "hash of alice"),
        (&format!("user a viewer {hash}\nuser a viewer {hash}"), "twice"),
    ] {
        fs::write(&path, format!("# a comment\n\n{line}\n")).unwrap();
        let error = Users::read(&path).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("line "), "{line}: {error}");
    }
}

#[test]
fn only_plain_names_are_names() {
    for name in ["alice", "a", "ops-1", "a.b@c", "7of9"] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", "-a", "a b", "a\nb", "größe", &"x".repeat(33), "a:b"] {
        assert!(!is_name(name), "{name}");
    }
}

#[test]
fn nothing_is_written_that_could_not_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    let mut users = Users::default();
    users.put(user("alice", Right::Operator, "correct horse"));
    users.write(&path, None).unwrap();
    let hash = secret::token_hash("x");
    for number in 0..1_000 {
        let (name, hash) = (format!("token-{number}"), hash.clone());
        users.put(User { name, kind: Kind::Token, right: Right::Viewer, hash });
    }
    assert!(users.write(&path, None).unwrap_err().to_string().contains("too many"));
    assert_eq!(Users::read(&path).unwrap().all().len(), 1, "it is as it was");
}
