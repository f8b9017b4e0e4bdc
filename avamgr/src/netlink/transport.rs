//! Batches of requests and their answers over one socket.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NetlinkSerializable};
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::time::timeout;

use super::message::{Meaning, append, split};
use super::{Error, Outcome, Refusal};
use crate::clock;

/// The kernel carries a request out while it is sent, so its answer is there when the send returns. What takes longer
/// than this is not coming.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(2);
/// The kernel works on a batch in our thread: this is how long the other tasks of the thread should have to wait.
pub(super) const SEND_TARGET: Duration = Duration::from_millis(4);
/// Holds the answers to thousands of refused requests, or a burst of thousands of events.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// The kernel fills at most 32 KiB into one part of a dump.
const INBOX_BYTES: usize = 64 << 10;
/// How often a dump that changed while it was read is read again.
const DUMP_TRIES: u32 = 8;

pub(super) struct Transport {
    socket: TokioSocket,
    sequence: u32,
    inbox: Vec<u8>,
    pace: Pace,
}

impl Transport {
    /// A socket to one of the tables of the kernel (`NETLINK_ROUTE`, ...).
    pub(super) fn open(protocol: isize) -> Result<Self, Error> {
        let failed = |action| move |source| Error::Socket { action, source };
        let mut socket = TokioSocket::new(protocol).map_err(failed("open"))?;
        socket.socket_mut().bind_auto().map_err(failed("bind"))?;
        enlarge_receive_buffer(socket.socket_ref()).map_err(failed("enlarge the receive buffer"))?;
        let plain = socket.socket_ref();
        plain.connect(&SocketAddr::new(0, 0)).map_err(failed("connect to the kernel"))?;
        // Errors without the refused request in them, and with the kernel's words. Kernels before 4.12 have neither;
        // before 4.20 dumps are not filtered, and we filter them ourselves.
        let _ = plain.set_cap_ack(true);
        let _ = plain.set_ext_ack(true);
        let _ = plain.set_netlink_get_strict_chk(true);
        Ok(Self { socket, sequence: 0, inbox: vec![0; INBOX_BYTES], pace: Pace::default() })
    }

    pub(super) fn chunk(&self) -> usize {
        self.pace.size
    }

    /// Sends a request for each of `items`, in batches; the outcome of each stands at its place.
    pub(super) async fn exchange<T: Sync, R: NetlinkSerializable + Send>(
        &mut self,
        what: &'static str,
        flags: u16,
        items: &[T],
        request: impl Fn(&T) -> R + Send,
    ) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::with_capacity(items.len());
        let mut left = items;
        while !left.is_empty() {
            if !outcomes.is_empty() {
                tokio::task::yield_now().await;
            }
            let (batch, rest) = left.split_at(left.len().min(self.pace.size));
            let batch: Vec<_> = batch.iter().map(&request).collect();
            outcomes.extend(self.batch(what, flags, batch).await?);
            left = rest;
        }
        Ok(outcomes)
    }

    async fn batch(
        &mut self,
        what: &'static str,
        flags: u16,
        batch: Vec<impl NetlinkSerializable + Send>,
    ) -> Result<Vec<Outcome>, Error> {
        let count = batch.len();
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(count * 96);
        for (index, request) in batch.into_iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            append(&mut bytes, request, flags, self.sequence, index + 1 == count);
        }
        let before = clock::now();
        self.send(what, &bytes).await?;
        self.pace.learn(count, clock::now().since(before));
        let mut outcomes = vec![Ok(()); count];
        let mut complete = false;
        while !complete {
            let length = self.receive(what).await?;
            for message in split(self.inbox.get(..length).unwrap_or_default()) {
                let index = usize::try_from(message.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                // Anything else is the late answer to an earlier batch that was given up.
                if let (Some(outcome), Meaning::Result(result)) = (outcomes.get_mut(index), message.meaning()) {
                    *outcome = result;
                    complete |= index + 1 == count;
                }
            }
        }
        Ok(outcomes)
    }

    /// Hands the objects one request asks for to `each`, with their type; ends without any where the kernel has none.
    pub(super) async fn ask(
        &mut self,
        what: &'static str,
        request: impl NetlinkSerializable + Send,
        mut each: impl FnMut(u16, &[u8]) + Send,
    ) -> Result<Outcome, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        append(&mut bytes, request, 0, self.sequence, true);
        self.send(what, &bytes).await?;
        loop {
            let length = self.receive(what).await?;
            for message in split(self.inbox.get(..length).unwrap_or_default()) {
                if message.sequence != self.sequence {
                    continue;
                }
                match message.meaning() {
                    Meaning::Result(result) | Meaning::Done(result) => return Ok(result),
                    Meaning::Object => each(message.kind, message.payload),
                }
            }
        }
    }

    /// Reads a whole table and returns what `pick` makes of its objects.
    pub(super) async fn dump<T: Send>(
        &mut self,
        what: &'static str,
        request: impl NetlinkSerializable + Clone + Send,
        mut pick: impl FnMut(u16, &[u8]) -> Option<T> + Send,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..DUMP_TRIES {
            match self.dump_once(what, request.clone(), &mut pick).await? {
                Dump::Whole(objects) => return Ok(objects),
                Dump::Torn => tokio::task::yield_now().await,
                Dump::Refused(refusal) if refusal.errno == Errno::EBUSY => self.drain(what).await?,
                Dump::Refused(refusal) => return Err(Error::Refused { what, refusal }),
            }
        }
        Err(Error::Restless { what, tries: DUMP_TRIES })
    }

    async fn dump_once<T: Send>(
        &mut self,
        what: &'static str,
        request: impl NetlinkSerializable + Send,
        pick: &mut (impl FnMut(u16, &[u8]) -> Option<T> + Send),
    ) -> Result<Dump<T>, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        append(&mut bytes, request, NLM_F_DUMP, self.sequence, false);
        self.send(what, &bytes).await?;
        let mut objects = Vec::new();
        let mut torn = false;
        loop {
            let length = self.receive(what).await?;
            for message in split(self.inbox.get(..length).unwrap_or_default()) {
                if message.sequence != self.sequence {
                    continue;
                }
                torn |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.meaning() {
                    Meaning::Object => objects.extend(pick(message.kind, message.payload)),
                    Meaning::Result(Err(refusal)) | Meaning::Done(Err(refusal)) => return Ok(Dump::Refused(refusal)),
                    Meaning::Result(Ok(())) | Meaning::Done(Ok(())) => {
                        return Ok(if torn { Dump::Torn } else { Dump::Whole(objects) });
                    }
                }
            }
        }
    }

    /// Reads an earlier dump that nobody waits for any more to its end: until then the kernel begins no other.
    async fn drain(&mut self, what: &'static str) -> Result<(), Error> {
        loop {
            let length = self.receive(what).await?;
            let inbox = self.inbox.get(..length).unwrap_or_default();
            if split(inbox).any(|message| matches!(message.meaning(), Meaning::Done(_))) {
                return Ok(());
            }
        }
    }

    async fn send(&mut self, what: &'static str, bytes: &[u8]) -> Result<(), Error> {
        match timeout(ANSWER_TIME, self.socket.send(bytes)).await {
            Err(_elapsed) => Err(Error::Silent { what }),
            Ok(Err(source)) => Err(Error::Socket { action: "send", source }),
            Ok(Ok(_length)) => Ok(()),
        }
    }

    async fn receive(&mut self, what: &'static str) -> Result<usize, Error> {
        let mut room = self.inbox.as_mut_slice();
        match timeout(ANSWER_TIME, self.socket.recv(&mut room)).await {
            Err(_elapsed) => Err(Error::Silent { what }),
            Ok(Err(source)) if source.raw_os_error() == Some(libc::ENOBUFS) => Err(Error::Overrun { what }),
            Ok(Err(source)) => Err(Error::Socket { action: "receive", source }),
            Ok(Ok(())) => {
                let left = room.len();
                Ok(self.inbox.len() - left)
            }
        }
    }
}

enum Dump<T> {
    Whole(Vec<T>),
    /// The table changed while it was read: something may be missing.
    Torn,
    Refused(Refusal),
}

/// As large as the system lets us: a process without the right to go beyond `net.core.rmem_max` takes that.
pub(super) fn enlarge_receive_buffer(socket: &impl AsFd) -> io::Result<()> {
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_ok() {
        return Ok(());
    }
    Ok(setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES)?)
}

/// Cuts batches to what the kernel does in [`SEND_TARGET`]. The cost of one request varies a thousandfold: an IPv4
/// address takes 40 µs, an IPv6 address on an interface with thousands of them milliseconds.
struct Pace {
    size: usize,
}

impl Default for Pace {
    fn default() -> Self {
        // 64 additions of IPv4 addresses take about 3 ms.
        Self { size: 64 }
    }
}

impl Pace {
    const MIN: usize = 1;
    /// Larger batches gain nothing more.
    const MAX: usize = 128;

    fn learn(&mut self, sent: usize, took: Duration) {
        let each = took.as_nanos() / u128::try_from(sent.max(1)).unwrap_or(u128::MAX);
        let fits = usize::try_from(SEND_TARGET.as_nanos() / each.max(1)).unwrap_or(usize::MAX);
        // Slowly up and quickly down: one batch that was interrupted by something else must not cost more than one batch.
        self.size = fits.min(self.size.saturating_mul(2)).clamp(Self::MIN, Self::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_at_once_and_grow_by_doubling() {
        let mut pace = Pace::default();
        pace.learn(64, Duration::from_millis(128));
        assert_eq!(pace.size, 2);
        pace.learn(2, Duration::from_micros(20));
        assert_eq!(pace.size, 4);
        pace.learn(4, Duration::from_secs(1));
        assert_eq!(pace.size, 1);
        for _ in 0..20 {
            pace.learn(pace.size, Duration::ZERO);
        }
        assert_eq!(pace.size, Pace::MAX);
    }
}
