//! What two configs differ in and a running daemon cannot change, in the words of the file: an operator looks for what was
//! written, not for what follows from it.

use avamgr_core::config::{Config, GroupConfig, LinkConfig, LinkKind, ReadyConfig, TimerLine, describe_timers};

/// Timers that the tasks of the resources took with them when the daemon started.
const HELD: [&str; 5] = ["dead_time", "guard_lifetime", "guard_refresh", "announce_delay", "announce_refresh"];

/// All of them; empty = a reload is enough.
pub(super) fn differences(old: &Config, new: &Config) -> Vec<String> {
    let mut all = keys(old, new);
    all.extend(list("[[link]]", &dedicated(old), &dedicated(new), |link| &link.name));
    let [was, is] = [old, new].map(without_hooks);
    all.extend(list("[[group]]", &all_of(&was), &all_of(&is), |group: &GroupConfig| &group.name));
    all.extend(list("[[ready]]", &all_of(&old.ready), &all_of(&new.ready), |ready: &ReadyConfig| &ready.name));
    all.extend(held_timers(&describe_timers(old), &describe_timers(new)));
    all
}

/// Keys that stand in the file once.
fn keys(old: &Config, new: &Config) -> Vec<String> {
    let (was, is) = (&old.daemon, &new.daemon);
    let [old_ping, new_ping] = [old, new].map(|config| config.arbitrator.as_ref().map(|arbitrator| &arbitrator.ping));
    let [old_way, new_way] =
        [old, new].map(|config| config.arbitrator.as_ref().and_then(|one| one.interfaces.as_ref()));
    let same = [
        ("cluster.name", old.cluster == new.cluster),
        ("cluster.nodes", old.nodes == new.nodes),
        ("cluster.standalone", old.standalone == new.standalone),
        ("arbitrator.ping", old_ping == new_ping),
        ("arbitrator.interface", old_way == new_way),
        ("arbitrator.address", neutral(old) == neutral(new)),
        ("daemon.key_file", was.key_file == is.key_file),
        ("daemon.state_dir", was.state_dir == is.state_dir),
        ("daemon.socket", was.socket == is.socket),
        ("daemon.operators", was.operators == is.operators),
        ("daemon.realtime", was.realtime == is.realtime),
    ];
    same.iter().filter(|(_, same)| !same).map(|(name, _)| (*name).to_owned()).collect()
}

/// A hook is looked up when it is run.
fn without_hooks(config: &Config) -> Vec<GroupConfig> {
    config.groups.iter().map(|group| GroupConfig { hook: None, ..group.clone() }).collect()
}

fn dedicated(config: &Config) -> Vec<&LinkConfig> {
    config.links.iter().filter(|link| link.kind == LinkKind::Dedicated).collect()
}

/// The addresses of the neutral path; its interfaces are those of the arbitrator.
fn neutral(config: &Config) -> Option<(&[std::net::IpAddr], u16)> {
    let path = config.links.iter().find(|link| link.kind == LinkKind::Neutral)?.udp()?;
    Some((&path.addresses, path.port))
}

fn all_of<T>(items: &[T]) -> Vec<&T> {
    items.iter().collect()
}

/// Tables of one kind: those that are new, gone or different, by their names.
fn list<T: PartialEq>(table: &str, old: &[&T], new: &[&T], name: impl Fn(&T) -> &String) -> Vec<String> {
    let lacks = |items: &[&T], item: &T| !items.contains(&item);
    let mut names: Vec<&String> = old.iter().filter(|item| lacks(new, item)).map(|item| name(item)).collect();
    let added: Vec<&String> = new.iter().filter(|item| lacks(old, item)).map(|item| name(item)).collect();
    names.extend(added.into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
    if names.is_empty() && old != new {
        return vec![format!("the order of {table}")];
    }
    names.iter().map(|name| format!("{table} {name}")).collect()
}

/// Held timers that differ, each under the key that was changed.
fn held_timers(old: &[TimerLine], new: &[TimerLine]) -> Vec<String> {
    let lines: Vec<(&TimerLine, &TimerLine)> = old.iter().zip(new).collect();
    let mut causes: Vec<(&str, Vec<&str>)> = Vec::new();
    for at in (0..lines.len()).filter(|at| HELD.contains(&lines[*at].0.name)) {
        for cause in written(&lines, at) {
            let held = lines[at].0.name;
            match causes.iter_mut().find(|(known, _)| *known == cause) {
                Some((_, through)) => through.push(held),
                None => causes.push((cause, vec![held])),
            }
        }
    }
    causes.iter().map(|(cause, through)| worded(cause, through)).collect()
}

/// The timers somebody has written down and changed so that this one differs; itself where it follows from no other.
fn written<'a>(lines: &[(&'a TimerLine, &'a TimerLine)], at: usize) -> Vec<&'a str> {
    let (old, new) = lines[at];
    if old.value == new.value {
        return Vec::new();
    }
    if old.by_hand || new.by_hand {
        return vec![new.name];
    }
    // A timer follows only from those further up.
    let from = (0..at).filter(|earlier| mentions(new.formula, lines[*earlier].0.name));
    let mut causes: Vec<&str> = Vec::new();
    for cause in from.flat_map(|earlier| written(lines, earlier)) {
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    if causes.is_empty() { vec![new.name] } else { causes }
}

fn mentions(formula: &str, name: &str) -> bool {
    formula.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name)
}

/// `timers.dead_time`, or `cluster.failover_budget (through dead_time)`.
fn worded(cause: &str, held: &[&str]) -> String {
    let table = if cause == "failover_budget" { "cluster" } else { "timers" };
    let through: Vec<&str> = held.iter().copied().filter(|name| *name != cause).collect();
    if through.is_empty() {
        return format!("{table}.{cause}");
    }
    format!("{table}.{cause} (through {})", through.join(", "))
}
