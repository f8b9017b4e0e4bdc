//! What has happened, as it is told: the entries, and which of them are wanted.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::node::event::{Event, Severity};

/// An event with what a reader needs besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HistoryEntry {
    /// Its place in the history of the node: one more than that of the entry before, also over restarts. 0 = not known: of an
    /// older version, or the store could not be read yet.
    #[serde(default)]
    pub number: u64,
    /// Wall clock when it was recorded, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// The node that recorded it.
    pub node: String,
    /// The event as data.
    pub event: Event,
    /// Its severity.
    pub severity: Severity,
    /// The sentence.
    pub text: String,
}

/// Which entries are wanted; by default all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Of this moment or later, written like [`HistoryEntry::time`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Of this moment or earlier, written like [`HistoryEntry::time`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// That matter at least so much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// About the group of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// With this in the sentence, in large letters or small.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Filter {
    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an entry is wanted. `config` knows the names of the groups; without it none has one.
    pub fn fits(&self, entry: &HistoryEntry, config: Option<&Config>) -> bool {
        let Self { since, until, severity, group, text } = self;
        let about = || Some(config?.group_name(entry.event.fact.group()?));
        // Moments are all written in the same way, so their order is that of their letters.
        since.as_ref().is_none_or(|since| *since <= entry.time)
            && until.as_ref().is_none_or(|until| entry.time <= *until)
            && severity.is_none_or(|severity| severity <= entry.severity)
            && group.as_ref().is_none_or(|group| about() == Some(group))
            && text.as_ref().is_none_or(|text| entry.text.to_lowercase().contains(&text.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::GroupId;
    use crate::node::event::Fact;
    use crate::time::Instant;

    const CONFIG: &str = "[cluster]\nname = \"c\"\nnodes = [\"a\"]\nstandalone = true\nfailover_budget = \"1s\"\n\
                          [[group]]\nname = \"g\"\n[[group.resource]]\nname = \"r\"\nexec = \"sleep 1\"\n";

    fn entry(fact: Fact) -> HistoryEntry {
        HistoryEntry {
            number: 7,
            time: "2026-03-01T03:12:45.123Z".to_owned(),
            node: "a".to_owned(),
            severity: fact.severity(),
            event: Event { at: Instant::BOOT, fact },
            text: "DRE: too many takeovers".to_owned(),
        }
    }

    #[test]
    fn an_entry_is_wanted_when_it_fits_in_every_way() {
        let config = crate::config::parse(CONFIG, "test").unwrap();
        let flap = entry(Fact::FlapLimit { group: GroupId(0), count: 3 });
        let named = |name: &str| Some(name.to_owned());
        let fits = |filter: Filter| filter.fits(&flap, Some(&config));
        assert!(fits(Filter::default()));
        for (moment, since, until) in [
            ("2026-03-01T03:12:45.122Z", true, false),
            ("2026-03-01T03:12:45.123Z", true, true),
            ("2026-03-01T03:12:45.124Z", false, true),
        ] {
            assert_eq!(fits(Filter { since: named(moment), ..Filter::default() }), since);
            assert_eq!(fits(Filter { until: named(moment), ..Filter::default() }), until);
        }
        let matters = Filter { severity: Some(Severity::Warning), ..Filter::default() };
        assert!(fits(matters.clone()) && !matters.fits(&entry(Fact::ArbitratorReachable), Some(&config)));
        let group = config.group_name(GroupId(0));
        let about = Filter { group: named(group), ..Filter::default() };
        assert!(fits(about.clone()) && !about.fits(&entry(Fact::Isolated), Some(&config)) && !about.fits(&flap, None));
        assert!(!fits(Filter { group: named("other"), ..Filter::default() }));
        assert!(fits(Filter { text: named("Too Many"), ..Filter::default() }));
        assert!(!fits(Filter { text: named("Too Many"), group: named("other"), ..Filter::default() }));
    }

    #[test]
    fn what_an_older_version_says_is_understood() {
        let mut told = serde_json::to_value(entry(Fact::Isolated)).unwrap();
        told.as_object_mut().unwrap().remove("number");
        assert_eq!(serde_json::from_value::<HistoryEntry>(told).unwrap().number, 0);
        let asked = r#"{"request":"history","last":5,"follow":false}"#;
        assert_eq!(serde_json::from_str::<super::super::Request>(asked).unwrap(), super::super::Request::last(5));
        assert_eq!(serde_json::to_string(&super::super::Request::last(5)).unwrap(), asked);
    }
}
