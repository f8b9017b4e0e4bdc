use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;

use super::*;
use crate::journal::service::Pulse;

/// A device of a driver that grants what it likes.
#[derive(Clone)]
struct Fake {
    options: u32,
    settable: bool,
    timeout: Arc<AtomicI32>,
    /// Added to what is asked for.
    rounds_up: i32,
    written: Arc<Mutex<Vec<u8>>>,
    broken: Arc<AtomicBool>,
}

impl Fake {
    fn new() -> Self {
        Self {
            options: CAN_DISARM,
            settable: true,
            timeout: Arc::new(AtomicI32::new(60)),
            rounds_up: 0,
            written: Arc::default(),
            broken: Arc::default(),
        }
    }

    fn arm(&self, seconds: u64) -> Result<Watchdog<Self>, String> {
        Watchdog::arm(self.clone(), Path::new("/dev/w"), Duration::from_secs(seconds))
            .map_err(|error| error.to_string())
    }

    fn written(&self) -> Vec<u8> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refused(&self, seconds: u64) -> String {
        self.arm(seconds).map(|watchdog| watchdog.timeout).unwrap_err()
    }
}

impl Device for Fake {
    fn info(&self) -> io::Result<Info> {
        let mut identity = [0; 32];
        identity[..4].copy_from_slice(b"fake");
        Ok(Info { options: self.options, firmware_version: 0, identity })
    }

    fn set_timeout(&self, seconds: i32) -> io::Result<()> {
        if !self.settable {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        self.timeout.store(seconds + self.rounds_up, Ordering::Relaxed);
        Ok(())
    }

    fn timeout(&self) -> io::Result<i32> {
        Ok(self.timeout.load(Ordering::Relaxed))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.written.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn it_is_set_fed_and_stopped_only_when_that_is_meant() {
    let fake = Fake::new();
    let mut watchdog = fake.arm(3).unwrap();
    assert_eq!((watchdog.identity(), watchdog.timeout().as_secs(), watchdog.can_disarm()), ("fake", 3, true));
    watchdog.feed().unwrap();
    assert_eq!(fake.written(), b"\0\0");
    watchdog.disarm().unwrap();
    assert_eq!(fake.written(), b"\0\0V");
    // An end that is not meant: the machine must be reset.
    drop(fake.arm(3).unwrap());
    assert_eq!(fake.written(), b"\0\0V\0");
}

#[test]
fn one_that_waits_longer_than_it_may_is_refused_and_stopped() {
    let fake = Fake { rounds_up: 1, ..Fake::new() };
    let said = fake.refused(3);
    assert!(said.starts_with("watchdog /dev/w (fake): grants 4 s where 3 s was asked for"), "{said}");
    assert_eq!(fake.written(), b"V");
}

#[test]
fn one_that_cannot_be_set_is_good_if_it_is_fast_enough() {
    let fake = Fake { settable: false, ..Fake::new() };
    assert!(fake.refused(59).contains("grants 1 min"), "{}", fake.refused(59));
    assert_eq!(fake.arm(60).unwrap().timeout().as_secs(), 60);
}

#[test]
fn one_that_cannot_be_fed_says_so() {
    let fake = Fake::new();
    let mut watchdog = fake.arm(3).unwrap();
    fake.broken.store(true, Ordering::Relaxed);
    let said = watchdog.feed().unwrap_err().to_string();
    assert!(said.starts_with("watchdog /dev/w: cannot be fed: "), "{said}");
}

#[test]
fn the_kernels_struct_has_its_layout_and_the_calls_their_numbers() {
    assert_eq!(size_of::<Info>(), 40);
    // As in linux/watchdog.h on a machine where reading is 2 and writing 1.
    assert_eq!(nix::request_code_read!(b'W', 0, size_of::<Info>()), 0x8028_5700);
    assert_eq!(nix::request_code_readwrite!(b'W', 6, size_of::<libc::c_int>()), 0xc004_5706);
    assert_eq!(nix::request_code_read!(b'W', 7, size_of::<libc::c_int>()), 0x8004_5707);
}

#[test]
fn what_is_no_watchdog_is_not_used() {
    let open = |path: &Path| Watchdog::open(path, Duration::from_secs(3)).map(drop).unwrap_err().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "text").unwrap();
    for path in [Path::new("/dev/null"), directory.path(), &file] {
        let expected = format!("watchdog {}: is not a watchdog: correct `device` of [watchdog]", path.display());
        assert_eq!(open(path), expected);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
    assert!(open(Path::new("/nonexistent/watchdog")).contains("softdog"));
}

/// Waits for it on a busy machine.
fn eventually(condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("it never came true");
}

#[test]
fn it_is_fed_while_the_loop_beats_and_stopped_at_an_orderly_end() {
    let (fake, pulse) = (Fake::new(), Pulse::default());
    let keeper = Keeper::start(fake.arm(1).unwrap(), pulse.clone()).unwrap();
    eventually(|| {
        pulse.beat_for_machine();
        fake.written().len() >= 4
    });
    keeper.end().unwrap();
    assert_eq!(fake.written().iter().filter(|byte| **byte == b'V').count(), 1);
    assert_eq!(fake.written().last(), Some(&b'V'));
}

#[test]
fn a_loop_that_hangs_or_gives_up_the_machine_is_not_fed_for() {
    let (fake, pulse) = (Fake::new(), Pulse::default());
    let keeper = Keeper::start(fake.arm(1).unwrap(), pulse.clone()).unwrap();
    for _ in 0..100 {
        pulse.beat();
        sleep(Duration::from_millis(10));
    }
    assert_eq!(fake.written(), b"\0", "nothing since it was armed");
    keeper.end().unwrap();
}

#[test]
fn an_end_that_is_not_meant_stops_the_feeding_and_not_the_watchdog() {
    let (fake, pulse) = (Fake::new(), Pulse::default());
    let keeper = Keeper::start(fake.arm(1).unwrap(), pulse.clone()).unwrap();
    drop(keeper);
    // The thread ends and lets go of the device.
    eventually(|| Arc::strong_count(&fake.written) == 1);
    pulse.beat_for_machine();
    assert!(!fake.written().contains(&b'V'));
}
