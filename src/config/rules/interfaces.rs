//! Every path has an interface of its own on each node: two paths through one cable are one path.

use std::collections::BTreeMap;

use crate::config::error::{Finding, Findings, Place};
use crate::config::file::{File, Kind, Link, Path, Vip, called};
use crate::config::reader::{PerNode, Placed};

use super::all_resources;

/// On each node: the links by their interface.
type Cables<'f> = BTreeMap<(usize, &'f str), (String, &'f Place)>;

pub(super) fn check(file: &File, findings: &Findings<'_>) {
    let nodes = file.cluster.node_names();
    let mut cables = Cables::new();
    for link in &file.links {
        let clash = enter(&mut cables, &own(link, nodes.len()), &link.called());
        if let Some((interface, node, (other, place))) = clash {
            let node = nodes.get(node).map_or("?", String::as_str);
            let rule = format!("must be another one than that of {other}: on {node} both are {}", interface.value);
            findings.put(Finding::conflict(&interface.place, rule).related(place, "the other one"));
        }
    }
    if let Some(interfaces) = file.arbitrator.iter().find_map(|found| found.interfaces.as_ref())
        && let Some((interface, (link, place))) = shared(&cables, interfaces)
    {
        let rule = format!("must not be that of {link}: a broken link would look like an unreachable arbitrator");
        findings.put(Finding::conflict(&interface.place, rule).related(place, "the link"));
    }
    for resource in all_resources(file) {
        let Some(Kind::Vip(vip)) = &resource.kind else {
            continue;
        };
        if let Some((interface, (link, place))) = shared(&cables, &vip.interfaces) {
            let fact = format!("is also that of {link}: traffic of the virtual addresses and heartbeats share a cable");
            findings.put(Finding::warning(&interface.place, fact).related(place, "the link"));
        }
        label(vip, &called(&resource.place), findings);
    }
}

/// The interfaces of a link, each with its node; bearers are the same on every node.
fn own(link: &Link, nodes: usize) -> Vec<(usize, &Placed<String>)> {
    match &link.path {
        Path::Udp { interfaces, .. } => {
            interfaces.iter().enumerate().filter_map(|(node, interface)| Some((node, interface.as_ref()?))).collect()
        }
        Path::Tipc { bearers, .. } => {
            bearers.iter().flat_map(|bearer| (0..nodes).map(move |node| (node, bearer))).collect()
        }
    }
}

/// Enters the interfaces of a link; tells the first that is taken.
fn enter<'f>(
    cables: &mut Cables<'f>,
    interfaces: &[(usize, &'f Placed<String>)],
    link: &str,
) -> Option<(&'f Placed<String>, usize, (String, &'f Place))> {
    let mut clash = None;
    for (node, interface) in interfaces.iter().copied() {
        let before = cables.get(&(node, interface.as_str())).cloned();
        match before {
            Some(other) => clash = clash.or(Some((interface, node, other))),
            None => {
                cables.insert((node, &interface.value), (link.to_owned(), &interface.place));
            }
        }
    }
    clash
}

/// The first interface that is also a link's on the same node.
fn shared<'f, 'c>(
    cables: &'c Cables<'f>,
    interfaces: &'f PerNode<String>,
) -> Option<(&'f Placed<String>, &'c (String, &'f Place))> {
    let present = interfaces.iter().enumerate().filter_map(|(node, interface)| Some((node, interface.as_ref()?)));
    present.filter_map(|(node, interface)| Some((interface, cables.get(&(node, interface.as_str()))?))).next()
}

/// The kernel knows labels of IPv4 addresses only, and tools expect them to begin with the interface.
fn label(vip: &Vip, resource: &str, findings: &Findings<'_>) {
    let Some(label) = &vip.label else { return };
    if !vip.addresses.iter().any(|net| net.address.is_ipv4()) {
        let rule = format!("marks IPv4 addresses in `vip`, and {resource} has none");
        findings.put(Finding::conflict(&label.place, rule));
    }
    let prefix = label.split_once(':').map_or(label.as_str(), |(interface, _)| interface);
    let stranger = vip.interfaces.iter().flatten().find(|interface| interface.as_str() != prefix);
    if let Some(interface) = stranger {
        let rule = format!("must begin with the interface: \"{}:\"", interface.value);
        findings.put(Finding::conflict(&label.place, rule).related(&interface.place, "the interface"));
    }
}
