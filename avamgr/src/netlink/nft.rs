//! nftables without its tool: transactions of [`Message`]s, and the few questions we have.
//!
//! A transaction is one send. The kernel carries it out, all of it or nothing, before the send returns, so the answer is
//! there at once and nothing here waits for it. The send itself waits while somebody else's transaction is being carried
//! out: this is for a thread that may wait.

mod attributes;
mod expression;
mod object;

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

use super::message::{Meaning, Received, append, attributes as attributes_of, split, text};
use super::transport::enlarge_receive_buffer;
use super::{Error, Refusal};
use attributes::Attributes;
pub use expression::{Expression, Field};
use object::{GET_GENERATION, GET_RULE, GET_TABLE, RULE_TABLE, TABLE_NAME, TABLE_USE, begin, end, request};
pub use object::{
    Hook, Key, Message, address_set, addresses, base_chain, delete_element, delete_table, element, rule, table,
    timeout_set,
};

/// Holds a transaction of tens of thousands of elements.
const SEND_BUFFER_BYTES: usize = 8 << 20;
/// The kernel fills at most 32 KiB into one part of a dump.
const INBOX_BYTES: usize = 64 << 10;
/// How often a dump that changed while it was read is read again.
const DUMP_TRIES: u32 = 8;
const GENERATION_ID: u16 = 1;

/// A socket to nftables of the network namespace in which it was opened.
pub struct Nft {
    socket: Socket,
    sequence: u32,
    inbox: Vec<u8>,
}

/// A transaction was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The first message that was refused, counted from zero; a number beyond them = the transaction as a whole.
    pub place: usize,
    /// Why.
    pub refusal: Refusal,
}

impl Nft {
    /// Opens the socket in the network namespace of this thread.
    ///
    /// # Errors
    /// When the kernel has no netfilter or the socket cannot be set up.
    pub fn open() -> Result<Self, Error> {
        let failed = |action| move |source| Error::Socket { action, source };
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed("open"))?;
        socket.bind_auto().map_err(failed("bind"))?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed("connect to the kernel"))?;
        enlarge_receive_buffer(&socket).map_err(failed("enlarge the receive buffer"))?;
        let enlarged = setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER_BYTES);
        enlarged
            .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER_BYTES))
            .map_err(|errno| Error::Socket { action: "enlarge the send buffer", source: io::Error::from(errno) })?;
        // Errors without the refused request in them, and with the kernel's words; old kernels have neither.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        Ok(Self { socket, sequence: 0, inbox: vec![0; INBOX_BYTES] })
    }

    /// Carries out all of a transaction or nothing of it.
    ///
    /// # Errors
    /// When the socket fails or the kernel does not answer; then it is not known whether it was carried out.
    pub fn commit(&mut self, what: &'static str, transaction: Vec<Message>) -> Result<Result<(), Refused>, Error> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        self.append(&mut bytes, begin(), false);
        let count = transaction.len();
        for (place, message) in transaction.into_iter().enumerate() {
            self.append(&mut bytes, message, place + 1 == count);
        }
        let last = self.sequence;
        self.append(&mut bytes, end(), false);
        let mut refused = None;
        let mut complete = false;
        self.exchange(&bytes, |message| {
            // Anything else is an answer to an earlier transaction that was given up.
            if message.sequence.wrapping_sub(first) > last.wrapping_sub(first) {
                return;
            }
            if let Meaning::Result(result) = message.meaning() {
                complete |= message.sequence == last;
                if let Err(refusal) = result {
                    let place = usize::try_from(message.sequence.wrapping_sub(first.wrapping_add(1)));
                    refused.get_or_insert(Refused { place: place.unwrap_or(usize::MAX), refusal });
                }
            }
        })?;
        match refused {
            Some(refused) => Ok(Err(refused)),
            None if complete => Ok(Ok(())),
            None => Err(Error::Silent { what }),
        }
    }

    /// Grows by one with every transaction of anybody in this namespace, and is never zero.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn generation(&mut self) -> Result<u32, Error> {
        let what = "tell the generation of the nftables ruleset";
        let message = request(GET_GENERATION, Attributes::default());
        let found = self.ask(what, message, |message| number(message, GENERATION_ID))?;
        found.flatten().ok_or(Error::Silent { what })
    }

    /// How many chains and sets a table has; `None` = there is no such table.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn table_use(&mut self, table: &str) -> Result<Option<u32>, Error> {
        let message = request(GET_TABLE, Attributes::default().text(TABLE_NAME, table));
        Ok(self.ask("look a table up", message, |message| number(message, TABLE_USE))?.flatten())
    }

    /// How many rules a table has.
    ///
    /// # Errors
    /// When the kernel cannot be asked, or the rules change each time they are read.
    pub fn rules(&mut self, table: &str) -> Result<usize, Error> {
        let what = "list the rules of a table";
        for _ in 0..DUMP_TRIES {
            let (mut count, mut torn, mut done) = (0, false, None);
            let mut bytes = Vec::new();
            self.sequence = self.sequence.wrapping_add(1);
            let question = request(GET_RULE, Attributes::default().text(RULE_TABLE, table));
            append(&mut bytes, question, NLM_F_DUMP, self.sequence, false);
            let sequence = self.sequence;
            self.exchange(&bytes, |message| {
                if message.sequence != sequence {
                    return;
                }
                torn |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.meaning() {
                    Meaning::Object => count += usize::from(name(&message, RULE_TABLE).as_deref() == Some(table)),
                    Meaning::Done(result) | Meaning::Result(result) => done = Some(result),
                }
            })?;
            match done {
                None => return Err(Error::Silent { what }),
                Some(Err(refusal)) if refusal.errno != nix::errno::Errno::ENOENT => {
                    return Err(Error::Refused { what, refusal });
                }
                Some(_) if torn => {}
                Some(_) => return Ok(count),
            }
        }
        Err(Error::Restless { what, tries: DUMP_TRIES })
    }

    /// What `pick` makes of the object that is asked for; `None` = the kernel has none.
    fn ask<T>(
        &mut self,
        what: &'static str,
        message: Message,
        mut pick: impl FnMut(&Received<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, message, true);
        let sequence = self.sequence;
        let (mut found, mut answered) = (None, None);
        self.exchange(&bytes, |message| {
            if message.sequence != sequence {
                return;
            }
            match message.meaning() {
                Meaning::Object => found = Some(pick(&message)),
                Meaning::Done(result) | Meaning::Result(result) => answered = Some(result),
            }
        })?;
        match answered {
            None => Err(Error::Silent { what }),
            Some(Err(refusal)) if refusal.errno != nix::errno::Errno::ENOENT => Err(Error::Refused { what, refusal }),
            Some(_) => Ok(found),
        }
    }

    fn append(&mut self, bytes: &mut Vec<u8>, message: Message, acknowledge: bool) {
        self.sequence = self.sequence.wrapping_add(1);
        let flags = message.flags();
        append(bytes, message, flags, self.sequence, acknowledge);
    }

    /// Sends, and hands over what has come back by then: that is all there will be.
    fn exchange(&mut self, bytes: &[u8], mut each: impl FnMut(Received<'_>)) -> Result<(), Error> {
        let failed = |action| move |source| Error::Socket { action, source };
        self.socket.send(bytes, 0).map_err(failed("send"))?;
        loop {
            let mut room = self.inbox.as_mut_slice();
            match self.socket.recv(&mut room, libc::MSG_DONTWAIT) {
                Err(source) if source.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) => return Err(Error::Socket { action: "receive", source }),
                Ok(length) => split(self.inbox.get(..length).unwrap_or_default()).for_each(&mut each),
            }
        }
    }
}

fn number(message: &Received<'_>, wanted: u16) -> Option<u32> {
    let value = value(message, wanted)?;
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn name(message: &Received<'_>, wanted: u16) -> Option<String> {
    text(value(message, wanted)?)
}

/// An attribute behind the four bytes every message of netfilter begins with.
fn value<'a>(message: &Received<'a>, wanted: u16) -> Option<&'a [u8]> {
    let payload: &'a [u8] = message.payload;
    attributes_of(payload.get(4..)?).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}
