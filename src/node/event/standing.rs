//! Standing alarms as text: each fact names its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serializer};

use super::{AlarmKey, Fact};
use crate::time::Instant;

type Alarms = BTreeMap<AlarmKey, (Instant, Fact)>;

pub(in crate::node) fn serialize<S: Serializer>(alarms: &Alarms, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(alarms.values())
}

pub(in crate::node) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Alarms, D::Error> {
    let facts = Vec::<(Instant, Fact)>::deserialize(from)?;
    Ok(facts.into_iter().filter_map(|(since, fact)| Some((fact.alarm_key()?, (since, fact)))).collect())
}
