//! From any thread to the log's own: a tracing layer that writes records into a bounded queue.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use std::{io, thread};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::clock;
use crate::journal::sink::Sink;

/// Records on their way. At a few hundred bytes each this is what a slow log may cost in memory.
const DEPTH: usize = 2048;

/// Longest text of one record: syslog daemons cut or refuse more.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Wall clock in nanoseconds since 1970.
    pub(super) wall_nanos: u64,
    pub(super) level: Level,
    /// The part of the program that logs.
    pub(super) target: &'static str,
    /// Message and fields.
    pub(super) text: String,
}

enum Order {
    Write(Record),
    Flush(SyncSender<()>),
}

/// The sending side of the log.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    orders: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    /// Starts the thread that writes.
    pub(super) fn spawn(sink: Sink) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(DEPTH);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        thread::Builder::new().name("journal".to_owned()).spawn(move || write_all(sink, &inbox, &counted))?;
        Ok(Self { orders, lost })
    }

    pub(super) fn layer(&self) -> QueueLayer {
        QueueLayer(self.clone())
    }

    pub(super) fn flush(&self, within: Duration) {
        let (done, wait) = sync_channel(1);
        if self.orders.try_send(Order::Flush(done)).is_ok() {
            // A log that does not answer in time is given up.
            let _ = wait.recv_timeout(within);
        }
    }

    fn offer(&self, record: Record) {
        if self.orders.try_send(Order::Write(record)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(mut sink: Sink, inbox: &Receiver<Order>, lost: &AtomicU64) {
    while let Ok(order) = inbox.recv() {
        let written = match order {
            Order::Write(record) => sink.write(&record),
            Order::Flush(done) => {
                let _ = done.try_send(());
                continue;
            }
        };
        if !written {
            lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let count = lost.swap(0, Ordering::Relaxed);
        let text = format!("{count} log records were lost: the log was away or too slow for them");
        let report = Record { wall_nanos: clock::wall_nanos(), level: Level::WARN, target: "avamgr::journal", text };
        if count > 0 && !sink.write(&report) {
            lost.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// The layer of tracing that fills the queue.
pub(super) struct QueueLayer(Queue);

impl<S: Subscriber> Layer<S> for QueueLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        let wall_nanos = clock::wall_nanos();
        self.0.offer(Record { wall_nanos, level: *metadata.level(), target: metadata.target(), text: text.finish() });
    }
}

/// Message first, then the fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(mut self) -> String {
        self.message.push_str(&self.fields);
        // A line break inside would make two lines of one in most logs.
        let mut text = escaped(&self.message.replace('\n', "; "));
        if text.len() > TEXT_BYTES_MAX {
            let cut = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(cut);
            text.push_str(" ...");
        }
        text
    }
}

/// Names and other programs' words are in many texts; they must not steer the terminal of whoever reads the log.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\t' {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            let _ = write!(self.fields, " {}={value}", field.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{TryRecvError, sync_channel};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn queue(depth: usize) -> (Queue, Receiver<Order>) {
        let (orders, inbox) = sync_channel(depth);
        (Queue { orders, lost: Arc::default() }, inbox)
    }

    fn record(inbox: &Receiver<Order>) -> Record {
        match inbox.try_recv().unwrap() {
            Order::Write(record) => record,
            Order::Flush(_) => panic!("a flush"),
        }
    }

    #[test]
    fn a_record_is_one_line_with_its_fields() {
        let (queue, inbox) = queue(8);
        let subscriber = tracing_subscriber::registry().with(queue.layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "avamgr::links", link = "primary", count = 3, "refused\ndatagrams");
        });
        let record = record(&inbox);
        assert_eq!((record.level, record.target), (Level::WARN, "avamgr::links"));
        assert_eq!(record.text, "refused; datagrams link=primary count=3");
    }

    #[test]
    fn a_full_queue_loses_and_counts_and_never_waits() {
        let (queue, inbox) = queue(1);
        let subscriber = tracing_subscriber::registry().with(queue.layer());
        tracing::subscriber::with_default(subscriber, || (0..5).for_each(|n| tracing::info!("line {n}")));
        assert_eq!(queue.lost.load(Ordering::Relaxed), 4);
        assert_eq!(record(&inbox).text, "line 0");
        assert!(matches!(inbox.try_recv(), Err(TryRecvError::Empty)));
    }

    #[test]
    fn control_characters_are_shown_and_not_sent() {
        let text = Text { message: "a\u{1b}[2Jb\r\n\u{9b}c\td".to_owned(), fields: String::new() }.finish();
        assert_eq!(text, "a\\u{1b}[2Jb\\r; \\u{9b}c\td");
    }

    #[test]
    fn an_endless_text_is_cut_between_characters() {
        let text = Text { message: "ä".repeat(TEXT_BYTES_MAX), fields: String::new() }.finish();
        assert!(text.len() <= TEXT_BYTES_MAX + 4 && text.ends_with("ä ..."));
    }
}
