//! Standing still: stopped by a signal, starved, or the whole machine asleep.
//!
//! A task that wakes up too late may belong to a node that others have taken for dead. The decision hears of it at the same
//! time, so the task holds off for a moment: orders come first. It does so once. On a machine that is late all the time a
//! hold-off at each late turn would leave no turn to refresh a lifetime in, and all addresses would go while the group is
//! ACTIVE; the next one therefore comes only after a round of refreshes has run and a timer came in time again.

use std::time::Duration;

use avamgr_core::time::Instant;

use super::{Phase, Task};
use crate::clock;

/// After waking up too late: long enough for an order that is given at the same time.
const HOLD_OFF: Duration = Duration::from_millis(50);
/// What a busy machine may be late by without anybody having taken us for dead.
const LATE_MIN: Duration = Duration::from_millis(20);

/// When a turn was to begin, and when that was decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) made: Instant,
    pub(super) due: Instant,
}

/// Turns as they came.
pub(super) struct Stall {
    /// When the task last did anything; a gap tells that it stood still.
    pub(super) last_turn: Instant,
    /// Nothing is done before this but orders.
    pub(super) hold_until: Instant,
    /// It has held off, and was not in time since.
    held: bool,
}

impl Stall {
    pub(super) fn new(now: Instant) -> Self {
        Self { last_turn: now, hold_until: Instant::BOOT, held: false }
    }

    /// A turn begins; `refreshed` = no lifetime waited for its refresh when it was planned.
    fn turn(&mut self, plan: Plan, now: Instant, late_max: Duration, refreshed: bool) {
        if now.since(plan.due) >= late_max {
            if !self.held {
                self.held = true;
                self.hold_until = now + HOLD_OFF;
            }
        } else if plan.due > plan.made && now >= plan.due && refreshed {
            // Only a timer proves something: a turn that was due at once is in time on the busiest machine.
            self.held = false;
        }
    }
}

impl Task {
    /// Every turn begins here.
    pub(super) async fn woke(&mut self, plan: Plan) {
        let now = clock::now();
        let still = now.since(self.stall.last_turn);
        self.stall.last_turn = now;
        if self.phase == Phase::Down {
            return;
        }
        if still >= self.v4.rhythm.lifetime {
            let seconds = still.as_secs_f32();
            let what =
                format!("stood still for {seconds:.1} s, longer than the guard allows: the addresses were withdrawn");
            self.give_up(what).await;
        } else if self.phase == Phase::Up {
            let refreshed = [&self.v4, &self.v6].iter().all(|family| family.due.is_none_or(|due| due >= plan.due));
            self.stall.turn(plan, now, self.timers.dead_time.max(LATE_MIN), refreshed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(300);

    fn at(millis: u64) -> Instant {
        Instant::BOOT + Duration::from_millis(millis)
    }

    fn plan(made: u64, due: u64) -> Plan {
        Plan { made: at(made), due: at(due) }
    }

    #[test]
    fn a_late_turn_holds_off_once() {
        let mut stall = Stall::new(at(0));
        stall.turn(plan(0, 500), at(1_000), LATE, true);
        assert_eq!(stall.hold_until, at(1_050));
        // Late again, and again: what waits is done.
        stall.turn(plan(1_000, 1_050), at(1_400), LATE, false);
        stall.turn(plan(1_400, 1_900), at(2_300), LATE, true);
        assert_eq!(stall.hold_until, at(1_050));
    }

    #[test]
    fn the_next_stall_begins_when_a_timer_came_in_time_after_a_refresh() {
        let mut stall = Stall::new(at(0));
        stall.turn(plan(0, 500), at(1_000), LATE, true);
        // In time, but nothing was refreshed yet; then a turn that was due at once.
        stall.turn(plan(1_000, 1_050), at(1_051), LATE, false);
        stall.turn(plan(1_051, 1_051), at(1_052), LATE, true);
        // Woken by something else before the time.
        stall.turn(plan(1_052, 1_500), at(1_200), LATE, true);
        stall.turn(plan(1_200, 1_500), at(2_000), LATE, true);
        assert_eq!(stall.hold_until, at(1_050));
        stall.turn(plan(2_000, 2_500), at(2_501), LATE, true);
        stall.turn(plan(2_501, 3_000), at(3_500), LATE, true);
        assert_eq!(stall.hold_until, at(3_550));
    }
}
