//! Moments as people say them: by the clock on the wall, or how long ago.

use avamgr_core::config::parse_duration;

use crate::cli::args::duration;
use crate::clock;

/// Reads `2026-03-01T03:12:45Z`, or `2h` for two hours ago, and writes it as entries of the history have it.
///
/// # Errors
/// When it is neither, in words.
pub fn moment(text: &str) -> Result<String, String> {
    let expected = || "expected a moment such as 2026-03-01T03:12:45Z, or how long ago, as in 2h or 30min".to_owned();
    let at = text.parse::<jiff::Timestamp>().or_else(|_| {
        // The one knows days, the other more words.
        let ago = parse_duration(text).or_else(|_| duration(text)).map_err(|_| expected())?.as_nanos();
        let nanos = i128::from(clock::wall_nanos()) - i128::try_from(ago).map_err(|_| expected())?;
        jiff::Timestamp::from_nanosecond(nanos).map_err(|_| expected())
    })?;
    Ok(format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_said_by_the_clock_or_by_how_long_ago_it_was() {
        for text in ["2026-03-01T03:12:45.123Z", "2026-03-01 03:12:45.123Z", "2026-03-01T04:12:45.123+01:00"] {
            assert_eq!(moment(text).unwrap(), "2026-03-01T03:12:45.123Z");
        }
        let (long_ago, before, now) = (moment("300d"), moment("2h").unwrap(), moment("1ms").unwrap());
        assert!(long_ago.unwrap() < before && before < now, "{before} {now}");
        for wrong in ["", "2", "yesterday", "2026-03-01"] {
            assert!(moment(wrong).unwrap_err().contains("as in 2h"), "{wrong}");
        }
    }
}
