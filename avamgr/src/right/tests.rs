//! What the writer says is what the reader sees, over restarts and changes of the groups.

use tempfile::{TempDir, tempdir};

use super::*;

const FIRST: GroupId = GroupId(0);
const SECOND: GroupId = GroupId(1);
const LATER: Instant = Instant::from_nanos(123_456_789);

fn directory() -> TempDir {
    tempdir().unwrap()
}

#[test]
fn what_is_written_is_read_at_once_and_only_for_its_group() {
    let directory = directory();
    let right = Right::open(directory.path(), &["dre", "web"]).unwrap();
    let dre = RightOf::open(directory.path(), "dre").unwrap();
    let web = RightOf::open(directory.path(), "web").unwrap();
    assert_eq!((dre.until(), web.until()), (Instant::BOOT, Instant::BOOT));
    right.extend(SECOND, LATER);
    assert_eq!((dre.until(), web.until(), right.until(SECOND)), (Instant::BOOT, LATER, LATER));
    right.revoke(SECOND);
    assert_eq!(web.until(), Instant::BOOT);
    right.extend(GroupId(2), LATER);
    assert_eq!(right.until(GroupId(2)), Instant::BOOT, "no such group");
}

#[test]
fn it_survives_its_writer_and_the_next_one_writes_to_the_same_readers() {
    let directory = directory();
    let right = Right::open(directory.path(), &["dre"]).unwrap();
    right.extend(FIRST, LATER);
    let reader = RightOf::open(directory.path(), "dre").unwrap();
    drop(right);
    assert_eq!(reader.until(), LATER);
    let right = Right::open(directory.path(), &["dre"]).unwrap();
    assert_eq!(right.until(FIRST), LATER);
    right.extend(FIRST, Instant::NEVER);
    assert_eq!(reader.until(), Instant::NEVER);
}

#[test]
fn other_groups_are_a_new_file_that_readers_follow_and_the_old_one_stays_readable() {
    let directory = directory();
    Right::open(directory.path(), &["dre", "web"]).unwrap().extend(FIRST, LATER);
    let mut reader = RightOf::open(directory.path(), "dre").unwrap();
    let mut orphan = RightOf::open(directory.path(), "web").unwrap();
    let right = Right::open(directory.path(), &["other", "dre"]).unwrap();
    right.extend(SECOND, Instant::NEVER);
    assert_eq!(reader.until(), LATER, "the old file");
    reader.follow();
    assert_eq!(reader.until(), Instant::NEVER);
    orphan.follow();
    assert_eq!(orphan.until(), Instant::BOOT, "nobody writes for a group that is gone");
}

#[test]
fn a_file_of_another_boot_or_cut_short_gives_no_right() {
    let directory = directory();
    let path = directory.path().join(FILE_NAME);
    let mut content = blank(&["dre"], b"another-boot").unwrap();
    content[entry(0)..entry(0) + DEADLINE_BYTES].copy_from_slice(&u64::MAX.to_ne_bytes());
    for bad in [content.as_slice(), &content[..70], b""] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(RightOf::open(directory.path(), "dre"), Err(RightError::Unknown { .. })));
    }
    fs::write(&path, &content).unwrap();
    let right = Right::open(directory.path(), &["dre"]).unwrap();
    assert_eq!(right.until(FIRST), Instant::BOOT);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(RightOf::open(directory.path(), "dre").unwrap().until(), Instant::BOOT);
}

#[test]
fn a_link_in_its_place_is_not_followed() {
    let directory = directory();
    fs::write(directory.path().join("elsewhere"), "").unwrap();
    std::os::unix::fs::symlink("elsewhere", directory.path().join(FILE_NAME)).unwrap();
    assert!(matches!(Right::open(directory.path(), &["dre"]), Err(RightError::Io { .. })));
    assert!(matches!(
        Right::open(directory.path(), &[&"x".repeat(57)]),
        Err(RightError::Name(_) | RightError::Io { .. })
    ));
}
