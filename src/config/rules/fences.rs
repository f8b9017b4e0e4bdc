//! Rules about turning nodes off: each node or none, and levels that can be tried one after the other.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::error::{Finding, Findings, Place};
use crate::config::file::{Fence, File};

pub(super) fn check(file: &File, findings: &Findings<'_>) {
    if file.cluster.standalone {
        let unused = "is not used: with standalone = true there is nobody to turn off";
        for place in file.fences.iter().map(|fence| &fence.place) {
            findings.put(Finding::warning(place, unused).without_value());
        }
        return;
    }
    if file.fences.is_empty() {
        if file.fencing.written {
            let fact = "is not used: no [[fence]] device is there";
            findings.put(Finding::warning(&file.fencing.place, fact).without_value());
        }
        return;
    }
    each_node(file, findings);
    levels(file, findings);
}

/// A node that cannot be turned off would be waited for without end by those who can be.
fn each_node(file: &File, findings: &Findings<'_>) {
    // One whose node could not be read may be the one that is missing.
    if !file.cluster.nodes_good || file.fences.iter().any(|fence| fence.node.is_none()) {
        return;
    }
    let fenced: BTreeSet<usize> = file.fences.iter().filter_map(|fence| fence.node).collect();
    let names = file.cluster.node_names();
    let missing = |(index, name): (usize, &String)| (!fenced.contains(&index)).then(|| name.clone());
    let missing: Vec<String> = names.iter().enumerate().filter_map(missing).collect();
    if let (Some(fence), Some(name)) = (file.fences.first(), missing.first()) {
        let rule = format!("must be there for every node or for none: nothing turns {} off", missing.join(", "));
        let place = Place { key: "fence".to_owned(), span: fence.place.span };
        let hint = format!("add a [[fence]] table with node = \"{name}\"");
        findings.put(Finding::conflict(&place, rule).without_value().hint(hint));
    }
}

fn levels(file: &File, findings: &Findings<'_>) {
    let mut by_node: BTreeMap<usize, Vec<&Fence>> = BTreeMap::new();
    for fence in &file.fences {
        if let Some(node) = fence.node {
            by_node.entry(node).or_default().push(fence);
        }
    }
    for (node, fences) in by_node {
        // One that could not be read may be the one that is missing.
        if fences.iter().any(|fence| fence.level.is_none()) {
            continue;
        }
        let written = || fences.iter().filter_map(|fence| fence.level.as_ref());
        let there: BTreeSet<u32> = written().map(|level| level.value).collect();
        let gap = written().filter(|level| level.value > 1 && !there.contains(&(level.value - 1)));
        if let Some(level) = gap.min_by_key(|level| level.value) {
            let name = file.cluster.node_names().get(node).cloned().unwrap_or_default();
            let rule = format!("leaves a gap: {name} has no device of level {}", level.value - 1);
            findings.put(Finding::conflict(&level.place, rule).hint("levels are tried from 1 on, without gaps"));
        }
    }
}
