//! Names and kinds of things, however odd.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use avamgr_lab::story;

use crate::bed::{Bed, Setup};
use crate::node::SOON;
use crate::tree::Thing;

fn odd() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "two words",
        " before",
        "after ",
        "a\nline",
        "tab\there",
        "\"quoted\"",
        "it's",
        "back\\slash",
        "$HOME",
        "`id`",
        "-rf",
        "--delete",
        "*",
        "?",
        "[a]",
        "{a,b}",
        "#x",
        "%41",
        "%",
        "~root",
        "a:b",
        "host::module",
        ";ls",
        "ümlaut",
        "....",
    ]
    .map(|name| name.as_bytes().to_vec())
    .into();
    names.extend([vec![0xff, 0xfe, b'x'], vec![0xc3], vec![1, 2, 3, 0x7f], vec![b'l'; 255]]);
    names
}

fn name(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn directories_of_all_kinds(bed: &Bed) {
    let a = &bed.nodes[0];
    fs::create_dir_all(a.path("deep/1/2/3/4/5/6/7/8/9")).unwrap();
    bed.write(0, "deep/1/2/3/4/5/6/7/8/9/rule", "in the same instant");
    fs::create_dir(a.path("empty")).unwrap();
    for bytes in odd() {
        fs::create_dir(a.path("in").join(name(&bytes))).unwrap();
        bed.write(0, Path::new("in").join(name(&bytes)).join("x"), [b"below ", bytes.as_slice()].concat());
    }
}

#[test]
fn every_name_and_every_kind_of_thing_arrives_as_it_is() {
    story(|| {
        let bed = Setup::default().start();
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        let outside = a.host.dir().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "not of the rules").unwrap();
        fs::create_dir(a.path("in")).unwrap();
        for bytes in odd() {
            bed.write(0, name(&bytes), [b"rule ", bytes.as_slice()].concat());
        }
        directories_of_all_kinds(&bed);
        symlink(&outside, a.path("out")).unwrap();
        symlink("/etc/passwd", a.path("in/passwd")).unwrap();
        symlink("../none at all", a.path("in/dangling")).unwrap();
        bed.wait_settled(SOON);
        assert_eq!(b.snapshot().get(Path::new("out")), Some(&Thing::Link(outside.clone())));
        assert!(!b.snapshot().contains_key(Path::new("out/secret")), "a link is not followed");
        assert_eq!(b.snapshot().get(Path::new("empty")), Some(&Thing::Directory(0o755)));
        // Nothing but its permissions changes.
        let before = b.kept("trash").len();
        a.chmod("ümlaut", 0o640);
        a.chmod("empty", 0o711);
        bed.wait_settled(SOON);
        assert!(matches!(b.snapshot().get(Path::new("ümlaut")), Some(Thing::File(0o640, ..))));
        assert_eq!(b.snapshot().get(Path::new("empty")), Some(&Thing::Directory(0o711)));
        println!("kept after a change of permissions: {} more", b.kept("trash").len() - before);
        // Renames, of a directory with all that is in it and of files; and saving as editors do.
        fs::rename(a.path("deep"), a.path("deeper")).unwrap();
        fs::rename(a.path("in"), a.path("-in \n\"it\"")).unwrap();
        fs::rename(b.path("it's"), b.path("it was")).unwrap();
        for edit in 0..5 {
            bed.save(0, "saved", format!("edit {edit}"));
            bed.nodes[1].wait_holds("saved", format!("edit {edit}").as_bytes());
        }
        assert_eq!(bed.finish(SOON).len(), 0);
        assert!(!b.path("deep").exists() && b.path("deeper/1/2/3/4/5/6/7/8/9/rule").exists());
        assert!(!a.path("it's").exists() && a.path("it was").exists());
        assert_eq!(fs::read_to_string(outside.join("secret"))?, "not of the rules");
        Ok(())
    });
}

#[test]
fn a_directory_that_becomes_a_file_and_a_directory_again_is_that_everywhere() {
    story(|| {
        let bed = Setup::default().start();
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        // What has lost all that it had is held.
        bed.write(0, "stays", "there is always something");
        for round in 0..6 {
            fs::create_dir_all(a.path("it/sub")).unwrap();
            bed.write(0, "it/sub/rule", format!("round {round}, in the directory"));
            bed.write(0, "it/other", format!("round {round}, another one"));
            b.wait_holds("it/sub/rule", format!("round {round}, in the directory").as_bytes());
            b.wait_holds("it/other", format!("round {round}, another one").as_bytes());
            a.remove("it");
            bed.write(0, "it", format!("round {round}, a file"));
            b.wait_holds("it", format!("round {round}, a file").as_bytes());
            bed.wait_settled(SOON);
            a.remove("it");
            // The last one at once, so that both ways are met.
            if round % 2 == 0 {
                b.wait_gone("it");
            }
        }
        assert_eq!(bed.finish(SOON).len(), 0);
        Ok(())
    });
}

#[test]
fn what_the_patterns_leave_out_stays_where_it_is() {
    story(|| {
        let rules = "include = [\"*.rules\", \"maps/**\"]\nexclude = [\"*~\", \"private\", \"maps/*.tmp\"]";
        let bed = Setup { rules: rules.to_owned(), ..Setup::default() }.start();
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        for directory in ["maps", "private", "sub"] {
            fs::create_dir(a.path(directory)).unwrap();
        }
        let taken = ["x.rules", "sub/y.rules", "maps/any", "last.rules"];
        let left = ["x.txt", "x.rules~", "private/x.rules", "maps/x.tmp", "sub/notes"];
        for way in left.iter().chain(&taken) {
            fs::write(a.path(way), format!("{way} of a")).unwrap();
        }
        for way in taken {
            b.wait_holds(way, format!("{way} of a").as_bytes());
        }
        for way in left {
            assert!(!b.path(way).exists(), "{way}");
        }
        // What is left out is nobody's: it is neither taken away nor in the way.
        fs::write(b.path("sub/mine"), "of b").unwrap();
        fs::write(a.path("x.rules"), "changed").unwrap();
        b.wait_holds("x.rules", b"changed");
        fs::remove_dir_all(a.path("sub")).unwrap();
        b.wait_gone("sub/y.rules");
        assert_eq!(fs::read_to_string(b.path("sub/mine"))?, "of b");
        for way in ["x.txt", "x.rules~", "private/x.rules", "maps/x.tmp"] {
            assert_eq!(fs::read_to_string(a.path(way))?, format!("{way} of a"), "{way}");
        }
        Ok(())
    });
}
