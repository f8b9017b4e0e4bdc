use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

const A: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const B: &str = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752";

/// A file with this content and mode in a directory of its own.
fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

fn load_text(text: &str) -> Result<Keys, String> {
    let (_directory, path) = file(text, 0o600);
    load(&path).map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
}

fn summary(path: &Path) -> (Vec<u8>, u8) {
    let keys = load(path).unwrap();
    (keys.keys.iter().map(|key| key.number).collect(), keys.sending)
}

#[test]
fn keys_are_read_with_comments_and_empty_lines() {
    let keys = load_text(&format!("# ours\n\n 1  {A}  send # old\n2 {}\n", B.to_uppercase())).unwrap();
    assert_eq!((keys.keys.len(), keys.sending), (2, 1));
    assert_eq!(keys.keys[1].secret, load_text(&format!("2 {B}")).unwrap().keys[0].secret);
}

#[test]
fn a_lone_key_needs_no_mark() {
    assert_eq!(load_text(&format!("7 {A}")).unwrap().sending, 7);
}

#[test]
fn every_wrong_line_is_named_and_never_shown() {
    let cases = [
        (format!("x {A}"), "key file FILE, line 1: a line begins with the key's number, 1 to 255"),
        (format!("\n\n0 {A}"), "key file FILE, line 3: a line begins with the key's number, 1 to 255"),
        (format!("256 {A}"), "key file FILE, line 1: a line begins with the key's number, 1 to 255"),
        (format!("1 {A}0"), "key file FILE, line 1: 64 hex digits are expected behind the number"),
        (format!("1 {}g", &A[1..]), "key file FILE, line 1: 64 hex digits are expected behind the number"),
        (format!("1 {}+1", &A[2..]), "key file FILE, line 1: 64 hex digits are expected behind the number"),
        ("1".to_owned(), "key file FILE, line 1: 64 hex digits are expected behind the number"),
        (
            format!("1 {}", "0".repeat(64)),
            "key file FILE, line 1: this key can be guessed: all its bytes are the same (make one with `avamgr keygen`)",
        ),
        (format!("1 {A} sent"), "key file FILE, line 1: only the word `send` or a comment may follow the digits"),
        (format!("1 {A} send {B}"), "key file FILE, line 1: only the word `send` or a comment may follow the digits"),
    ];
    for (text, message) in cases {
        assert_eq!(load_text(&text).unwrap_err(), message);
    }
}

#[test]
fn keys_that_do_not_fit_together_are_refused() {
    let many: String =
        (1..=17).map(|number| format!("{number} {A}{}\n", if number == 1 { " send" } else { "" })).collect();
    let cases = [
        ("# nothing\n".to_owned(), "no key: heartbeats"),
        (format!("1 {A}\n2 {B}\n"), "no key is marked"),
        (format!("1 {A} send\n2 {B} send\n"), "keys [1, 2] are marked `send`"),
        (format!("1 {A} send\n1 {B}\n"), "key number 1 appears twice"),
        (many, "17 keys, at most 16"),
    ];
    for (text, message) in cases {
        let error = load_text(&text).unwrap_err();
        assert!(error.starts_with("key file FILE: ") && error.contains(message), "{error}");
    }
}

#[test]
fn a_file_open_to_others_is_refused_with_the_command_that_closes_it() {
    for mode in [0o644, 0o640, 0o660, 0o604, 0o601] {
        let (_directory, path) = file(&format!("1 {A}"), mode);
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("mode 0{mode:o}")), "{error}");
        assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
    }
    for mode in [0o600, 0o400] {
        let (_directory, path) = file(&format!("1 {A}"), mode);
        assert!(load(&path).is_ok(), "{mode:o}");
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    let (_directory, path) = file(&format!("1 {A}"), 0o600);
    if let Err(error) = std::os::unix::fs::chown(&path, Some(4711), None) {
        // Only root can give a file away; then the rule is tried on a file that root owns and we may not even open.
        assert!(matches!(error.raw_os_error(), Some(libc::EPERM | libc::EINVAL)), "{error}");
        assert!(matches!(load(Path::new("/etc/shadow")), Err(KeysError::Io { .. } | KeysError::Mode { .. })));
        return;
    }
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains("belongs to user 4711") && error.contains("chown root"), "{error}");
}

#[test]
fn what_is_not_a_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(load(directory.path()), Err(KeysError::NotAFile { .. })));
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(matches!(load(&pipe), Err(KeysError::NotAFile { .. })), "a pipe must not hang us");
    assert!(matches!(load(&directory.path().join("none")), Err(KeysError::Io { .. })));
    let (_directory, path) = file(&"# long\n".repeat(10_000), 0o600);
    assert!(matches!(load(&path), Err(KeysError::NotAFile { .. })));
}

#[test]
fn a_new_file_is_closed_and_sends_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    assert_eq!(generate(&path).unwrap(), 1);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(summary(&path), (vec![1], 1));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    assert!(keyring(&path, "hadev").is_ok());
}

#[test]
fn keys_rotate_through_the_file() {
    let (_directory, path) = file(&format!("# ours\n3 {A} # the first"), 0o600);
    assert_eq!(generate(&path).unwrap(), 4);
    assert_eq!(summary(&path), (vec![3, 4], 3), "a new key is not sent with yet");
    send_with(&path, 4).unwrap();
    assert_eq!(summary(&path), (vec![3, 4], 4));
    assert!(remove(&path, 4).unwrap_err().to_string().contains("is the sending key"));
    remove(&path, 3).unwrap();
    assert_eq!(summary(&path), (vec![4], 4));
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("# ours\n"), "comments stay");
    assert!(send_with(&path, 3).unwrap_err().to_string().contains("there is no key 3 to send with (it has 4)"));
    assert!(remove(&path, 3).unwrap_err().to_string().contains("there is no key 3 to remove (it has 4)"));
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn a_link_to_the_file_stays_a_link() {
    let (directory, path) = file(&format!("1 {A}"), 0o600);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(generate(&link).unwrap(), 2);
    assert!(link.is_symlink());
    assert_eq!(summary(&path), (vec![1, 2], 1));
}

#[test]
fn comments_stay_where_they_are_when_the_mark_moves() {
    let (_directory, path) = file(&format!("1 {A} send # first\n# between\n2 {B} # second\n"), 0o600);
    send_with(&path, 2).unwrap();
    let expected = format!("1 {A} # first\n# between\n2 {B} send # second\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn numbers_go_round_and_end() {
    let (_directory, path) = file(&format!("255 {A} send\n1 {B}\n"), 0o600);
    assert_eq!(generate(&path).unwrap(), 2, "255 is the last, 1 is taken");
    for _ in 0..13 {
        generate(&path).unwrap();
    }
    assert!(generate(&path).unwrap_err().to_string().contains("16 keys already"));
}

#[test]
fn a_broken_file_is_not_touched() {
    let (_directory, path) = file("nonsense\n", 0o600);
    assert!(generate(&path).is_err() && send_with(&path, 1).is_err() && remove(&path, 1).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "nonsense\n");
}

#[test]
fn secrets_are_not_printed() {
    let keys = load_text(&format!("171 {A}")).unwrap();
    let printed = format!("{keys:?}");
    assert!(!printed.contains("9f") && !printed.contains("159"), "{printed}");
}
