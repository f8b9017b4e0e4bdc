//! Netlink messages as bytes: several in one buffer, both ways.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
    NlasIterator,
};
use nix::errno::Errno;

use super::Refusal;

/// Message types of netlink itself.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The refused request was left out of the error message but for its header (`NLM_F_CAPPED`).
const CAPPED: u16 = 0x100;
/// The error message ends with attributes (`NLM_F_ACK_TLVS`).
const EXPLAINED: u16 = 0x200;
/// The attribute that holds the kernel's words (`NLMSGERR_ATTR_MSG`).
const WORDS: u16 = 1;
const HEADER_LEN: usize = 16;

/// One message out of a received buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

/// What an answer means for the request that has its number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The request was carried out (or not).
    Result(Result<(), Refusal>),
    /// A dump is complete (or failed on its way).
    Done(Result<(), Refusal>),
    /// An object of the type in [`Received::kind`].
    Object,
}

/// Appends a request; only one with `acknowledge` is answered when it succeeds.
pub(super) fn append<M: NetlinkSerializable>(
    buffer: &mut Vec<u8>,
    request: M,
    flags: u16,
    sequence: u32,
    acknowledge: bool,
) {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags | if acknowledge { NLM_F_ACK } else { 0 };
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let start = buffer.len();
    // Every message begins at a multiple of four.
    buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
    if let Some(room) = buffer.get_mut(start..) {
        message.serialize(room);
    }
}

/// The messages of a received buffer; ends at the first one that is cut short.
pub(super) fn split(buffer: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        let length = usize::try_from(message.length()).ok()?;
        let received = Received {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            payload: rest.get(HEADER_LEN..length)?,
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(received)
    })
}

impl Received<'_> {
    pub(super) fn meaning(&self) -> Meaning {
        match self.kind {
            ERROR => Meaning::Result(self.result()),
            DONE => Meaning::Done(self.result()),
            _ => Meaning::Object,
        }
    }

    fn result(&self) -> Result<(), Refusal> {
        let code = self.payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
        if code == 0 {
            Ok(())
        } else {
            Err(Refusal { errno: Errno::from_raw(code.saturating_neg()), text: self.words() })
        }
    }

    /// The kernel's words stand behind the code and the refused request.
    fn words(&self) -> Option<String> {
        if self.flags & EXPLAINED == 0 {
            return None;
        }
        let behind_code = self.payload.get(4..)?;
        let request = if self.kind == DONE {
            0
        } else if self.flags & CAPPED != 0 {
            HEADER_LEN
        } else {
            usize::try_from(u32::from_ne_bytes(*behind_code.first_chunk()?)).ok()?.next_multiple_of(4)
        };
        let words = attributes(behind_code.get(request..)?).find(|(kind, _)| *kind == WORDS)?.1;
        text(words)
    }
}

/// Type and value of each attribute; ends at the first one that is cut short.
pub(super) fn attributes(buffer: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(buffer).map_while(Result::ok).map(|attribute| {
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        (kind, attribute.into_inner().get(4..length).unwrap_or_default())
    })
}

/// A string attribute without its final zero.
pub(super) fn text(value: &[u8]) -> Option<String> {
    let value = value.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(value).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::address::AddressMessage;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_appended_is_found_again() {
        let mut buffer = Vec::new();
        append(&mut buffer, RouteNetlinkMessage::NewAddress(AddressMessage::default()), 0x400, 7, false);
        append(&mut buffer, RouteNetlinkMessage::DelAddress(AddressMessage::default()), 0, 8, true);
        let found: Vec<_> = split(&buffer).map(|m| (m.kind, m.flags, m.sequence, m.payload.len())).collect();
        assert_eq!(found, [(20, 0x401, 7, 8), (21, 0x5, 8, 8)]);
    }

    #[test]
    fn a_refusal_carries_the_words_of_the_kernel() {
        let mut payload = (-1i32).to_ne_bytes().to_vec();
        payload.extend([0; HEADER_LEN]);
        payload.extend(8u16.to_ne_bytes());
        payload.extend(WORDS.to_ne_bytes());
        payload.extend(b"no!\0");
        let refused = Received { kind: ERROR, flags: CAPPED | EXPLAINED, sequence: 1, payload: &payload };
        let Meaning::Result(Err(refusal)) = refused.meaning() else { panic!("not a refusal") };
        assert_eq!(refusal.to_string(), "Operation not permitted (no!); the daemon needs CAP_NET_ADMIN");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in split(&bytes) {
                let _ = message.meaning();
                let _ = attributes(message.payload).count();
            }
            for flags in [0, CAPPED, EXPLAINED, CAPPED | EXPLAINED] {
                let _ = Received { kind: ERROR, flags, sequence: 0, payload: &bytes }.meaning();
                let _ = Received { kind: DONE, flags, sequence: 0, payload: &bytes }.meaning();
            }
        }
    }
}
