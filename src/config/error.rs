//! What is wrong with a config, and how it is said.
//!
//! Every [`ConfigError`] names the place, the key, the value, the rule it breaks and, where one is known, the way out.
//! [`ConfigErrors`] holds all of one file, in the order of the text, and draws them under the lines they are about. It
//! never prints: the caller decides where the text goes and whether it may be coloured.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// Findings kept of one file. Beyond it a reader scrolls past what matters; the rest is counted.
pub const FINDINGS_MAX: usize = 100;

/// Characters of a value that are repeated in a message.
const VALUE_CHARS_MAX: usize = 40;

/// A piece of the text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self { start: range.start, end: range.end.max(range.start) }
    }
}

/// Where something stands: the path of its key and its piece of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: String,
    pub(super) span: Span,
}

impl Place {
    /// The place of a key that is not written, inside a table that is.
    pub(super) fn join(&self, key: &str) -> Self {
        Self { key: join(&self.key, key), span: self.span }
    }
}

/// A key below a path.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Whether a finding keeps the file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is good, but an operator should know.
    Warning,
}

/// The kinds of trouble; the text goes on after the key it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is not TOML.
    #[error("not valid TOML: {message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// A key nobody reads: a slip of the pen, or of another version.
    #[error("is not a known key")]
    UnknownKey,
    /// A key that must be there is not.
    #[error("is missing")]
    MissingKey,
    /// A number where a text belongs, and the like.
    #[error("must be {expected}, not {found}")]
    WrongType {
        /// What belongs here.
        expected: String,
        /// What stands here.
        found: &'static str,
    },
    /// The right type, but out of range or not in the right form.
    #[error("must be {rule}")]
    BadValue {
        /// What belongs here.
        rule: String,
    },
    /// Good by itself, but not together with something else.
    #[error("{rule}")]
    Conflict {
        /// What the two must be to each other, naming both.
        rule: String,
    },
    /// Two durations (or counts) in the wrong order.
    #[error("breaks the rule \"{name}\": {left} must be {relation} {right}")]
    Inequality {
        /// Name of the rule, as `avamgr check` prints it.
        name: String,
        /// What must be smaller, with its value.
        left: String,
        /// `less than` or `at most`.
        relation: &'static str,
        /// What must be larger, with its value.
        right: String,
    },
    /// Nothing is wrong, but something follows from it.
    #[error("{fact}")]
    Notice {
        /// What follows.
        fact: String,
    },
}

impl Problem {
    /// A short name for scripts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "syntax",
            Self::UnknownKey => "unknown_key",
            Self::MissingKey => "missing_key",
            Self::WrongType { .. } => "wrong_type",
            Self::BadValue { .. } => "bad_value",
            Self::Conflict { .. } => "conflict",
            Self::Inequality { .. } => "inequality",
            Self::Notice { .. } => "notice",
        }
    }
}

/// One thing that is wrong with a config, or worth knowing about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Error or warning.
    pub severity: Severity,
    /// Line in the file, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// Path of the key, as in `link.primary.address.hadev1`; empty when no key can be named.
    pub key: String,
    /// The value as written, cut when long; `None` when nothing is written.
    pub value: Option<String>,
    /// The rule that is broken.
    pub problem: Problem,
    /// The way out.
    pub hint: Option<String>,
    /// The piece of the text it is about.
    span: Span,
    /// Another piece that has to do with it, and what that is.
    related: Option<(Span, String)>,
}

impl ConfigError {
    /// Whether a byte of the text lies in the piece it is about.
    pub(super) fn covers(&self, at: usize) -> bool {
        (self.span.start..=self.span.end).contains(&at)
    }

    /// The whole finding but its place: key, value, rule.
    fn title(&self) -> String {
        match (self.key.as_str(), &self.value) {
            ("", _) => self.problem.to_string(),
            (key, None) => format!("`{key}` {}", self.problem),
            (key, Some(value)) => format!("`{key} = {value}` {}", self.problem),
        }
    }
}

impl fmt::Display for ConfigError {
    /// One line: `line 12, column 8: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.title())?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl Error for ConfigError {}

impl Serialize for ConfigError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ConfigError", 8)?;
        fields.serialize_field("severity", &self.severity)?;
        fields.serialize_field("line", &self.line)?;
        fields.serialize_field("column", &self.column)?;
        fields.serialize_field("key", &self.key)?;
        fields.serialize_field("value", &self.value)?;
        fields.serialize_field("kind", self.problem.kind())?;
        fields.serialize_field("rule", &self.problem.to_string())?;
        fields.serialize_field("hint", &self.hint)?;
        fields.end()
    }
}

/// Everything found in one file, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigErrors {
    /// The name of the file, for humans.
    pub source: String,
    /// What was found.
    pub findings: Vec<ConfigError>,
    /// How many more there are beyond [`FINDINGS_MAX`].
    pub omitted: usize,
    #[serde(skip)]
    text: String,
}

impl ConfigErrors {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Every finding under the line it is about, as a compiler would draw it, with terminal colours if asked for.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut drawn: Vec<String> = self.findings.iter().map(|finding| self.draw(&renderer, finding)).collect();
        if self.omitted > 0 {
            drawn.push(format!("... and {} more", self.omitted));
        }
        drawn.join("\n\n")
    }

    fn draw(&self, renderer: &Renderer, finding: &ConfigError) -> String {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut snippet = Snippet::source(self.text.as_str())
            .path(self.source.as_str())
            .annotation(AnnotationKind::Primary.span(self.first_line(finding.span)));
        if let Some((span, label)) = &finding.related {
            snippet = snippet.annotation(AnnotationKind::Context.span(self.first_line(*span)).label(label.as_str()));
        }
        let mut group: Group<'_> = level.primary_title(finding.title()).element(snippet);
        if let Some(hint) = &finding.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        renderer.render(&[group])
    }

    /// The part of a piece on its first line: a list of a thousand addresses is not drawn in full.
    fn first_line(&self, span: Span) -> std::ops::Range<usize> {
        let piece = self.text.get(span.start..span.end).unwrap_or_default();
        let length = piece.find(['\n', '\r']).unwrap_or(piece.len());
        span.start..span.start + length
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl Error for ConfigErrors {}

/// The tray all findings of one file are put on while it is read.
pub(super) struct Findings<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
    list: RefCell<Vec<ConfigError>>,
}

/// What is said about a place; built with the methods below and put on the tray.
pub(super) struct Finding {
    severity: Severity,
    place: Place,
    problem: Problem,
    hint: Option<String>,
    related: Option<(Span, String)>,
    quote: bool,
}

impl Finding {
    fn new(severity: Severity, place: &Place, problem: Problem) -> Self {
        Self { severity, place: place.clone(), problem, hint: None, related: None, quote: true }
    }

    pub(super) fn error(place: &Place, problem: Problem) -> Self {
        Self::new(Severity::Error, place, problem)
    }

    pub(super) fn conflict(place: &Place, rule: impl Into<String>) -> Self {
        Self::error(place, Problem::Conflict { rule: rule.into() })
    }

    pub(super) fn warning(place: &Place, fact: impl Into<String>) -> Self {
        Self::new(Severity::Warning, place, Problem::Notice { fact: fact.into() })
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn related(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.related = Some((place.span, label.into()));
        self
    }

    /// The place is that of a table or a key: there is no value to repeat.
    pub(super) fn without_value(mut self) -> Self {
        self.quote = false;
        self
    }
}

impl<'t> Findings<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, line_starts, list: RefCell::new(Vec::new()) }
    }

    pub(super) fn put(&self, finding: Finding) {
        let span = self.fit(finding.place.span);
        let (line, column) = self.position(span.start);
        let value = finding.quote.then(|| self.quote(span)).flatten();
        self.list.borrow_mut().push(ConfigError {
            severity: finding.severity,
            line,
            column,
            key: finding.place.key,
            value,
            problem: finding.problem,
            hint: finding.hint,
            span,
            related: finding.related.map(|(span, label)| (self.fit(span), label)),
        });
    }

    /// How many errors (not warnings) there are so far.
    pub(super) fn errors(&self) -> usize {
        self.list.borrow().iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.position(at).0
    }

    /// Takes back what cannot be trusted.
    pub(super) fn retain(&self, keep: impl Fn(&ConfigError) -> bool) {
        self.list.borrow_mut().retain(keep);
    }

    /// The errors if there are any, otherwise the warnings; in the order of the text.
    pub(super) fn into_errors(self, source: &str) -> ConfigErrors {
        let mut findings = self.list.into_inner();
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            findings.retain(|finding| finding.severity == Severity::Error);
        }
        // Stable, so that findings about one place keep the order in which the rules are written.
        findings.sort_by_key(|finding| finding.span);
        let omitted = findings.len().saturating_sub(FINDINGS_MAX);
        findings.truncate(FINDINGS_MAX);
        ConfigErrors { source: source.to_owned(), findings, omitted, text: self.text.to_owned() }
    }

    /// A piece that lies in the text and does not cut a character, whatever was asked for.
    fn fit(&self, span: Span) -> Span {
        let fit = |at: usize| self.text.floor_char_boundary(at.min(self.text.len()));
        Span { start: fit(span.start), end: fit(span.end.max(span.start)) }
    }

    fn position(&self, at: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..at).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    fn quote(&self, span: Span) -> Option<String> {
        let piece = self.text.get(span.start..span.end)?;
        let line = piece.lines().next()?.trim_end();
        let mut value: String = line.chars().take(VALUE_CHARS_MAX).collect();
        if value.len() < piece.len() {
            value.push('…');
        }
        (!line.is_empty()).then_some(value)
    }
}
