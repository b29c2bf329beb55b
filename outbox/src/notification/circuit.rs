//! What is known of a target: how many calls it has at this moment, and whether it is left alone.
//!
//! ```text
//!                 n failures in a row, or
//!                 it asks for a pause                    pause over
//! closed (calls up to the limit) ────► open (no calls) ────────────► one call to see
//!    ▲                                     ▲                            │    │
//!    │                                     └──────── fails: pause doubled    │
//!    └───────────────────────────────────────────────────────────── answers ─┘
//! ```
//!
//! Decides and does no I/O; time is told.

use std::time::Duration;

use crate::clock::millis;

/// When a target is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitSettings {
    /// Failures in a row that open it. At least 1.
    pub failures: u32,
    /// How long it is left alone the first time.
    pub first_pause: Duration,
    /// The pause is doubled up to this.
    pub longest_pause: Duration,
}

impl Default for CircuitSettings {
    /// 5 failures; 30 s, at most 10 min.
    fn default() -> Self {
        Self { failures: 5, first_pause: Duration::from_secs(30), longest_pause: Duration::from_secs(600) }
    }
}

/// One target's state.
#[derive(Debug, Clone, Default)]
pub(super) struct TargetState {
    in_flight: u32,
    failures_in_row: u32,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    until_ms: i64,
    /// How long this pause is.
    pause_ms: i64,
    /// Until when it asked to be left alone.
    asked_until_ms: i64,
    /// What is doubled when the call to see fails; 0 when the target was left alone only because it asked for it.
    step_ms: i64,
}

impl Open {
    /// When the pause is over; now, when it would last longer than it was meant to: the clock was set back.
    fn resumes_ms(self, now_ms: i64) -> i64 {
        if self.until_ms.saturating_sub(now_ms) > self.pause_ms { now_ms } else { self.until_ms }
    }
}

impl TargetState {
    /// How many calls more may be made now.
    pub(super) fn room(&self, limit: u32, now_ms: i64) -> u32 {
        match self.open {
            None => limit.saturating_sub(self.in_flight),
            Some(open) => u32::from(open.resumes_ms(now_ms) <= now_ms && self.in_flight == 0),
        }
    }

    /// A call is made. Each is followed by one [`ended`](Self::ended).
    pub(super) fn began(&mut self) {
        self.in_flight += 1;
    }

    pub(super) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// It answered, whatever it said. A pause that it asked for holds all the same: the call was made before.
    pub(super) fn answered(&mut self, now_ms: i64) {
        self.failures_in_row = 0;
        let asked = self.open.filter(|open| now_ms < open.asked_until_ms.min(open.resumes_ms(now_ms)));
        self.open = asked.map(|open| Open { until_ms: open.asked_until_ms, step_ms: 0, ..open });
    }

    /// It did not answer, or said that it is unwell, and for how long it wants to be left alone. True when this opened the
    /// circuit.
    pub(super) fn failed(&mut self, settings: &CircuitSettings, now_ms: i64, asked: Option<Duration>) -> bool {
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        let first_ms = millis(settings.first_pause);
        let (kept_ms, step_ms, is_new) = match self.open {
            // called before it was opened: nothing new, unless it asks for more
            Some(open) if now_ms < open.resumes_ms(now_ms) => {
                (open.resumes_ms(now_ms).saturating_sub(now_ms), open.step_ms, false)
            }
            Some(open) => {
                let step_ms = open.step_ms.saturating_mul(2).max(first_ms).min(millis(settings.longest_pause));
                (step_ms, step_ms, false)
            }
            None if self.failures_in_row >= settings.failures.max(1) => (first_ms, first_ms, true),
            None => (0, 0, asked.is_some_and(|asked| !asked.is_zero())),
        };
        if is_new || self.open.is_some() {
            let asked_ms = asked.map_or(0, millis);
            let pause_ms = kept_ms.max(asked_ms);
            let until = |pause_ms: i64| now_ms.saturating_add(pause_ms);
            let asked_until_ms = self.open.map_or(0, |open| open.asked_until_ms).max(until(asked_ms));
            self.open = Some(Open { until_ms: until(pause_ms), pause_ms, asked_until_ms, step_ms });
        }
        is_new
    }

    /// Until when it is left alone.
    pub(super) fn open_until_ms(&self, now_ms: i64) -> Option<i64> {
        self.open.map(|open| open.resumes_ms(now_ms))
    }

    /// Whether nothing is known that a new one would not know.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.failures_in_row == 0 && self.open.is_none()
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: CircuitSettings =
        CircuitSettings { failures: 3, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(3) };

    fn call(state: &mut TargetState, now_ms: i64, is_well: bool) {
        state.began();
        state.ended();
        if is_well {
            state.answered(now_ms);
        } else {
            state.failed(&SETTINGS, now_ms, None);
        }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_a_probe_that_answers() {
        let mut state = TargetState::default();
        for is_well in [false, false, true, false, false] {
            call(&mut state, 0, is_well);
        }
        assert_eq!(state.room(4, 0), 4, "two in a row are not three");
        call(&mut state, 0, false);
        assert_eq!((state.room(4, 999), state.room(4, 1_000)), (0, 1));
        state.began();
        assert_eq!(state.room(4, 1_000), 0, "one call to see, no more");
        state.ended();
        state.answered(1_000);
        assert_eq!((state.room(4, 1_000), state.is_idle()), (4, true));
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut state = TargetState::default();
        let mut now_ms = 0;
        let mut pauses = Vec::new();
        for _ in 0..2 {
            call(&mut state, now_ms, false);
        }
        for _ in 0..4 {
            call(&mut state, now_ms, false);
            pauses.push(state.open_until_ms(now_ms).unwrap() - now_ms);
            now_ms = state.open_until_ms(now_ms).unwrap();
        }
        assert_eq!(pauses, [1_000, 2_000, 3_000, 3_000]);
    }

    #[test]
    fn failures_of_calls_made_before_it_opened_do_not_prolong_the_pause() {
        let mut state = TargetState::default();
        (0..5).for_each(|_| state.began());
        (0..5).for_each(|_| {
            state.ended();
            state.failed(&SETTINGS, 10, None);
        });
        assert_eq!(state.open_until_ms(10), Some(1_010));
    }

    #[test]
    fn a_target_that_asks_for_a_pause_gets_it_and_its_own_pauses_begin_with_the_first() {
        let mut state = TargetState::default();
        let ask = |seconds| Some(Duration::from_secs(seconds));
        (0..3).for_each(|_| state.began());
        assert!(state.failed(&SETTINGS, 0, ask(60)), "one failure is enough");
        state.failed(&SETTINGS, 1_000, ask(90));
        state.failed(&SETTINGS, 2_000, ask(5));
        state.answered(3_000);
        (0..3).for_each(|_| state.ended());
        assert_eq!(state.open_until_ms(2_000), Some(91_000), "the longest that was asked for");
        assert_eq!((state.room(4, 90_999), state.room(4, 91_000)), (0, 1));
        call(&mut state, 91_000, false);
        assert_eq!(state.open_until_ms(91_000), Some(92_000), "the call to see failed");
        call(&mut state, 92_000, true);
        assert!(state.is_idle());
        assert!(!state.failed(&SETTINGS, 92_000, ask(0)));
        assert_eq!(state.room(4, 92_000), 4, "no pause is no pause");
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_prolong_the_pause() {
        let mut state = TargetState::default();
        (0..3).for_each(|_| call(&mut state, 1_000_000, false));
        assert_eq!((state.room(4, 1_000_999), state.room(4, 1_000)), (0, 1));
    }
}
