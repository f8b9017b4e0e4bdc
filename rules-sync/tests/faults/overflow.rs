//! More happens than the kernel can tell.

use std::fs;
use std::io::Write as _;

use avamgr::clock;
use avamgr_lab::story;

use crate::bed::Setup;
use crate::node::SOON;

const FILES: u64 = 300;

#[test]
fn what_nobody_could_hear_of_is_found() {
    story(|| {
        let bed = Setup { alone: true, ..Setup::default() }.start();
        let a = &bed.nodes[0];
        for directory in 0..10 {
            fs::create_dir(a.path(format!("d{directory}"))).unwrap();
        }
        let way = |number: u64| format!("d{}/r{number}", number % 10);
        for number in 0..FILES {
            bed.write(0, way(number), format!("before {number}"));
        }
        bed.wait_settled(SOON);
        let queue: u64 = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")?.trim().parse()?;
        let wanted = (queue + 1_000).max(30_000);
        let process = a.process();
        process.stop()?;
        let begin = clock::now();
        // Each writing is at least two events: it is changed, and closed.
        for number in 0..wanted / 2 {
            // Nothing is cut off first: the file system would bring that to the disk each time.
            let mut file = fs::File::options().write(true).open(a.path(way(number % FILES)))?;
            file.write_all(format!("in between {number}").as_bytes())?;
        }
        println!("{wanted} events in {:?}", clock::now().since(begin));
        // None of these is heard.
        for number in 0..FILES {
            match number % 3 {
                0 => bed.write(0, way(number), format!("after {number}")),
                1 => a.remove(way(number)),
                _ => bed.write(0, way(number), format!("last {number}")),
            }
        }
        fs::create_dir_all(a.path("new/deep")).unwrap();
        bed.write(0, "new/deep/rule", "in a directory that nobody watches");
        fs::remove_dir_all(a.path("d9")).unwrap();
        for number in (0..FILES).filter(|number| number % 10 == 9) {
            for word in ["after", "last"] {
                bed.ledger.excuse(format!("{word} {number}").as_bytes());
            }
        }
        process.cont()?;
        let took = bed.wait_identical(SOON);
        println!("identical {took:?} after it goes on");
        a.wait_notice("more happened than the kernel can tell");
        // What is made afterwards in what was never heard of is heard of.
        bed.write(0, "new/deep/rule", "edited in a directory that nobody watched");
        bed.nodes[1].wait_holds("new/deep/rule", b"edited in a directory that nobody watched");
        assert_eq!(bed.finish(SOON).len(), 0);
        Ok(())
    });
}
