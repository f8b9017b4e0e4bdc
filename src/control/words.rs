//! Quantities and commands, the same in sentences, status and answers.

use std::time::Duration;

use crate::control::ResourceVerb;
use crate::node::event::HoldKind;

/// A duration as a human says it: two units at most, no false precision.
///
/// `312 ms`, `1.500 s`, `42 s`, `3 min 20 s`, `5 h 12 min`, `2 d 3 h`.
pub fn duration(duration: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = duration.as_secs();
    let millis = duration.subsec_millis();
    match seconds {
        0 if duration < Duration::from_millis(1) => format!("{} us", duration.as_micros()),
        0 => format!("{millis} ms"),
        1..10 if millis > 0 => format!("{seconds}.{millis:03} s"),
        1..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => two(seconds / MINUTE, "min", seconds % MINUTE, "s"),
        HOUR..DAY => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "min"),
        DAY.. => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
    }
}

/// Microseconds of a round trip: `87 us`, `0.412 ms`, `12.3 ms`.
pub fn micros(micros: u64) -> String {
    match micros {
        0..100 => format!("{micros} us"),
        100..10_000 => format!("{}.{:03} ms", micros / 1000, micros % 1000),
        10_000.. => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
    }
}

/// A hold as a state of the node.
pub fn hold(hold: HoldKind) -> &'static str {
    match hold {
        HoldKind::Offline => "offline",
        HoldKind::Maintenance => "maintenance",
        HoldKind::Flap => "flap limit",
        HoldKind::Fenced => "fenced",
    }
}

/// An order for a resource.
pub fn verb(verb: ResourceVerb) -> &'static str {
    match verb {
        ResourceVerb::Start => "start",
        ResourceVerb::Stop => "stop",
        ResourceVerb::Restart => "restart",
        ResourceVerb::Clear => "clear",
    }
}

fn two(big: u64, big_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{big} {big_unit}") } else { format!("{big} {big_unit} {small} {small_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Command;

    #[test]
    fn durations_are_said_in_two_units_at_most() {
        let said = |millis| duration(Duration::from_millis(millis));
        assert_eq!(duration(Duration::from_micros(43)), "43 us");
        assert_eq!(said(0), "0 us");
        assert_eq!(said(312), "312 ms");
        assert_eq!(said(999), "999 ms");
        assert_eq!(said(1_000), "1 s");
        assert_eq!(said(1_500), "1.500 s");
        assert_eq!(said(12_345), "12 s");
        assert_eq!(said(60_000), "1 min");
        assert_eq!(said(200_000), "3 min 20 s");
        assert_eq!(said(3_600_000), "1 h");
        assert_eq!(said(18_720_000), "5 h 12 min");
        assert_eq!(said(183_600_000), "2 d 3 h");
    }

    #[test]
    fn round_trips_keep_three_figures() {
        assert_eq!(micros(87), "87 us");
        assert_eq!(micros(412), "0.412 ms");
        assert_eq!(micros(12_345), "12.3 ms");
    }

    #[test]
    fn commands_read_as_typed() {
        let switchover = Command::Switchover { group: Some("dre".into()), to: Some("hadev2".into()), dry_run: true };
        assert_eq!(switchover.words(), "switchover dre --to hadev2 --dry-run");
        let offline = |millis| Command::Offline { duration: Some(Duration::from_millis(millis)) }.words();
        assert_eq!((offline(30_000), offline(500)), ("offline --for 30s".into(), "offline --for 500ms".into()));
        assert_eq!(Command::Maintenance { on: false }.words(), "maintenance off");
        let clear = Command::Resource { resource: "dre/Traffic".into(), verb: ResourceVerb::Clear };
        assert_eq!(clear.words(), "resource clear dre/Traffic");
    }
}
