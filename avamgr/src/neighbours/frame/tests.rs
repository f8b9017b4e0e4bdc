use pnet_packet::Packet;
use pnet_packet::arp::{ArpOperations, ArpPacket};
use pnet_packet::icmpv6::{self, Icmpv6Packet, Icmpv6Types};
use pnet_packet::ipv6::Ipv6Packet;
use proptest::prelude::*;

use super::*;

const MAC: Mac = Mac([0x02, 0x42, 0xac, 0x10, 0x09, 0x3d]);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 16, 9, 61));
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0x61);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_gratuitous_arp_request() {
    let golden = "ffffffffffff0242ac10093d08060001080006040001\
                  0242ac10093dac10093d000000000000ac10093d";
    assert_eq!(hex(&announcement(MAC, V4, Form::Request, false)), golden);
}

#[test]
fn golden_gratuitous_arp_reply() {
    let golden = "ffffffffffff0242ac10093d08060001080006040002\
                  0242ac10093dac10093d0242ac10093dac10093d";
    assert_eq!(hex(&announcement(MAC, V4, Form::Reply, false)), golden);
}

#[test]
fn golden_arp_probe() {
    let golden = "ffffffffffff0242ac10093d08060001080006040001\
                  0242ac10093d00000000000000000000ac10093d";
    assert_eq!(hex(&question(MAC, V4)), golden);
}

#[test]
fn golden_unsolicited_advertisement() {
    let golden = "3333000000010242ac10093d86dd6000000000203aff\
                  20010db8000900000000000000000061ff020000000000000000000000000001\
                  880042ca2000000020010db800090000000000000000006102010242ac10093d";
    assert_eq!(hex(&announcement(MAC, IpAddr::V6(V6), Form::Request, false)), golden);
}

#[test]
fn golden_solicitation_of_duplicate_address_detection() {
    let golden = "3333ff0000610242ac10093d86dd6000000000183aff\
                  00000000000000000000000000000000ff0200000000000000000001ff000061\
                  87004c240000000020010db8000900000000000000000061";
    assert_eq!(hex(&question(MAC, IpAddr::V6(V6))), golden);
}

#[test]
fn a_router_says_that_it_is_one() {
    let frame = announcement(MAC, IpAddr::V6(V6), Form::Request, true);
    assert_eq!(frame[58], FLAG_ROUTER | FLAG_OVERRIDE);
    assert!(claim(&frame).is_some());
}

#[test]
fn another_nodes_question_claims_nothing() {
    assert_eq!(claim(&question(MAC, V4)), None);
    assert_eq!(claim(&question(MAC, IpAddr::V6(V6))), None);
}

#[test]
fn an_advertisement_that_came_through_a_router_or_was_changed_is_no_claim() {
    let good = announcement(MAC, IpAddr::V6(V6), Form::Request, false);
    for (offset, wrong) in [(21, 254), (20, 17), (14, 0x40), (70, 1), (56, 0), (18, 0xff)] {
        let mut bad = good.clone();
        bad[offset] = wrong;
        assert_ne!(bad, good, "byte {offset} was not changed");
        assert_eq!(claim(&bad), None, "byte {offset}");
    }
}

#[test]
fn an_option_of_length_zero_ends_the_reading() {
    assert_eq!(option(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0], OPTION_TARGET), None);
    assert_eq!(option(&[1, 1, 0, 0, 0, 0, 0, 0, 2, 1, 9, 8, 7, 6, 5, 4], OPTION_TARGET), Some(Mac([9, 8, 7, 6, 5, 4])));
}

#[test]
fn an_answer_goes_to_who_asked() {
    let asked_by = Mac([2, 0, 0, 0, 0, 9]);
    let source = "fe80::9".parse().unwrap();
    let frame = answer(MAC, &Solicitation { target: V6, source, mac: asked_by }, false);
    assert_eq!(frame[..6], asked_by.0);
    assert_eq!(frame[58], FLAG_SOLICITED | FLAG_OVERRIDE);
    assert_eq!(claim(&frame), Some(Claim { address: IpAddr::V6(V6), mac: MAC }));
    let nobody = Solicitation { target: V6, source: Ipv6Addr::UNSPECIFIED, mac: asked_by };
    let frame = answer(MAC, &nobody, false);
    assert_eq!((&frame[..6], frame[58]), (&multicast_mac(ALL_NODES).0[..], FLAG_OVERRIDE));
}

proptest! {
    #[test]
    fn what_is_announced_is_understood(octets: [u8; 4], mac: [u8; 6], reply: bool) {
        prop_assume!(octets != [0; 4]);
        let (mac, address) = (Mac(mac), IpAddr::from(octets));
        let form = if reply { Form::Reply } else { Form::Request };
        let frame = announcement(mac, address, form, false);
        prop_assert_eq!(claim(&frame), Some(Claim { address, mac }));
        let other = ArpPacket::new(&frame[14..]).unwrap();
        prop_assert_eq!(other.get_operation(), if reply { ArpOperations::Reply } else { ArpOperations::Request });
        prop_assert_eq!(IpAddr::V4(other.get_sender_proto_addr()), address);
        prop_assert_eq!(IpAddr::V4(other.get_target_proto_addr()), address);
    }

    #[test]
    fn what_is_advertised_is_understood(octets: [u8; 16], mac: [u8; 6], router: bool) {
        let (mac, address) = (Mac(mac), Ipv6Addr::from(octets));
        let frame = announcement(mac, IpAddr::V6(address), Form::Request, router);
        prop_assert_eq!(claim(&frame), Some(Claim { address: IpAddr::V6(address), mac }));
        let ip = Ipv6Packet::new(&frame[14..]).unwrap();
        let icmp = Icmpv6Packet::new(ip.payload()).unwrap();
        prop_assert_eq!(icmp.get_icmpv6_type(), Icmpv6Types::NeighborAdvert);
        let sum = icmpv6::checksum(&icmp, &ip.get_source(), &ip.get_destination());
        prop_assert_eq!(icmp.get_checksum(), sum);
    }

    #[test]
    fn what_is_asked_is_understood(octets: [u8; 16], mac: [u8; 6]) {
        let (mac, target) = (Mac(mac), Ipv6Addr::from(octets));
        let frame = question(mac, IpAddr::V6(target));
        let expected = Solicitation { target, source: Ipv6Addr::UNSPECIFIED, mac };
        prop_assert_eq!(solicitation(&frame), Some(expected));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..140)) {
        let _ = claim(&bytes);
        let _ = solicitation(&bytes);
    }

    /// Random bytes hardly ever get past the first check: change and cut good frames instead.
    #[test]
    fn no_damage_makes_it_panic(offset in 0usize..86, byte: u8, length in 0usize..100, octets: [u8; 16]) {
        for address in [V4, IpAddr::from(octets)] {
            for mut frame in [announcement(MAC, address, Form::Request, false), question(MAC, address)] {
                if let Some(place) = frame.get_mut(offset) {
                    *place = byte;
                }
                frame.truncate(length);
                let _ = claim(&frame);
                let _ = solicitation(&frame);
                let _ = option(&frame, byte);
            }
        }
    }
}
