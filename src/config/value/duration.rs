//! Durations as people write them: `200ms`, `1.5s`, `2m`, `1h30m`. A unit is always written, so that nobody has to guess.

use std::fmt::Write as _;
use std::time::Duration;

const NANOS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number where one belongs.
    #[error("a duration begins with a number, as in 200ms")]
    Number,
    /// A number without a unit.
    #[error("a duration needs a unit: us, ms, s, m, h or d")]
    NoUnit,
    /// A unit we do not know.
    #[error("`{0}` is no unit of time: us, ms, s, m, h and d are")]
    Unit(String),
    /// Units that do not go down.
    #[error("units go from large to small, each once, as in 1h30m")]
    Order,
    /// Finer than a nanosecond.
    #[error("nothing is timed finer than a nanosecond")]
    TooFine,
    /// Longer than five centuries.
    #[error("nothing takes that long")]
    TooLong,
}

/// Reads a duration such as `200ms`, `1.5s` or `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    let mut nanos = 0_u64;
    let mut larger = u64::MAX;
    loop {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(number);
        let tail = tail.trim_start();
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace()).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(unit);
        if digits.is_empty() {
            return Err(DurationError::Number);
        }
        let unit = unit_nanos(name)?;
        if unit >= larger {
            return Err(DurationError::Order);
        }
        nanos = nanos.checked_add(part_nanos(digits, unit)?).ok_or(DurationError::TooLong)?;
        larger = unit;
        rest = tail.trim_start();
        if rest.is_empty() {
            return Ok(Duration::from_nanos(nanos));
        }
    }
}

/// Durations of a config in documents, in the words of the config file.
pub(in crate::config) mod as_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::config) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&super::format_duration(*duration))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(de::Error::custom)
    }
}

fn unit_nanos(name: &str) -> Result<u64, DurationError> {
    if name.is_empty() {
        return Err(DurationError::NoUnit);
    }
    let plain = if name == "µs" { "us" } else { name };
    let known = NANOS.iter().find(|(unit, _)| *unit == plain);
    known.map(|(_, nanos)| *nanos).ok_or_else(|| DurationError::Unit(name.to_owned()))
}

/// `1.5` of a unit. In whole numbers throughout: what is written is what is meant, to the nanosecond.
fn part_nanos(digits: &str, unit: u64) -> Result<u64, DurationError> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(DurationError::Number);
    }
    let whole: u64 = whole.parse().map_err(|_| DurationError::TooLong)?;
    let mut nanos = whole.checked_mul(unit).ok_or(DurationError::TooLong)?;
    let mut scale = unit;
    for digit in fraction.bytes().map(|byte| u64::from(byte - b'0')) {
        if digit > 0 && !scale.is_multiple_of(10) {
            return Err(DurationError::TooFine);
        }
        scale /= 10;
        nanos = nanos.checked_add(digit * scale).ok_or(DurationError::TooLong)?;
    }
    Ok(nanos)
}

/// Writes a duration so that [`parse_duration`] gives it back: `200ms`, `1.5s`, `10m`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let (seconds, subsecond) = (duration.as_secs(), duration.subsec_nanos());
    if subsecond == 0 && seconds % 60 == 0 {
        return whole_minutes(seconds / 60);
    }
    let (unit, scale) = if subsecond % 1_000_000 == 0 && seconds > 0 {
        ("s", 1_000_000_000)
    } else if nanos >= 1_000_000 {
        ("ms", 1_000_000)
    } else {
        ("us", 1_000)
    };
    let mut text = (nanos / scale).to_string();
    let rest = nanos % scale;
    if rest > 0 {
        let places = scale.ilog10() as usize;
        let fraction = format!("{rest:0places$}");
        let _ = write!(text, ".{}", fraction.trim_end_matches('0'));
    }
    text + unit
}

fn whole_minutes(minutes: u64) -> String {
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes}m"),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    }
}
