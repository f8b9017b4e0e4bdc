//! A second edit of the same size within the same second: sizes and whole seconds do not show it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::Context;
use crate::bed::{Bed, RULE_BYTES, Size};
use crate::figures::{Row, verdict};
use crate::load::Load;
use crate::system::System;
use crate::tree::text;

pub(crate) const HEADER: [&str; 6] =
    ["system", "second edits", "lost (8 s)", "not made in the same second", "target; met", "other load"];

const ROUNDS: usize = 8;

/// A second edit that is not there then is lost.
const LOST_AFTER: Duration = Duration::from_secs(8);

/// The first edit must arrive, and the second be made, before the second is over.
const MUST_ARRIVE: Duration = Duration::from_millis(850);

/// Edits twice in a second, and looks which second edits never arrive.
pub(crate) fn measure(system: &dyn System, context: &Context) -> Result<Vec<Row>> {
    let mut bed = Bed::make(system, Size::SMALL, &context.attic)?;
    let load = Load::start(&bed);
    let mut made = Vec::new();
    for round in 0..ROUNDS {
        let path = bed.size.file(2 + round);
        let contents = [1, 2].map(|edit| text(&format!("round {round} edit {edit}"), RULE_BYTES));
        wait_for_a_new_second();
        let begin = bed.tree.write(&path, &contents[0])?;
        let first_second = second_of(&bed.tree.root().join(&path))?;
        let seen = bed.copy.join(&path);
        while fs::read(&seen).is_ok_and(|found| found != contents[0]) && begin.elapsed() < MUST_ARRIVE {
            thread::sleep(Duration::from_millis(1));
        }
        let arrived = fs::read(&seen).is_ok_and(|found| found == contents[0]);
        bed.tree.write(&path, &contents[1])?;
        let same = second_of(&bed.tree.root().join(&path))? == first_second;
        let [_, second] = contents;
        made.push((seen, second, arrived && same));
    }
    let end = Instant::now() + LOST_AFTER;
    let is_there = |seen: &Path, content: &[u8]| fs::read(seen).is_ok_and(|found| found == content);
    while Instant::now() < end && !made.iter().all(|(seen, content, _)| is_there(seen, content)) {
        thread::sleep(Duration::from_millis(50));
    }
    let valid = made.iter().filter(|(.., valid)| *valid).count();
    let lost = made.iter().filter(|(seen, content, valid)| *valid && !is_there(seen, content)).count();
    Ok(vec![vec![
        system.name().to_owned(),
        ROUNDS.to_string(),
        lost.to_string(),
        (ROUNDS - valid).to_string(),
        format!("0 lost; {}", verdict(system.is_ours(), lost == 0 && valid > 0)),
        load.others(&bed),
    ]])
}

fn wait_for_a_new_second() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let rest = Duration::from_secs(1).saturating_sub(Duration::from_nanos(u64::from(now.subsec_nanos())));
    // The time stamps of files lag behind the clock by up to a tick.
    thread::sleep(rest + Duration::from_millis(20));
}

fn second_of(path: &Path) -> Result<i64> {
    Ok(fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.mtime())
}
