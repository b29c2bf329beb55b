//! Samples of counters, and what they say about the last minute, hour and day.
//!
//! As Apache does it: a counter is sampled every ten seconds, every ten minutes and every hour; seven samples of each of
//! the first two kinds are kept and 25 of the last. A sum is the difference between the newest sample and the oldest. The
//! first sample of a counter is preceded by one of zero, taken one interval before it.

use std::collections::VecDeque;

use super::Span;

/// What a counter did within some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    /// Counted in that time.
    pub sum: u64,
    /// The same for each second.
    pub per_second: f64,
}

/// Cumulated counts at moments that lie evenly apart.
#[derive(Debug, Clone)]
struct Window<const N: usize> {
    interval_ms: i64,
    keep: usize,
    samples: VecDeque<(i64, [u64; N])>,
}

impl<const N: usize> Window<N> {
    fn new(interval_ms: i64, keep: usize) -> Self {
        Self { interval_ms, keep, samples: VecDeque::new() }
    }

    fn sample(&mut self, now_ms: i64, counts: [u64; N]) {
        if self.samples.is_empty() {
            self.samples.push_back((now_ms - self.interval_ms, [0; N]));
        }
        self.samples.push_back((now_ms, counts));
        if self.samples.len() > self.keep {
            self.samples.pop_front();
        }
    }

    fn summary(&self, of: usize) -> Summary {
        let (Some((from, first)), Some((to, last))) = (self.samples.front(), self.samples.back()) else {
            return Summary::default();
        };
        let count = |counts: &[u64; N]| counts.get(of).copied().unwrap_or(0);
        let sum = count(last).saturating_sub(count(first));
        let per_second = if to > from { sum as f64 * 1000.0 / (to - from) as f64 } else { 0.0 };
        Summary { sum, per_second }
    }

    /// Nothing happened in the whole window.
    fn is_idle(&self) -> bool {
        let ends = self.samples.front().zip(self.samples.back());
        self.samples.len() >= self.keep && ends.is_some_and(|((_, first), (_, last))| first == last)
    }
}

/// What `N` counters that belong together did in the last minute, hour and day.
#[derive(Debug, Clone)]
pub struct History<const N: usize> {
    minute: Window<N>,
    hour: Window<N>,
    day: Window<N>,
    last: [u64; N],
}

impl<const N: usize> Default for History<N> {
    fn default() -> Self {
        let window = |span: Span| Window::new(span.interval_ms(), span.samples());
        Self { minute: window(Span::Minute), hour: window(Span::Hour), day: window(Span::Day), last: [0; N] }
    }
}

impl<const N: usize> History<N> {
    /// Takes a sample for each of the `due` spans. Counters that fell start anew: what they counted was deleted.
    pub fn sample(&mut self, now_ms: i64, due: Due, counts: [u64; N]) {
        if counts.iter().zip(&self.last).any(|(now, last)| now < last) {
            *self = Self::default();
        }
        self.last = counts;
        self.minute.sample(now_ms, counts);
        if due.hour {
            self.hour.sample(now_ms, counts);
        }
        if due.day {
            self.day.sample(now_ms, counts);
        }
    }

    /// The counts of the last sample.
    pub fn last(&self) -> [u64; N] {
        self.last
    }

    /// What counter number `of` did.
    pub fn summary(&self, span: Span, of: usize) -> Summary {
        match span {
            Span::Minute => self.minute.summary(of),
            Span::Hour => self.hour.summary(of),
            Span::Day => self.day.summary(of),
        }
    }

    /// Nothing was counted for a whole day, so that the history may be forgotten.
    pub fn is_idle(&self) -> bool {
        self.day.is_idle()
    }
}

/// Which spans take a sample at a tick of ten seconds; the minute always does.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    hour: bool,
    day: bool,
}

impl Due {
    /// What is due at tick number `tick`, counted from 0 at the start of the broker.
    pub fn at(tick: u64) -> Self {
        let every = |span: Span| tick.is_multiple_of((span.interval_ms() / Span::Minute.interval_ms()).unsigned_abs());
        Self { hour: every(Span::Hour), day: every(Span::Day) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One message a second from the start on.
    fn steady(seconds: i64) -> History<1> {
        let mut history = History::default();
        for tick in 0..=seconds / 10 {
            history.sample(tick * 10_000, Due::at(tick as u64), [tick as u64 * 10]);
        }
        history
    }

    #[test]
    fn a_minute_is_seven_samples_of_ten_seconds() {
        let minute = steady(300).summary(Span::Minute, 0);
        assert_eq!(minute, Summary { sum: 60, per_second: 1.0 });
    }

    #[test]
    fn an_hour_is_known_in_steps_of_ten_minutes_and_a_day_in_steps_of_an_hour() {
        let history = steady(7_300);
        assert_eq!(history.summary(Span::Hour, 0), Summary { sum: 3_600, per_second: 1.0 });
        assert_eq!(history.summary(Span::Day, 0).sum, 7_200);
    }

    #[test]
    fn the_first_sample_counts_from_zero_one_interval_ago() {
        let mut history = History::<1>::default();
        history.sample(50_000, Due::at(5), [30]);
        assert_eq!(history.summary(Span::Minute, 0), Summary { sum: 30, per_second: 3.0 });
        assert_eq!(history.summary(Span::Hour, 0), Summary::default());
    }

    #[test]
    fn a_counter_that_fell_starts_anew() {
        let mut history = steady(300);
        history.sample(310_000, Due::at(31), [4]);
        assert_eq!(history.summary(Span::Minute, 0).sum, 4);
    }

    #[test]
    fn a_day_without_a_count_is_idle() {
        let mut history = steady(10);
        for tick in 2..25 * 360 {
            assert!(!history.is_idle());
            history.sample(tick * 10_000, Due::at(tick as u64), [10]);
        }
        history.sample(90_000_000, Due::at(25 * 360), [10]);
        assert!(history.is_idle());
    }
}
