//! Where the lines end: stderr, journald, or a syslog daemon. Only the log's own thread comes here.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::{Dispatch, Level};
use tracing_subscriber::layer::SubscriberExt;

use crate::journal::queue::Record;
use crate::journal::{ALARM, JournalError, Target};

/// The local syslog daemon.
const DEV_LOG: &str = "/dev/log";

/// Facility `daemon` of RFC 5424, in its place in the priority.
const FACILITY: u8 = 3 << 3;

/// An open end of the log.
pub(super) enum Sink {
    Stderr,
    Journald(Dispatch),
    Syslog(Syslog),
}

impl Sink {
    pub(super) fn open(target: Target, program: &'static str) -> Result<Self, JournalError> {
        let syslog = |form| Self::Syslog(Syslog::new(Path::new(DEV_LOG), form, program));
        Ok(match target {
            Target::Stderr => Self::Stderr,
            Target::Syslog => syslog(Form::Rfc5424),
            Target::SyslogBsd => syslog(Form::Bsd),
            Target::Journald => {
                let layer = tracing_journald::layer().map_err(JournalError::Journald)?;
                let layer = layer.with_syslog_identifier(program.to_owned());
                Self::Journald(Dispatch::new(tracing_subscriber::registry().with(layer)))
            }
        })
    }

    /// Writes a line; `false` = it is lost. There is no second log to complain to, so losses are only counted.
    pub(super) fn write(&mut self, record: &Record) -> bool {
        match self {
            Self::Stderr => {
                let line = format!("{} {:<5} {}: {}\n", time(record), record.level, record.target, record.text);
                io::stderr().lock().write_all(line.as_bytes()).is_ok()
            }
            Self::Journald(dispatch) => {
                // The library keeps its errors to itself.
                tracing::dispatcher::with_default(dispatch, || say_again(record));
                true
            }
            Self::Syslog(syslog) => syslog.send(record),
        }
    }
}

/// The record as an event for the journald layer, which this thread alone has; levels must be constants.
fn say_again(record: &Record) {
    macro_rules! say {
        ($level:expr) => {
            tracing::event!(target: "avamgr", $level, source = record.target, "{}", record.text)
        };
    }
    match record.level {
        Level::ERROR => say!(Level::ERROR),
        Level::WARN => say!(Level::WARN),
        Level::INFO => say!(Level::INFO),
        Level::DEBUG => say!(Level::DEBUG),
        Level::TRACE => say!(Level::TRACE),
    }
}

/// The two forms in which syslog daemons read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Rfc5424,
    Bsd,
}

/// A syslog daemon behind a datagram socket.
pub(super) struct Syslog {
    path: PathBuf,
    form: Form,
    program: &'static str,
    host: String,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    pub(super) fn new(path: &Path, form: Form, program: &'static str) -> Self {
        let host = hostname::get().map_or_else(|_| "-".to_owned(), |host| host.to_string_lossy().into_owned());
        Self { path: path.to_owned(), form, program, host, socket: None }
    }

    /// Sends a record; connects again once when the daemon was restarted.
    fn send(&mut self, record: &Record) -> bool {
        let message = self.message(record);
        for _ in 0..2 {
            let socket = self.socket.take().map_or_else(|| connect(&self.path), Ok);
            let Ok(socket) = socket else { return false };
            match socket.send(message.as_bytes()) {
                Ok(_) => {
                    self.socket = Some(socket);
                    return true;
                }
                // It is there but takes nothing: this record is lost, the socket is good.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket = Some(socket);
                    return false;
                }
                Err(_) => {}
            }
        }
        false
    }

    fn message(&self, record: &Record) -> String {
        let (priority, pid) = (FACILITY | severity(record), std::process::id());
        let mut message = String::with_capacity(record.text.len() + 96);
        // Writing to a string cannot fail.
        let _ = match self.form {
            Form::Rfc5424 => write!(
                message,
                "<{priority}>1 {} {} {} {pid} {} - {}",
                time(record),
                self.host,
                self.program,
                name(record),
                record.text
            ),
            Form::Bsd => {
                write!(message, "<{priority}>{} {}[{pid}]: {}", bsd_time(record), self.program, record.text)
            }
        };
        message
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    // A syslog daemon that has stopped reading must not stop us.
    socket.set_write_timeout(Some(std::time::Duration::from_millis(100)))?;
    Ok(socket)
}

/// Severity of RFC 5424: an alarm is critical, so that a filter can tell it from an error of the program.
fn severity(record: &Record) -> u8 {
    match record.level {
        Level::ERROR if record.target == ALARM => 2,
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// The message id: the part of the program, in the characters and length the RFC allows.
fn name(record: &Record) -> String {
    record.target.chars().filter(char::is_ascii_graphic).take(32).collect()
}

/// RFC 3339 in UTC with milliseconds.
fn time(record: &Record) -> String {
    format!("{:.3}", timestamp(record))
}

/// `Mar  1 03:12:45`. In UTC: the older form has no place for a zone.
fn bsd_time(record: &Record) -> String {
    timestamp(record).strftime("%b %e %H:%M:%S").to_string()
}

fn timestamp(record: &Record) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(record.wall_nanos)).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WALL_NANOS: u64 = 1_772_334_765_123_000_000;

    fn record(level: Level, target: &'static str) -> Record {
        Record { wall_nanos: WALL_NANOS, level, target, text: "dre: STANDBY -> ACTIVE".to_owned() }
    }

    fn syslog(path: &Path, form: Form) -> Syslog {
        let mut syslog = Syslog::new(path, form, "avamgrd");
        syslog.host = "hadev1".to_owned();
        syslog
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 2048];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn both_forms_of_syslog_arrive_as_their_rfc_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let pid = std::process::id();
        assert!(syslog(&path, Form::Rfc5424).send(&record(Level::ERROR, ALARM)));
        let expected = format!("<26>1 2026-03-01T03:12:45.123Z hadev1 avamgrd {pid} alarm - dre: STANDBY -> ACTIVE");
        assert_eq!(received(&daemon), expected);
        assert!(syslog(&path, Form::Bsd).send(&record(Level::INFO, "event")));
        assert_eq!(received(&daemon), format!("<30>Mar  1 03:12:45 avamgrd[{pid}]: dre: STANDBY -> ACTIVE"));
    }

    #[test]
    fn severities_are_told_apart() {
        let told = |level, target| severity(&record(level, target));
        assert_eq!(told(Level::ERROR, ALARM), 2);
        assert_eq!(told(Level::ERROR, "avamgr"), 3);
        assert_eq!(told(Level::WARN, "event"), 4);
        assert_eq!(told(Level::INFO, "event"), 6);
        assert_eq!(told(Level::DEBUG, "event"), 7);
    }

    #[test]
    fn a_syslog_daemon_that_comes_back_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut syslog = syslog(&path, Form::Rfc5424);
        assert!(!syslog.send(&record(Level::INFO, "lost")));
        let first = UnixDatagram::bind(&path).unwrap();
        assert!(syslog.send(&record(Level::INFO, "first")));
        assert!(received(&first).contains("first"));
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        assert!(syslog.send(&record(Level::INFO, "second")));
        assert!(received(&second).contains("second"));
    }

    #[test]
    fn a_syslog_daemon_that_reads_nothing_costs_records_and_little_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut syslog = syslog(&path, Form::Rfc5424);
        // Until its queue is full; then one more.
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.send_to(b"x", &path).is_ok() {}
        let begun = crate::clock::now();
        assert!(!syslog.send(&record(Level::INFO, "late")));
        assert!(crate::clock::now().since(begun) < Duration::from_secs(1));
        drop(daemon);
    }
}
