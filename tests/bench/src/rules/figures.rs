//! Figures in short, and the tables they end in.

use std::fmt;

use comfy_table::{Table, presets};

/// Some measured figures, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    /// Of any numbers.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The smallest figure that so many percent do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied()
    }

    /// Half are not larger.
    pub(crate) fn median(&self) -> Option<f64> {
        self.percentile(50)
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match [self.percentile(50), self.percentile(99), self.percentile(100)] {
            [Some(median), Some(p99), Some(max)] if self.count() > 1 => {
                write!(f, "{} / {} / {}", figure(median), figure(p99), figure(max))
            }
            [Some(only), ..] => f.write_str(&figure(only)),
            [None, ..] => f.write_str("-"),
        }
    }
}

/// As many digits as a measurement is worth.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Whether a target is met; targets are those of our own program, the others are shown beside them.
pub(crate) fn verdict(ours: bool, met: bool) -> String {
    let word = if met { "yes" } else { "NO" };
    if ours { format!("**{word}**") } else { word.to_lowercase() }
}

/// A line of a table.
pub(crate) type Row = Vec<String>;

/// A table as markdown.
pub(crate) fn markdown(title: &str, header: &[&str], rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header.iter().copied());
    for row in rows {
        // A line that says why there are no figures is shorter than the others.
        let missing = header.len().saturating_sub(row.len());
        table.add_row(row.iter().cloned().chain(std::iter::repeat_n(String::new(), missing)));
    }
    format!("### {title}\n\n{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_fifty_the_99th_percentile_is_the_largest() {
        let figures = Figures::of((1..=50).rev().map(f64::from).collect());
        assert_eq!(figures.to_string(), "25.0 / 50.0 / 50.0");
        assert_eq!(Figures::of((1..=200).map(f64::from).collect()).to_string(), "100 / 198 / 200");
        assert_eq!(Figures::of(Vec::new()).to_string(), "-");
        assert_eq!(Figures::of(vec![0.25]).to_string(), "0.25");
    }
}
