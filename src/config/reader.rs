//! Reading one table of the file, key by key.
//!
//! Serde stops at the first error, and an operator at 3 a.m. wants all of them at once. So the parsed text is walked by hand:
//! each reader gives a value with its place, or puts a finding on the tray and gives nothing. A reader never panics
//! and never guesses.

mod convert;

use std::ops::Deref;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::convert::{command, integer, preset_value, text, time, wrong_type};
use super::error::{Finding, Findings, Place, Problem, join};
use super::keys::{Key, Preset, SECTIONS, Section, Takes, nearest};
use super::value::{Complaint, Grammar};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> Placed<T> {
    pub(super) fn and_then<U>(self, change: impl FnOnce(T) -> Option<U>) -> Option<Placed<U>> {
        let value = change(self.value)?;
        Some(Placed { value, place: self.place })
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// What each node has, in the order of the nodes; `None` where it is missing or wrong (and reported).
pub(super) type PerNode<T> = Vec<Option<Placed<T>>>;

/// A table of the file, or one that is not written and has only its presets.
pub(super) struct Table<'a> {
    section: &'static Section,
    entries: Option<&'a DeTable<'a>>,
    pub(super) place: Place,
    pub(super) findings: &'a Findings<'a>,
}

/// The nodes as far as they could be read.
pub(super) struct Nodes {
    pub(super) names: Vec<String>,
    /// All of them could be read, so one that is not among them does not exist.
    pub(super) sure: bool,
}

impl Nodes {
    /// What to say to somebody who wrote a node that does not exist.
    pub(super) fn nearest(&self, written: &str) -> String {
        match nearest(written, self.names.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("the nodes are {}", self.names.join(", ")),
        }
    }
}

/// A word about a value without the machinery of a whole key.
type Parsed<T> = Result<T, Complaint>;

impl<'a> Table<'a> {
    /// The whole file.
    pub(super) fn top(section: &'static Section, entries: &'a DeTable<'a>, findings: &'a Findings<'a>) -> Self {
        Self::open(section, Some(entries), Place::default(), findings)
    }

    fn open(
        section: &'static Section,
        entries: Option<&'a DeTable<'a>>,
        place: Place,
        findings: &'a Findings<'a>,
    ) -> Self {
        let table = Self { section, entries, place, findings };
        for (key, _) in table.entries.into_iter().flat_map(DeTable::iter) {
            if !section.keys.iter().any(|known| known.name == key.get_ref().as_ref()) {
                table.unknown(key.get_ref(), key.span().into());
            }
        }
        table
    }

    fn unknown(&self, name: &str, span: super::error::Span) {
        let known = || self.section.keys.iter().map(|key| key.name);
        let elsewhere = || SECTIONS.iter().find(|other| other.keys.iter().any(|key| key.name == name));
        let hint = if let Some(meant) = nearest(name, known()) {
            format!("did you mean `{meant}`?")
        } else if let Some(other) = elsewhere().filter(|other| !other.path.is_empty()) {
            format!("`{name}` belongs in [{}]", other.path)
        } else {
            format!("known here: {}", known().collect::<Vec<_>>().join(", "))
        };
        let place = Place { key: join(&self.place.key, name), span };
        self.findings.put(Finding::error(&place, Problem::UnknownKey).without_value().hint(hint));
    }

    fn key(&self, name: &str) -> &'static Key {
        const NONE: Key = Key { name: "?", takes: Takes::Flag, preset: Preset::Optional };
        let key = self.section.keys.iter().find(|key| key.name == name);
        debug_assert!(key.is_some(), "`{name}` is not in the language of [{}]", self.section.path);
        key.unwrap_or(&NONE)
    }

    fn entry(&self, name: &str) -> Option<(Place, &'a Spanned<DeValue<'a>>)> {
        let value = self.entries?.get(name)?;
        Some((Place { key: join(&self.place.key, name), span: value.span().into() }, value))
    }

    /// Whether the key is written, rightly or wrongly.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(name))
    }

    /// Whether the table itself is written, and is one.
    pub(super) fn is_written(&self) -> bool {
        self.entries.is_some()
    }

    /// Where the key stands, or where it would.
    pub(super) fn place_of(&self, name: &str) -> Place {
        self.entry(name).map_or_else(|| self.place.join(name), |(place, _)| place)
    }

    /// Says that a key is missing.
    pub(super) fn missing(&self, name: &str) {
        let hint = match self.key(name).takes {
            Takes::Table => format!("add a [{}] table", join(self.section.path, name)),
            Takes::Tables(_) => format!("add a [[{}]] table", join(self.section.path, name)),
            Takes::PerNode(grammar) | Takes::PerNodeOrText(grammar) => {
                format!("for example {name} = {{ hadev1 = {0}, hadev2 = ... }}", grammar.example())
            }
            Takes::List(grammar, _) => format!("for example {name} = [{}]", grammar.example()),
            Takes::Text(_)
            | Takes::Choice(_)
            | Takes::Command
            | Takes::Integer(..)
            | Takes::Time(..)
            | Takes::Seconds(..)
            | Takes::Flag
            | Takes::Strings => match self.key(name).takes.example() {
                Some(example) => format!("for example {name} = {example}"),
                None => self.key(name).takes.describe(),
            },
        };
        let finding = Finding::error(&self.place.join(name), Problem::MissingKey);
        self.findings.put(finding.without_value().hint(hint));
    }

    /// Whether a string has a certain form; says so if not.
    pub(super) fn good(&self, grammar: Grammar, text: &Placed<String>) -> bool {
        let checked = grammar.check(text);
        checked.map_err(|complaint| self.complain(&text.place, complaint)).is_ok()
    }

    fn complain(&self, place: &Place, complaint: Complaint) {
        self.findings.put(finding(place, complaint));
    }

    /// About a table: its value is a header or spans many lines, and is not repeated.
    fn complain_of_table(&self, place: &Place, complaint: Complaint) {
        self.findings.put(finding(place, complaint).without_value());
    }

    fn take<T>(&self, place: Place, parsed: Parsed<T>) -> Option<Placed<T>> {
        match parsed {
            Ok(value) => Some(Placed { value, place }),
            Err(complaint) => {
                self.complain(&place, complaint);
                None
            }
        }
    }

    /// A key with one value: what is written, or its preset.
    fn scalar<T>(&self, name: &str, parse: impl Fn(&DeValue<'_>, Takes) -> Parsed<T>) -> Option<Placed<T>> {
        let key = self.key(name);
        if let Some((place, value)) = self.entry(name) {
            return self.take(place, parse(value.get_ref(), key.takes));
        }
        match key.preset {
            Preset::Required => {
                self.missing(name);
                None
            }
            Preset::Optional | Preset::Derived | Preset::List(_) => None,
            Preset::Value(text) => {
                let value = preset_value(key.takes, text);
                self.take(self.place.join(name), parse(&value, key.takes))
            }
        }
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Option<Placed<String>> {
        self.scalar(name, text)
    }

    /// A duration.
    pub(super) fn time(&self, name: &str) -> Option<Placed<Duration>> {
        self.scalar(name, time)
    }

    /// A whole number.
    pub(super) fn integer(&self, name: &str) -> Option<Placed<u32>> {
        self.scalar(name, integer)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Option<Placed<bool>> {
        self.scalar(name, |value, takes| value.as_bool().ok_or_else(|| wrong_type(value, takes)))
    }

    /// Program and arguments.
    pub(super) fn command(&self, name: &str) -> Option<Placed<Vec<String>>> {
        self.scalar(name, command)
    }

    /// A list of strings, or one string: what is written, or its preset.
    pub(super) fn list(&self, name: &str) -> Vec<Placed<String>> {
        let Key { takes, preset, .. } = *self.key(name);
        let Some((place, value)) = self.entry(name) else {
            if matches!(preset, Preset::Required) {
                self.missing(name);
            }
            let preset = if let Preset::List(values) = preset { values } else { &[] };
            let placed = |value: &&str| Placed { value: (*value).to_owned(), place: self.place.join(name) };
            return preset.iter().map(placed).collect();
        };
        let Some(array) = value.get_ref().as_array() else {
            return self.take(place, text(value.get_ref(), takes)).into_iter().collect();
        };
        let (takes, max) = if let Takes::List(of, max) = takes { (Takes::Text(of), max) } else { (takes, usize::MAX) };
        let min = usize::from(!matches!(preset, Preset::List(_)));
        if !(min..=max).contains(&array.len()) {
            let rule = format!("a list of {min} to {max} strings");
            self.complain(&place, Complaint::value(rule));
        }
        let items = array.iter().take(max).enumerate();
        items
            .filter_map(|(index, item)| {
                let place = Place { key: format!("{}[{index}]", place.key), span: item.span().into() };
                self.take(place, text(item.get_ref(), takes))
            })
            .collect()
    }

    /// What each of the nodes has. `None` when the key is not written.
    pub(super) fn per_node(&self, name: &str, nodes: &Nodes) -> Option<PerNode<String>> {
        let key = self.key(name);
        let Some((place, value)) = self.entry(name) else {
            if matches!(key.preset, Preset::Required) {
                self.missing(name);
            }
            return None;
        };
        let Some(entries) = value.get_ref().as_table() else {
            let plain = matches!(key.takes, Takes::PerNodeOrText(_)) && value.get_ref().is_str();
            let parsed = if plain { text(value.get_ref(), key.takes) } else { Err(self.no_table(key, nodes, value)) };
            let one = self.take(place, parsed);
            return Some(vec![one; nodes.names.len()]);
        };
        self.check_nodes(&place, entries, nodes);
        let read = |node: &String| {
            let value = entries.get(node.as_str())?;
            let place = Place { key: join(&place.key, node), span: value.span().into() };
            self.take(place, text(value.get_ref(), key.takes))
        };
        Some(nodes.names.iter().map(read).collect())
    }

    fn no_table(&self, key: &Key, nodes: &Nodes, value: &Spanned<DeValue<'_>>) -> Complaint {
        let complaint = wrong_type(value.get_ref(), key.takes);
        let example: Vec<String> = nodes.names.iter().map(|node| format!("{node} = ...")).collect();
        complaint.hint(format!("{} = {{ {} }}", key.name, example.join(", ")))
    }

    /// Every node is there, and nobody else.
    fn check_nodes(&self, place: &Place, entries: &DeTable<'_>, nodes: &Nodes) {
        if !nodes.sure {
            return;
        }
        for node in nodes.names.iter().filter(|node| !entries.contains_key(node.as_str())) {
            let missing = Place { key: join(&place.key, node), span: place.span };
            let hint = format!("every node of [cluster] needs one: add {node} = ...");
            self.findings.put(Finding::error(&missing, Problem::MissingKey).without_value().hint(hint));
        }
        for (key, _) in entries.iter().filter(|(key, _)| !nodes.names.iter().any(|node| node == key.get_ref())) {
            let written = Place { key: join(&place.key, key.get_ref()), span: key.span().into() };
            let finding = Finding::conflict(&written, "is not a node of [cluster]").without_value();
            self.findings.put(finding.hint(nodes.nearest(key.get_ref())));
        }
    }

    /// A table of strings, with a rule for its names and the words for it, which follow "must be named with".
    pub(super) fn strings(
        &self,
        name: &str,
        good_name: impl Fn(&str) -> bool,
        letters: &str,
    ) -> Vec<(String, Placed<String>)> {
        let Some((place, value)) = self.entry(name) else {
            if matches!(self.key(name).preset, Preset::Required) {
                self.missing(name);
            }
            return Vec::new();
        };
        let Some(entries) = value.get_ref().as_table() else {
            self.complain(&place, wrong_type(value.get_ref(), self.key(name).takes));
            return Vec::new();
        };
        let read = |(key, value): (&Spanned<toml::de::DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let path = join(&place.key, key.get_ref());
            if !good_name(key.get_ref()) {
                let place = Place { key: path, span: key.span().into() };
                let rule = format!("must be named with {letters}");
                self.findings.put(Finding::conflict(&place, rule).without_value());
                return None;
            }
            let place = Place { key: path, span: value.span().into() };
            let good = value.get_ref().as_str().filter(|text| !text.contains('\0'));
            let parsed = good.map(str::to_owned).ok_or_else(|| Complaint::value("a string without zero bytes"));
            Some((key.get_ref().to_string(), self.take(place, parsed)?))
        };
        entries.iter().filter_map(read).collect()
    }

    /// A table of its own. One that is not written has its presets.
    pub(super) fn table(&self, name: &str, section: &'static Section) -> Self {
        let Some((place, value)) = self.entry(name) else {
            if matches!(self.key(name).preset, Preset::Required) {
                self.missing(name);
            }
            return Self::open(section, None, self.place.join(name), self.findings);
        };
        let entries = value.get_ref().as_table();
        if entries.is_none() {
            let two = value.get_ref().is_array();
            let hint = if two { "there is one of it: [{}] with single brackets" } else { "begin it with [{}]" };
            let complaint = wrong_type(value.get_ref(), self.key(name).takes);
            self.complain_of_table(&place, complaint.hint(hint.replace("{}", section.path)));
        }
        Self::open(section, entries, place, self.findings)
    }

    /// Tables of their own.
    pub(super) fn tables(&self, name: &str, section: &'static Section) -> Vec<Self> {
        let Some((place, value)) = self.entry(name) else {
            if matches!(self.key(name).preset, Preset::Required) {
                self.missing(name);
            }
            return Vec::new();
        };
        let takes = self.key(name).takes;
        let Some(array) = value.get_ref().as_array() else {
            let hint = format!("there may be several: [[{}]] with double brackets", section.path);
            self.complain_of_table(&place, wrong_type(value.get_ref(), takes).hint(hint));
            return Vec::new();
        };
        let max = if let Takes::Tables(max) = takes { max } else { usize::MAX };
        if array.len() > max {
            self.complain_of_table(&place, Complaint::value(takes.describe()));
        }
        let mut tables = Vec::new();
        for (index, item) in array.iter().take(max).enumerate() {
            let Some(entries) = item.get_ref().as_table() else {
                let place = Place { key: format!("{}[{index}]", place.key), span: item.span().into() };
                self.complain_of_table(&place, wrong_type(item.get_ref(), Takes::Table));
                continue;
            };
            // By its name where it has one: numbers mean nothing to whoever wrote the file.
            let given = entries.get("name").and_then(|name| name.get_ref().as_str());
            let key = match given.filter(|text| Grammar::Name.check(text).is_ok()) {
                Some(given) => join(&place.key, given),
                None => format!("{}[{index}]", place.key),
            };
            let place = Place { key, span: item.span().into() };
            tables.push(Self::open(section, Some(entries), place, self.findings));
        }
        tables
    }
}

fn finding(place: &Place, complaint: Complaint) -> Finding {
    let finding = Finding::error(place, complaint.problem);
    match complaint.hint {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}
