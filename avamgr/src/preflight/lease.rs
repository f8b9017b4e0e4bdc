//! What leases need on this host: a kernel that holds the lease, the keys of the witness and a way to it, or an etcd that
//! answers.

use avamgr_core::cluster::NodeId;
use avamgr_core::config::Config;
use avamgr_core::control::words::duration;

use super::judge::{judge_key_file, link_by_interface};
use super::{Facts, Finding};

/// Every finding about leases; none where no lease is needed.
pub(super) fn judge(config: &Config, me: NodeId, facts: &Facts) -> Vec<Finding> {
    if !config.leases() {
        return Vec::new();
    }
    let mut findings = vec![guard(config, facts)];
    findings.extend(margin(config, facts));
    if let (Some(witness), Some(file)) = (&config.witness, &facts.witness_key_file) {
        let hint = "make it with `avamgr keygen FILE`, and copy it to every node and to the witness";
        findings.push(judge_key_file(&witness.key_file, file, facts.uid, hint));
    }
    findings.extend(way(config, me, facts));
    findings.extend(facts.etcd.iter().map(endpoint));
    findings.extend(quorum(facts));
    findings
}

fn guard(config: &Config, facts: &Facts) -> Finding {
    let subject = "guard of the addresses";
    match &facts.guard {
        Ok(support) if support.egress => {
            Finding::ok(subject, "nftables: the kernel closes them when the lease is over")
        }
        Ok(_) => Finding::warning(
            subject,
            "nftables closes them for what comes in only: this kernel has no hook for what goes out",
            "use Linux 5.16 or later",
        ),
        Err(why) => Finding::warning(
            subject,
            format!(
                "is only their lifetime: a takeover from a node whose daemon was killed waits {} for it ({why})",
                duration(config.timers.guard_lifetime)
            ),
            "use a kernel with nftables and its netdev family",
        ),
    }
}

/// The kernel counts in ticks; what it closes early must be reckoned with.
fn margin(config: &Config, facts: &Facts) -> Option<Finding> {
    let (needed, given) = (facts.guard_earliness, config.timers.guard_margin);
    (needed > given && facts.guard.is_ok()).then(|| {
        Finding::warning(
            "timers.guard_margin",
            format!("is {}, and this kernel closes up to {} early", duration(given), duration(needed)),
            format!("set timers.guard_margin = \"{}ms\" on every node", needed.as_millis()),
        )
    })
}

fn endpoint((name, said): &(String, Result<String, String>)) -> Finding {
    match said {
        Ok(version) => Finding::ok(name, version),
        Err(error) => {
            let hint = "is etcd running there, and do the certificates name the address?";
            Finding::warning(name, format!("does not answer: {error}"), hint)
        }
    }
}

fn quorum(facts: &Facts) -> Option<Finding> {
    let none = !facts.etcd.is_empty() && facts.etcd.iter().all(|(_, said)| said.is_err());
    let hint = "no group becomes ACTIVE without it: repair etcd, or the way to it";
    none.then(|| Finding::error("etcd", "no endpoint answers", hint))
}

fn way(config: &Config, me: NodeId, facts: &Facts) -> Option<Finding> {
    let witness = config.witness.as_ref()?;
    let subject = format!("witness {}", witness.address);
    Some(match facts.witness_route.as_ref()? {
        Err(error) => {
            Finding::error(subject, format!("there is no way to it: {error}"), "add a route to it over a neutral path")
        }
        Ok(route) => match link_by_interface(config, me, &route.interface) {
            Some(link) => Finding::warning(
                subject,
                format!("the way to it leaves through {}, which is heartbeat link {link}", route.interface),
                "add a route over a neutral path: one cable would take two voters away",
            ),
            None => Finding::ok(subject, format!("through {}", route.interface)),
        },
    })
}
