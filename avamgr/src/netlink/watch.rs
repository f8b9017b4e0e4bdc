//! What happens to one interface: link state as it changes, addresses and ranges that go away.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use avamgr_core::config::IpNet;
use netlink_packet_route::link::LinkHeader;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use socket2::{SockFilter, SockRef};

use super::message::{attributes, split};
use super::transport::enlarge_receive_buffer;
use super::{Error, Interface, Netlink, PROTOCOL};

const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const DEL_ADDRESS: u16 = 21;
const DEL_ROUTE: u16 = 25;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_OIF: u16 = 4;
/// Lengths of the fixed parts of the messages.
const ADDRESS_HEADER_LEN: usize = 8;
pub(super) const ROUTE_HEADER_LEN: usize = 12;
const INBOX_BYTES: usize = 32 << 10;
/// Multicast groups (`rtnetlink.h`).
const GROUP_LINK: u32 = 1;
const GROUPS_ADDRESS: [u32; 2] = [5, 9];
const GROUPS_ROUTE: [u32; 2] = [7, 11];

/// How much a watcher listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Link state.
    Link,
    /// Link state, and addresses and routes of ours that go away.
    Everything,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The interface is like this now; `None` = it does not exist. Only said when something about it is different.
    Link(Option<Interface>),
    /// This address is not on it any more.
    AddressRemoved(IpAddr),
    /// This route with our mark is not there any more.
    RouteRemoved(IpNet),
    /// Events were lost: anything may have happened to the addresses. (The link was looked up again; a change of it comes
    /// by itself.)
    Missed,
}

/// Listens to the kernel about one interface, by its name or one of its alternative names: it may go away and come back
/// with another number.
pub struct Watcher {
    name: String,
    scope: Scope,
    socket: TokioSocket,
    requests: Netlink,
    inbox: Vec<u8>,
    link: Option<Interface>,
    /// Events were lost: look the interface up, and say so.
    stale: bool,
    /// The last news may be about the interface of this name or not: look it up.
    unsure: bool,
    /// What is to be said next.
    said: Option<Change>,
}

impl Watcher {
    /// Begins to listen, then looks the interface up: nothing that happens from here on is missed.
    pub async fn open(name: &str, scope: Scope) -> Result<Self, Error> {
        let failed = |action| move |source| Error::Socket { action, source };
        let mut socket = TokioSocket::new(NETLINK_ROUTE).map_err(failed("open"))?;
        socket.socket_mut().bind_auto().map_err(failed("bind"))?;
        enlarge_receive_buffer(socket.socket_ref()).map_err(failed("enlarge the receive buffer"))?;
        let mut watcher = Self {
            name: name.to_owned(),
            scope,
            socket,
            requests: Netlink::open()?,
            inbox: vec![0; INBOX_BYTES],
            link: None,
            stale: false,
            unsure: false,
            said: None,
        };
        watcher.focus(None)?;
        watcher.join(GROUP_LINK)?;
        if scope == Scope::Everything {
            for group in GROUPS_ADDRESS.into_iter().chain(GROUPS_ROUTE) {
                watcher.join(group)?;
            }
        }
        watcher.link = watcher.requests.interface(name).await?;
        watcher.focus(watcher.link.as_ref().map(|link| link.index))?;
        Ok(watcher)
    }

    /// The interface as it was when the last change was said.
    pub fn link(&self) -> Option<&Interface> {
        self.link.as_ref()
    }

    /// Waits for the next change. May be dropped while it waits; nothing is lost.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            if let Some(change) = self.said.take() {
                return Ok(change);
            }
            if self.stale || self.unsure {
                self.look_up().await?;
                self.unsure = false;
                if std::mem::take(&mut self.stale) {
                    return Ok(Change::Missed);
                }
                continue;
            }
            let mut room = self.inbox.as_mut_slice();
            match self.socket.recv(&mut room).await {
                Err(source) if source.raw_os_error() == Some(libc::ENOBUFS) => self.stale = true,
                Err(source) => return Err(Error::Socket { action: "listen", source }),
                Ok(()) => {
                    let left = room.len();
                    let length = self.inbox.len() - left;
                    self.said = self.understand(length)?;
                }
            }
        }
    }

    async fn look_up(&mut self) -> Result<(), Error> {
        let link = self.requests.interface(&self.name).await?;
        self.said = self.became(link);
        self.focus(self.link.as_ref().map(|link| link.index))
    }

    /// Reads what has already happened, without waiting, and forgets it but for the state of the link.
    pub async fn catch_up(&mut self) -> Result<(), Error> {
        self.read_all()?;
        if self.unsure {
            self.look_up().await?;
            self.unsure = false;
        }
        self.said = None;
        Ok(())
    }

    fn read_all(&mut self) -> Result<(), Error> {
        loop {
            let mut room = self.inbox.as_mut_slice();
            // Past the runtime: it may not have heard yet that there is something to read.
            match self.socket.socket_ref().recv(&mut room, libc::MSG_DONTWAIT) {
                Err(source) if source.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) if source.raw_os_error() == Some(libc::ENOBUFS) => self.stale = true,
                Err(source) => return Err(Error::Socket { action: "listen", source }),
                Ok(length) => drop(self.understand(length)?),
            }
        }
    }

    /// The kernel sends one event at a time.
    fn understand(&mut self, length: usize) -> Result<Option<Change>, Error> {
        let Some(event) = split(self.inbox.get(..length).unwrap_or_default()).next() else { return Ok(None) };
        let index = self.link.as_ref().map(|link| link.index);
        match event.kind {
            NEW_LINK | DEL_LINK => {
                match link_news(event.kind, event.payload, &self.name, index) {
                    LinkNews::Ours(link) => {
                        let change = self.became(link);
                        self.focus(self.link.as_ref().map(|link| link.index))?;
                        return Ok(change);
                    }
                    LinkNews::Unsure => self.unsure = true,
                    LinkNews::Others => {}
                }
                Ok(None)
            }
            DEL_ADDRESS => Ok(removed_address(event.payload).map(Change::AddressRemoved)),
            DEL_ROUTE => Ok(removed_route(event.payload, index).map(Change::RouteRemoved)),
            _ => Ok(None),
        }
    }

    fn became(&mut self, link: Option<Interface>) -> Option<Change> {
        if link == self.link {
            return None;
        }
        self.link.clone_from(&link);
        Some(Change::Link(link))
    }

    fn join(&self, group: u32) -> Result<(), Error> {
        let joined = self.socket.socket_ref().add_membership(group);
        joined.map_err(|source| Error::Socket { action: "listen to link and address events", source })
    }

    /// Lets the kernel drop what does not concern us: thousands of addresses put on by us or others would wake us for nothing.
    fn focus(&self, index: Option<u32>) -> Result<(), Error> {
        let filter = filter(self.scope, index);
        let attached = SockRef::from(self.socket.socket_ref()).attach_filter(&filter);
        attached.map_err(|source| Error::Socket { action: "attach a filter", source })
    }
}

/// What an event says about our interface.
#[derive(Debug, PartialEq, Eq)]
enum LinkNews {
    /// It is like this now; `None` = deleted.
    Ours(Option<Interface>),
    /// It has another name, or the config has one of its other names: only a look tells.
    Unsure,
    Others,
}

fn link_news(kind: u16, payload: &[u8], name: &str, index: Option<u32>) -> LinkNews {
    let Ok(header) = LinkHeader::parse(payload) else { return LinkNews::Others };
    // Bridges report their ports under the numbers of the interfaces; that is not about the interface itself.
    if u8::from(header.interface_family) != 0 {
        return LinkNews::Others;
    }
    let is_index = Some(header.index) == index;
    if kind != NEW_LINK {
        return if is_index { LinkNews::Ours(None) } else { LinkNews::Others };
    }
    let link = Interface::parse(payload);
    if link.as_ref().is_some_and(|link| link.name == name) {
        return LinkNews::Ours(link);
    }
    // While ours is missing, any other may have been given its name as an alternative one.
    if is_index || index.is_none() { LinkNews::Unsure } else { LinkNews::Others }
}

fn removed_address(payload: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for (kind, value) in attributes(payload.get(ADDRESS_HEADER_LEN..)?) {
        // The local one is the address of this end where there are two.
        if kind == IFA_LOCAL || (kind == IFA_ADDRESS && found.is_none()) {
            found = ip(value);
        }
    }
    found
}

fn removed_route(payload: &[u8], index: Option<u32>) -> Option<IpNet> {
    let (mut destination, mut interface) = (None, None);
    for (kind, value) in attributes(payload.get(ROUTE_HEADER_LEN..)?) {
        match kind {
            RTA_DST => destination = ip(value),
            RTA_OIF => interface = value.try_into().ok().map(u32::from_ne_bytes),
            _ => {}
        }
    }
    let net = IpNet { address: destination?, prefix: *payload.get(1)? };
    (interface.is_some() && interface == index).then_some(net)
}

pub(super) fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    <[u8; 16]>::try_from(value).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
}

/// A program for the kernel: links always, removed addresses of our interface, removed routes with our mark.
fn filter(scope: Scope, index: Option<u32>) -> Vec<SockFilter> {
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_WORD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALL: u32 = u32::MAX;
    /// Offsets into the message: the type; the interface of an address; the protocol of a route.
    const TYPE: u32 = 4;
    const ADDRESS_INDEX: u32 = 20;
    const ROUTE_PROTOCOL: u32 = 21;
    // Loads are big-endian, the messages are in the machine's own order.
    let kind = |kind: u16| u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
    let everything = scope == Scope::Everything;
    // No interface has the number 0.
    let index = u32::from_be_bytes(index.unwrap_or(0).to_ne_bytes());
    vec![
        SockFilter::new(LOAD_HALF, 0, 0, TYPE),
        SockFilter::new(JUMP_EQUAL, 8, 0, kind(NEW_LINK)),
        SockFilter::new(JUMP_EQUAL, 7, 0, kind(DEL_LINK)),
        SockFilter::new(JUMP_EQUAL, 0, 2, kind(if everything { DEL_ADDRESS } else { NEW_LINK })),
        SockFilter::new(LOAD_WORD, 0, 0, ADDRESS_INDEX),
        SockFilter::new(JUMP_EQUAL, 4, 3, index),
        SockFilter::new(JUMP_EQUAL, 0, 2, kind(if everything { DEL_ROUTE } else { NEW_LINK })),
        SockFilter::new(LOAD_BYTE, 0, 0, ROUTE_PROTOCOL),
        SockFilter::new(JUMP_EQUAL, 1, 0, u32::from(PROTOCOL)),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, ALL),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), index in any::<Option<u32>>()) {
            let _ = link_news(NEW_LINK, &bytes, "eth0", index);
            let _ = link_news(DEL_LINK, &bytes, "eth0", index);
            let _ = removed_address(&bytes);
            let _ = removed_route(&bytes, index);
        }
    }
}
