//! Rules about links over TIPC: one of them, and an address of its own for each node.

use std::collections::BTreeMap;

use crate::config::error::{Finding, Findings};
use crate::config::file::{File, Path};

pub(super) fn check(file: &File, findings: &Findings<'_>) {
    let mut links = file.links.iter().filter(|link| link.is_tipc());
    let Some(first) = links.next() else { return };
    for other in links {
        let rule = "must not be a second link over TIPC: a node has one address there";
        let finding = Finding::conflict(&other.place, rule).without_value();
        findings.put(
            finding.related(&first.place, "the first one").hint("name its interface among the `bearers` of the first"),
        );
    }
    let Path::Tipc { node_addresses, .. } = &first.path else { return };
    let mut book = BTreeMap::new();
    for placed in node_addresses.iter().flatten() {
        if let Some(other) = book.insert(placed.value, &placed.place) {
            let rule = format!("must be another one than that of the other node: both are {}", placed.value);
            findings.put(Finding::conflict(&placed.place, rule).related(other, "the other node's"));
        }
    }
}
