//! What the courier says, made fit for a log, a terminal and a page: without what steers them, each text and table bounded.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::control::wording::is_unprintable;

/// Entries of a table: as many directories as a config may have, and more than there are nodes.
pub(super) const ENTRIES: usize = 64;
/// Characters of any text.
pub(super) const TEXT: usize = 500;

/// With texts that a log and a terminal can take.
pub(crate) fn tamed<T: Serialize + DeserializeOwned>(document: T) -> T {
    let Ok(mut value) = serde_json::to_value(&document) else { return document };
    tame(&mut value);
    // Only texts have changed, and none of them stands for a choice.
    serde_json::from_value(value).unwrap_or(document)
}

fn tame(value: &mut Value) {
    match value {
        Value::String(text) => *text = tame_text(text),
        Value::Array(list) => list.iter_mut().for_each(tame),
        Value::Object(map) => {
            let entries = std::mem::take(map).into_iter().map(|(key, mut value)| {
                tame(&mut value);
                (tame_text(&key), value)
            });
            *map = entries.take(ENTRIES).collect::<BTreeMap<_, _>>().into_iter().collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// One text of it.
pub(crate) fn tame_text(text: &str) -> String {
    text.chars().take(TEXT).map(|c| if is_unprintable(c) { '\u{fffd}' } else { c }).collect()
}
