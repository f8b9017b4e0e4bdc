//! Rules over several places of the file: names and counts here, addresses and interfaces below, durations in
//! [`super::check`].
//!
//! Every rule works with whatever could be read, says which two things do not go together and points at both. Warnings
//! are for what is allowed but has a consequence that an operator should not learn at night.

mod addresses;
mod fences;
mod interfaces;
mod replication;
mod tipc;

use std::collections::BTreeMap;

use super::check::{inequalities, timer_key};
use super::derive::affected;
use super::error::{Finding, Findings, Place, Problem};
use super::file::{File, Kind, Link, Path, Resource, called};
use super::reader::Placed;
use super::{Authority, Config};

/// Name of the neutral path among the links.
pub(super) const NEUTRAL: &str = "neutral";

/// All rules about names, counts, addresses and interfaces.
pub(super) fn check(file: &File, findings: &Findings<'_>) {
    counts(file, findings);
    written(file, findings);
}

/// The same for a program that only replicates: it needs less, and what is written has to be as good.
pub(super) fn check_replication(file: &File, findings: &Findings<'_>) {
    replication::counts(file, findings);
    written(file, findings);
}

/// Rules about what is there, whatever is missing.
fn written(file: &File, findings: &Findings<'_>) {
    names(file, findings);
    services(file, findings);
    addresses::check(file, findings);
    interfaces::check(file, findings);
    tipc::check(file, findings);
    fences::check(file, findings);
    replication::check(file, findings);
}

/// Names are unique where they are used to point at something.
fn names(file: &File, findings: &Findings<'_>) {
    // Hostnames are the same in any case.
    let nodes = file.cluster.nodes.iter().map(|node| (node.to_lowercase(), node));
    unique("nodes", nodes, findings);
    unique("links", named(file.links.iter().map(|link| &link.name)), findings);
    unique("groups", named(file.groups.iter().map(|group| &group.name)), findings);
    unique("ready checks", named(file.ready.iter().map(|ready| &ready.name)), findings);
    for group in &file.groups {
        let what = format!("resources of {}", called(&group.place));
        unique(&what, named(group.resources.iter().map(|resource| &resource.name)), findings);
    }
    for name in file.links.iter().filter_map(|link| link.name.as_ref()).filter(|name| name.value == NEUTRAL) {
        let rule = "is the name of the path that [arbitrator] describes";
        findings.put(Finding::conflict(&name.place, rule).hint("give the link another name"));
    }
}

fn named<'f>(
    names: impl Iterator<Item = &'f Option<Placed<String>>>,
) -> impl Iterator<Item = (String, &'f Placed<String>)> {
    names.flatten().map(|name| (name.value.clone(), name))
}

fn unique<'f>(what: &str, names: impl Iterator<Item = (String, &'f Placed<String>)>, findings: &Findings<'_>) {
    let mut seen: BTreeMap<String, &Place> = BTreeMap::new();
    for (name, placed) in names {
        match seen.get(&name) {
            Some(first) => {
                let rule = format!("is already the name of another among the {what}");
                findings.put(Finding::conflict(&placed.place, rule).related(first, "the other one"));
            }
            None => {
                seen.insert(name, &placed.place);
            }
        }
    }
}

/// A pair needs two nodes, two links and somebody to ask; a node alone needs none of them.
fn counts(file: &File, findings: &Findings<'_>) {
    let say = |place: &Place, rule: &str, hint: &str| {
        findings.put(Finding::conflict(place, rule).without_value().hint(hint));
    };
    let top = Place::default();
    let at = |key: &str| Place { key: key.to_owned(), ..top };
    if file.groups.is_empty() {
        say(&at("group"), "must name at least one group of resources", "add a [[group]] table");
    }
    if file.cluster.standalone {
        let unused = "is not used: with standalone = true there is no peer to talk to";
        let places = file.links.iter().map(|link| &link.place).chain(file.arbitrator.iter().map(|found| &found.place));
        let places = places.chain(file.witness.iter().map(|found| &found.place));
        let places = places.chain(file.etcd.iter().map(|found| &found.place));
        let places = places.chain(file.rules.iter().map(|found| &found.place));
        for place in places {
            findings.put(Finding::warning(place, unused).without_value());
        }
        return;
    }
    two_nodes(file, "name the other node, or say standalone = true", findings);
    match file.links.as_slice() {
        [] => {
            say(&at("link"), "must be there twice: heartbeats go over two dedicated links", "add two [[link]] tables")
        }
        [Link { path: Path::Tipc { bearers, .. }, .. }] if bearers.len() > 1 => {}
        [one] if one.is_tipc() => say(
            &one.place.join("bearers"),
            "must not be the only interface of the only dedicated link: one cable would decide who is alive",
            "name a second bearer on another cable, or add a [[link]] over UDP",
        ),
        [one] => say(
            &one.place,
            "must not be the only dedicated link: one cable would decide who is alive",
            "add a second [[link]] on another interface and cable",
        ),
        [_, _, ..] => {}
    }
    voters(file, findings);
    etcd(file, findings);
    match &file.arbitrator {
        None if file.authority() != Authority::Ping => {}
        None => say(
            &at("arbitrator"),
            "is missing: nobody would decide when every link is silent",
            "add an [arbitrator] table",
        ),
        Some(found) if found.neutral.is_none() && file.authority() == Authority::Ping => {
            let fact = "has no `address`: without heartbeats on the neutral path a takeover from a silent peer always waits \
                        for the whole hold time";
            let hint = "add address = { ... } with the addresses of the nodes on the arbitrator's interface";
            findings.put(Finding::warning(&found.place, fact).without_value().hint(hint));
        }
        Some(_) => {}
    }
}

fn two_nodes(file: &File, hint: &str, findings: &Findings<'_>) {
    if file.cluster.nodes_good && file.cluster.nodes.len() == 1 {
        let finding = Finding::conflict(&file.cluster.nodes_place, "must name at least two nodes");
        findings.put(finding.without_value().hint(hint));
    }
}

/// A majority of two is both of them: without a third voter a pair that has lost one node would serve no more.
fn voters(file: &File, findings: &Findings<'_>) {
    let hint = "add a [witness] table, or say authority = \"ping\"";
    match (&file.cluster.authority, &file.witness) {
        (Some(written), Some(witness)) if written.value == Authority::Ping => {
            let rule = "is not asked by the authority \"ping\"";
            let finding = Finding::conflict(&witness.place, rule).without_value();
            findings.put(finding.related(&written.place, "chosen here").hint("say authority = \"lease\""));
        }
        (Some(written), None) if written.value == Authority::Lease && file.cluster.nodes.len() == 2 => {
            let rule = "needs a third voter: the majority of two nodes is both of them";
            findings.put(Finding::conflict(&written.place, rule).hint(hint));
        }
        (Some(_) | None, _) => {
            let voters = file.cluster.nodes.len() + usize::from(file.witness.is_some());
            if file.authority() == Authority::Lease && voters.is_multiple_of(2) {
                let place = file.witness.as_ref().map_or(&file.cluster.nodes_place, |witness| &witness.place);
                let fact = format!("makes {voters} voters: an even number survives no more losses than one less");
                findings.put(Finding::warning(place, fact).without_value());
            }
        }
    }
}

/// etcd holds the leases alone, or has no say at all.
fn etcd(file: &File, findings: &Findings<'_>) {
    let written = file.cluster.authority.as_ref();
    match (written, &file.etcd) {
        (Some(written), None) if written.value == Authority::Etcd => {
            let finding = Finding::conflict(&written.place, "needs an [etcd] table with the endpoints");
            findings.put(finding.hint("add [etcd] with endpoints = [\"https://172.16.8.20:2379\", ...]"));
        }
        (Some(written), Some(etcd)) if written.value != Authority::Etcd => {
            let finding = Finding::conflict(&etcd.place, "is asked by the authority \"etcd\" only").without_value();
            findings.put(finding.related(&written.place, "chosen here").hint("say authority = \"etcd\""));
        }
        (Some(_) | None, _) => {}
    }
    let Some(etcd) = &file.etcd else { return };
    if let Some(witness) = &file.witness {
        let rule = "cannot stand beside [etcd]: etcd gives the lease alone";
        let finding = Finding::conflict(&witness.place, rule).without_value();
        findings.put(finding.related(&etcd.place, "the other one").hint("leave one of them out"));
    }
    let secure = etcd.endpoints.iter().find(|endpoint| endpoint.starts_with("https://"));
    if let (Some(endpoint), None) = (secure, &etcd.ca_file) {
        let finding = Finding::conflict(&endpoint.place, "needs `ca_file`: who may have signed its certificate?");
        findings.put(finding.hint("add ca_file = \"/etc/avamgr/etcd/ca.pem\""));
    }
    if let (Some(one), None) | (None, Some(one)) = (&etcd.cert_file, &etcd.key_file) {
        let rule = "is of no use alone: cert_file and key_file belong together";
        findings.put(Finding::conflict(&one.place, rule));
    }
}

/// Two resources must not start and stop the same thing.
fn services(file: &File, findings: &Findings<'_>) {
    let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
    for resource in all_resources(file) {
        let service = match &resource.kind {
            Some(Kind::Lsb(service) | Kind::Systemd(service)) => service,
            Some(Kind::Vip(_) | Kind::Exec(_)) | None => continue,
        };
        match seen.get(service.as_str()) {
            Some(first) => {
                let rule = "is already started and stopped by another resource";
                findings.put(Finding::conflict(&service.place, rule).related(first, "the other one"));
            }
            None => {
                seen.insert(&service.value, &service.place);
            }
        }
    }
}

pub(super) fn all_resources(file: &File) -> impl Iterator<Item = &Resource> {
    file.groups.iter().flat_map(|group| &group.resources)
}

/// The inequalities over durations that a file is refused for. Those that rest on something unreadable are left out.
pub(super) fn durations(file: &File, config: &Config, findings: &Findings<'_>) {
    let places = duration_places(file);
    let bad = affected(file.timers.bad.iter().copied(), |name| file.timers.values.contains_key(name));
    let bad: Vec<String> = bad.into_iter().map(timer_key).collect();
    for broken in inequalities(config).into_iter().filter(|rule| rule.required && !rule.holds) {
        if broken.uses.iter().any(|path| bad.contains(path)) {
            continue;
        }
        let mut written = broken.uses.iter().filter_map(|path| places.get(path));
        let place = written.next().unwrap_or(&file.cluster.place);
        let problem = Problem::Inequality {
            name: broken.name.clone(),
            left: broken.left.to_string(),
            relation: broken.relation.words(),
            right: broken.right.to_string(),
        };
        let remedy = broken.remedy.map(|remedy| format!("{remedy}; ")).unwrap_or_default();
        let mut finding = Finding::error(place, problem).hint(format!("{remedy}otherwise {}", broken.why));
        if let Some(other) = written.find(|other| other.span != place.span) {
            finding = finding.related(other, "this counts as well");
        }
        findings.put(finding);
    }
}

/// Where durations are written, by the path of their key.
fn duration_places(file: &File) -> BTreeMap<String, Place> {
    let mut places = BTreeMap::new();
    let mut add = |place: &Place| places.insert(place.key.clone(), place.clone());
    if let Some(timeout) = file.watchdog.as_ref().and_then(|watchdog| watchdog.timeout.as_ref()) {
        add(&timeout.place);
    }
    for timer in file.timers.values.values() {
        add(&timer.place);
    }
    for resource in all_resources(file) {
        let restart = &resource.restart;
        let times = [&restart.window, &restart.backoff, &restart.backoff_max];
        for time in times.into_iter().flatten() {
            add(&time.place);
        }
        if let Some(max) = &restart.max {
            add(&max.place);
        }
        for time in [&resource.start_timeout, &resource.stop_timeout].into_iter().flatten() {
            add(&time.place);
        }
    }
    places
}
