//! Addresses of an interface: put on, kept alive, taken off, listed.

use std::net::IpAddr;
use std::time::Duration;

use avamgr_core::config::IpNet;
#[cfg(test)]
use netlink_packet_core::Emitable;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE, Parseable};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::{Error, Netlink, Outcome, PROTOCOL};

/// The kernel's "for ever".
const FOREVER: u32 = u32::MAX;

/// An address as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assign {
    /// The address and its prefix length.
    pub net: IpNet,
    /// Label, for IPv4 only.
    pub label: Option<String>,
    /// The kernel takes it away after this time unless it is put again; whole seconds.
    pub lifetime: Duration,
}

/// An address as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The address and its prefix length.
    pub net: IpNet,
    /// Who put it there; `None` on kernels that do not say (before 5.18).
    pub protocol: Option<u8>,
    /// Seconds it has left; `None` = for ever.
    pub seconds_left: Option<u32>,
    flags: AddressFlags,
    message: AddressMessage,
}

impl Present {
    /// We put it there, in this run or an earlier one. Where the kernel does not say who did, a limited lifetime is taken
    /// for our mark: hardly anybody else sets one on an address that is in our config.
    pub fn is_ours(&self) -> bool {
        match self.protocol {
            Some(protocol) => protocol == PROTOCOL,
            None => self.seconds_left.is_some(),
        }
    }

    /// Carries our mark, which no kernel before 5.18 gives.
    pub fn is_marked(&self) -> bool {
        self.protocol == Some(PROTOCOL)
    }

    /// Duplicate address detection is not through (and would not end in time).
    pub fn is_tentative(&self) -> bool {
        self.flags.contains(AddressFlags::Tentative) && !self.flags.contains(AddressFlags::Optimistic)
    }

    /// Duplicate address detection found another owner: the kernel does not answer for it.
    pub fn is_refused_as_duplicate(&self) -> bool {
        self.flags.contains(AddressFlags::Dadfailed)
    }

    /// An IPv4 address that goes away with the primary address of its subnet.
    pub fn is_secondary(&self) -> bool {
        self.net.address.is_ipv4() && self.flags.contains(AddressFlags::Secondary)
    }

    /// The number of the interface it is on.
    pub fn index(&self) -> u32 {
        self.message.header.index
    }

    /// An address of any interface.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let message = AddressMessage::parse(payload).ok()?;
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        let (mut local, mut address, mut protocol, mut seconds_left) = (None, None, None, None);
        for attribute in &message.attributes {
            if let AddressAttribute::Local(value) = attribute {
                local = Some(*value);
            } else if let AddressAttribute::Address(value) = attribute {
                address = Some(*value);
            } else if let AddressAttribute::Flags(value) = attribute {
                flags = *value;
            } else if let AddressAttribute::Protocol(value) = attribute {
                protocol = Some(u8::from(*value));
            } else if let AddressAttribute::CacheInfo(info) = attribute {
                seconds_left = (info.ifa_valid != FOREVER).then_some(info.ifa_valid);
            }
        }
        let net = IpNet { address: local.or(address)?, prefix: message.header.prefix_len };
        Some(Self { net, protocol, seconds_left, flags, message })
    }
}

#[cfg(test)]
impl Present {
    /// An address as a dump would show it.
    pub(crate) fn sample(net: IpNet, protocol: Option<u8>, flags: AddressFlags) -> Self {
        let mut message = AddressMessage::default();
        message.header.family = family(net.address);
        message.header.prefix_len = net.prefix;
        message.header.index = 1;
        message.attributes = vec![AddressAttribute::Local(net.address), AddressAttribute::Flags(flags)];
        message.attributes.extend(protocol.map(|number| AddressAttribute::Protocol(number.into())));
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        Self::parse(&bytes).unwrap()
    }
}

impl Netlink {
    /// All addresses of an interface. An interface that does not exist has none.
    pub async fn addresses(&mut self, index: u32) -> Result<Vec<Present>, Error> {
        let mut request = AddressMessage::default();
        request.header.index = index;
        let request = RouteNetlinkMessage::GetAddress(request);
        // Kernels before 4.20 list all of them.
        let pick = |_kind, payload: &[u8]| Present::parse(payload).filter(|present| present.index() == index);
        match self.transport.dump("list the addresses of an interface", request, pick).await {
            Err(Error::Refused { refusal, .. }) if refusal.errno == Errno::ENODEV => Ok(Vec::new()),
            other => other,
        }
    }

    /// All addresses of all interfaces.
    pub async fn addresses_everywhere(&mut self) -> Result<Vec<Present>, Error> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.transport.dump("list all addresses", request, |_kind, payload| Present::parse(payload)).await
    }

    /// Puts addresses on an interface, marked as ours. One that is there already gets our mark and the new lifetime.
    pub async fn put(&mut self, index: u32, addresses: &[Assign]) -> Result<Vec<Outcome>, Error> {
        let request = |address: &Assign| RouteNetlinkMessage::NewAddress(assignment(index, address));
        self.transport.exchange("put addresses on an interface", NLM_F_CREATE | NLM_F_REPLACE, addresses, request).await
    }

    /// Takes addresses off their interface. One that is not there any more, or whose interface is not, counts as taken off.
    pub async fn remove(&mut self, addresses: &[Present]) -> Result<Vec<Outcome>, Error> {
        let request = |present: &Present| RouteNetlinkMessage::DelAddress(removal(present));
        let mut outcomes = self.transport.exchange("take addresses off an interface", 0, addresses, request).await?;
        for outcome in &mut outcomes {
            if matches!(outcome, Err(refusal) if matches!(refusal.errno, Errno::EADDRNOTAVAIL | Errno::ENODEV)) {
                *outcome = Ok(());
            }
        }
        Ok(outcomes)
    }

    /// Puts addresses back exactly as they were, whoever put them there.
    pub async fn restore(&mut self, addresses: &[Present]) -> Result<Vec<Outcome>, Error> {
        let request = |present: &Present| RouteNetlinkMessage::NewAddress(restoration(present));
        self.transport.exchange("put addresses back on an interface", NLM_F_CREATE, addresses, request).await
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn assignment(index: u32, assign: &Assign) -> AddressMessage {
    let IpNet { address, prefix } = assign.net;
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = prefix;
    message.header.index = index;
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_valid = u32::try_from(assign.lifetime.as_secs()).unwrap_or(FOREVER);
    let mut attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    if address.is_ipv4() {
        lifetime.ifa_preferred = lifetime.ifa_valid;
        attributes.extend(assign.label.clone().map(AddressAttribute::Label));
    } else {
        // No duplicate address detection: it takes a second or more, and we know who else may have the address. No
        // prefix route: the kernel would give it the lifetime of the address, also where it is the one of the host's own
        // address, and that would then expire after we are gone (our own route: `Route::OnLink`). Deprecated from the
        // first moment: the host goes on using its own address for what it sends of its own accord, as with IPv4.
        lifetime.ifa_preferred = 0;
        attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute));
    }
    attributes.push(AddressAttribute::CacheInfo(lifetime));
    attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    message.attributes = attributes;
    message
}

/// Only what names the address: the same address may be there with two prefix lengths.
fn removal(present: &Present) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header = present.message.header.clone();
    message.header.flags = AddressHeaderFlags::empty();
    let names = |a: &&AddressAttribute| matches!(a, AddressAttribute::Local(_) | AddressAttribute::Address(_));
    message.attributes = present.message.attributes.iter().filter(names).cloned().collect();
    message
}

/// What the kernel works out for itself (whether it is secondary or permanent) is left out.
fn restoration(present: &Present) -> AddressMessage {
    let mut message = present.message.clone();
    let computed = AddressFlags::Secondary | AddressFlags::Permanent | AddressFlags::Deprecated;
    message.header.flags = AddressHeaderFlags::empty();
    for attribute in &mut message.attributes {
        if let AddressAttribute::Flags(flags) = attribute {
            flags.remove(computed);
        }
    }
    message
}
