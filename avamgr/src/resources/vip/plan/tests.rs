use netlink_packet_route::address::AddressFlags;

use super::*;
use crate::netlink::PROTOCOL;

const NONE: AddressFlags = AddressFlags::empty();

fn net(text: &str) -> IpNet {
    let (address, prefix) = text.split_once('/').unwrap();
    IpNet { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().copied().map(net).collect()
}

fn wanted(addresses: &[&str], ranges: &[&str]) -> Wanted {
    let config =
        VipConfig { interfaces: vec![], addresses: nets(addresses), ranges: nets(ranges), label: Some("x:0".into()) };
    Wanted::new(&config)
}

fn ours(text: &str) -> Present {
    Present::sample(net(text), Some(PROTOCOL), NONE)
}

fn others(text: &str) -> Present {
    Present::sample(net(text), Some(0), NONE)
}

fn shown(list: &[Present]) -> Vec<String> {
    list.iter().map(|present| prefix::show(present.net)).collect()
}

#[test]
fn ipv4_comes_first_and_nothing_twice() {
    let wanted = wanted(&["2001:db8::1/64", "10.0.0.1/24", "10.0.0.1/24", "2001:db8::2/64", "10.0.0.2/32"], &[]);
    assert_eq!(wanted.addresses, nets(&["10.0.0.1/24", "10.0.0.2/32", "2001:db8::1/64", "2001:db8::2/64"]));
    assert_eq!(wanted.v4, 2);
}

#[test]
fn ranges_are_local_routes_and_ipv6_prefixes_are_on_link_once() {
    let wanted = wanted(&["2001:db8::1/64", "2001:db8::2/64", "2001:db8:1::1/128", "10.0.0.1/24"], &["10.1.0.9/20"]);
    let routes: Vec<_> = wanted.routes().collect();
    assert_eq!(routes, [Route::Local(net("10.1.0.0/20")), Route::OnLink(net("2001:db8::/64"))]);
}

#[test]
fn what_is_missing_is_put() {
    let wanted = wanted(&["10.0.0.1/24", "10.0.0.2/24"], &[]);
    let gap = wanted.gap(&[ours("10.0.0.2/24"), others("10.0.0.9/24")]);
    assert_eq!((gap.put.as_slice(), gap.remove.len(), gap.foreign.len()), (&nets(&["10.0.0.1/24"])[..], 0, 0));
    assert!(!gap.is_closed());
    assert!(wanted.gap(&[ours("10.0.0.1/24"), ours("10.0.0.2/24")]).is_closed());
}

#[test]
fn what_somebody_else_put_there_is_made_ours() {
    let gap = wanted(&["10.0.0.1/24"], &[]).gap(&[others("10.0.0.1/24")]);
    assert_eq!((gap.put, shown(&gap.foreign)), (nets(&["10.0.0.1/24"]), vec!["10.0.0.1/24".to_owned()]));
    assert!(gap.remove.is_empty());
}

#[test]
fn what_cannot_be_mended_is_removed_and_put_anew() {
    let bad = [
        (others("10.0.0.1/32"), "another prefix length"),
        (Present::sample(net("10.0.0.1/24"), Some(PROTOCOL), AddressFlags::Dadfailed), "dadfailed"),
        (Present::sample(net("10.0.0.1/24"), Some(PROTOCOL), AddressFlags::Tentative), "tentative"),
    ];
    for (present, reason) in bad {
        let gap = wanted(&["10.0.0.1/24"], &[]).gap(std::slice::from_ref(&present));
        assert_eq!((gap.remove, gap.put), (vec![present], nets(&["10.0.0.1/24"])));
        assert!(gap.reason.clone().unwrap().contains(reason), "{:?}", gap.reason);
    }
}

#[test]
fn without_marks_in_the_kernel_a_lifetime_is_the_mark() {
    let gap = wanted(&["10.0.0.1/24"], &[]).gap(&[Present::sample(net("10.0.0.1/24"), None, NONE)]);
    assert_eq!(gap.foreign.len(), 1);
}

#[test]
fn everything_of_the_config_leaves_and_nothing_else_with_secondary_ones_first() {
    let second = Present::sample(net("10.0.0.2/24"), Some(PROTOCOL), AddressFlags::Secondary);
    let present = [ours("10.0.0.1/24"), second, others("10.0.0.3/24"), others("2001:db8::1/128")];
    let leaving = wanted(&["10.0.0.1/24", "10.0.0.2/24", "2001:db8::1/64"], &[]).leaving(&present);
    assert_eq!(shown(&leaving), ["10.0.0.2/24", "10.0.0.1/24", "2001:db8::1/128"]);
}

#[test]
fn others_that_went_with_ours_are_collateral() {
    let before = [ours("10.0.0.1/24"), others("10.0.0.2/24"), others("10.0.0.3/24"), others("2001:db8::9/64")];
    let lost = collateral(&before, &[others("10.0.0.3/24")], &[ours("10.0.0.1/24")]);
    assert_eq!(shown(&lost), ["10.0.0.2/24"]);
}

#[test]
fn long_lists_are_cut() {
    assert_eq!(list(&nets(&["10.0.0.1/24"])), "10.0.0.1/24");
    let many = nets(&["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24", "10.0.0.4/24", "10.0.0.5/24"]);
    assert_eq!(list(&many), "10.0.0.1/24, 10.0.0.2/24, 10.0.0.3/24 and 2 more");
}
