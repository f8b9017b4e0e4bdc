//! What several stories of the virtual machine ask and do.

use std::error::Error;

use serde_json::Value;

use crate::pair::{Outcome, PAIR, Pair};

/// Runs a program on a node, which must succeed.
pub(crate) fn run(pair: &Pair, node: &str, command: &str) -> Outcome {
    let mut words = command.split(' ');
    let program = words.next().ok_or("no program")?;
    let output = pair.node(node)?.command(program).args(words).output()?;
    assert!(output.status.success(), "{command} on {node}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Both dedicated links as both nodes see them.
pub(crate) fn links(pair: &Pair) -> Result<Vec<Value>, Box<dyn Error>> {
    let mut links = Vec::new();
    for node in PAIR {
        let status = pair.status(node)?;
        let all = status["peers"][0]["links"].as_array().ok_or("no links")?;
        links.extend(all.iter().filter(|link| link["link"] != "neutral").cloned());
    }
    assert_eq!(links.len(), 2 * PAIR.len(), "{links:?}");
    Ok(links)
}

/// How much each node's history has to tell until now.
pub(crate) fn told_so_far(pair: &Pair) -> Result<Vec<usize>, Box<dyn Error>> {
    PAIR.iter().map(|node| Ok(pair.events(node)?.len())).collect()
}

/// What the histories have told since then, each sentence with its node.
pub(crate) fn told_since(pair: &Pair, before: &[usize]) -> Result<Vec<String>, Box<dyn Error>> {
    let mut told = Vec::new();
    for (node, before) in PAIR.iter().zip(before) {
        told.extend(pair.events(node)?.iter().skip(*before).map(|sentence| format!("{node}: {sentence}")));
    }
    Ok(told)
}
