//! The bench of the window: how fast it answers, how heavy it is, and how soon something that happened is on a screen.
//!
//! Two real nodes in the lab, the real `avamgr-webui` beside each daemon, and a real browser. Only numbers of one run may be
//! compared.

mod bed;
#[path = "../../../browser/mod.rs"]
#[allow(dead_code, reason = "tests of the page use the rest")]
mod browser;
mod crowd;
mod load;
mod screen;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use comfy_table::{Table, presets};

use crate::bed::Bed;

/// Measures the window and prints a table.
#[derive(Debug, Parser)]
#[command(name = "web-bench")]
struct Options {
    /// Questions a second.
    #[arg(long, default_value_t = 1000)]
    rate: u32,

    /// For so many seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,

    /// Streams of events at once.
    #[arg(long, default_value_t = 100)]
    streams: usize,

    /// How often the page is opened, and how often something happens.
    #[arg(long, default_value_t = 15)]
    runs: usize,

    /// Where the programs are; beside this one unless given.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    what: String,
    measured: String,
    wanted: &'static str,
    met: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("web-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let beside_us = std::env::current_exe().context("find this program")?;
    let beside_us = beside_us.parent().map(PathBuf::from).unwrap_or_default();
    let bed = Bed::make(options.bin_dir.as_ref().unwrap_or(&beside_us))?;
    let mut figures = vec![load::answers(&bed, options.rate, Duration::from_secs(options.seconds))?];
    figures.extend(crowd::streams(&bed, options.streams, options.runs)?);
    figures.push(load::weight(&bed)?);
    figures.extend(screen::views(&bed, options.runs)?);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["figure", "measured", "wanted", "met"]);
    for Figure { what, measured, wanted, met } in figures {
        table.add_row([what.as_str(), measured.as_str(), wanted, if met { "yes" } else { "NO" }]);
    }
    println!("{table}");
    Ok(())
}

/// The value that so many of a hundred are not above. `None` of nothing.
pub(crate) fn percentile(values: &mut [Duration], percent: usize) -> Option<Duration> {
    values.sort_unstable();
    let place = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(place).copied()
}

/// Milliseconds for the table.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_the_hundredth_is_the_largest_and_one_is_above_the_99th() {
        let mut values: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut values, 99), Some(Duration::from_millis(99)));
        assert_eq!(percentile(&mut values, 100), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&mut values, 50), Some(Duration::from_millis(50)));
        assert_eq!(percentile(&mut values[..1], 50), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&mut [], 50), None);
    }
}
