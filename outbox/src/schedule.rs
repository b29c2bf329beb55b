//! When what failed is tried again, and when it is given up.

use std::{fmt, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

const MINUTE: Duration = Duration::from_secs(60);

/// Pauses between tries, and how many tries there are.
///
/// | preset | pauses | tries |
/// |---|---|---|
/// | [`exponential`](Self::exponential) (default: 1 s, at most 1 min, jitter 20 %) | doubled each time | 50 |
/// | [`local_message_table`](Self::local_message_table) | three times none, then 4 min, then 1 min each | 50 |
/// | [`growing`](Self::growing) | 1 s, 5 s, 15 s, 30 s, 1 min, 5 min, 15 min, 30 min, then 1 h each | 50 |
/// | [`doubling_minutes`](Self::doubling_minutes) | 1, 2, 4, 8, 16, then 30 min | 5 |
///
/// ```
/// use std::time::Duration;
/// use tenonmq_outbox::Schedule;
/// let schedule = Schedule::doubling_minutes();
/// assert_eq!(schedule.after(1, 0), Some(Duration::from_secs(60)));
/// assert_eq!(schedule.after(4, 0), Some(Duration::from_secs(8 * 60)));
/// assert_eq!(schedule.after(5, 0), None); // the fifth try was the last
/// ```
#[derive(Clone)]
pub struct Schedule {
    pauses: Pauses,
    tries: u32,
    /// Share of a pause by which it may differ, 0 to 1.
    jitter: f64,
    seed: u64,
}

#[derive(Clone)]
enum Pauses {
    /// One after the other; the last one is repeated.
    Listed(Arc<[Duration]>),
    Doubling {
        first: Duration,
        max: Duration,
    },
    Own(Arc<dyn Fn(u32) -> Option<Duration> + Send + Sync>),
}

impl Schedule {
    /// `first`, then twice as long each time up to `max`; 50 tries, 20 % jitter.
    pub fn exponential(first: Duration, max: Duration) -> Self {
        Self { jitter: 0.2, ..Self::with(Pauses::Doubling { first, max }, 50) }
    }

    /// The local message table's: three immediate retries; then, so that a late success is not taken for a failure, none
    /// for 4 minutes; then one each minute; 50 tries in all.
    pub fn local_message_table() -> Self {
        let none = Duration::ZERO;
        Self::listed([none, none, none, 4 * MINUTE, MINUTE], 50)
    }

    /// Best-effort notification's: 1 s, 5 s, 15 s and so on up to each hour; 50 tries.
    pub fn growing() -> Self {
        let seconds = [1, 5, 15, 30, 60, 300, 900, 1800, 3600];
        Self::listed(seconds.map(Duration::from_secs), 50)
    }

    /// 2^n minutes, from 1 to at most 30; 5 tries.
    pub fn doubling_minutes() -> Self {
        Self::with(Pauses::Doubling { first: MINUTE, max: 30 * MINUTE }, 5)
    }

    /// The given pauses, of which the last is repeated; an empty list is no pause.
    pub fn listed(pauses: impl IntoIterator<Item = Duration>, tries: u32) -> Self {
        Self::with(Pauses::Listed(pauses.into_iter().collect()), tries)
    }

    /// The pause after that many failures (from 1), or `None` to give up.
    pub fn own(pause: impl Fn(u32) -> Option<Duration> + Send + Sync + 'static) -> Self {
        Self::with(Pauses::Own(Arc::new(pause)), u32::MAX)
    }

    fn with(pauses: Pauses, tries: u32) -> Self {
        Self { pauses, tries: tries.max(1), jitter: 0.0, seed: 0 }
    }

    /// How often it is tried in all, the first time included. At least 1.
    #[must_use]
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = tries.max(1);
        self
    }

    /// Lets each pause differ by up to this share of it (0 to 1), either way, so that what failed together does not come
    /// back together.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self
    }

    /// What the jitter is made from: the same seed makes the same pauses.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The pause after so many failures (1 after the first), or `None` when that was the last try. `row` is what the jitter
    /// differs by.
    pub fn after(&self, failures: u32, row: i64) -> Option<Duration> {
        if failures >= self.tries {
            return None;
        }
        let step = failures.saturating_sub(1);
        let pause = match &self.pauses {
            Pauses::Listed(list) => {
                let at = usize::try_from(step).unwrap_or(usize::MAX).min(list.len().saturating_sub(1));
                list.get(at).copied().unwrap_or_default()
            }
            Pauses::Doubling { first, max } => {
                first.saturating_mul(1_u32.checked_shl(step).unwrap_or(u32::MAX)).min(*max)
            }
            Pauses::Own(pause) => pause(failures)?,
        };
        Some(self.jittered(pause, failures, row))
    }

    /// Longer than any pause, as far as is known: what is to wait longer was written under a wrong clock.
    pub(crate) fn horizon(&self) -> Option<Duration> {
        let longest = match &self.pauses {
            Pauses::Listed(list) => list.iter().max().copied().unwrap_or_default(),
            Pauses::Doubling { max, .. } => *max,
            Pauses::Own(_) => return None,
        };
        Some(longest.mul_f64(1.0 + self.jitter))
    }

    fn jittered(&self, pause: Duration, failures: u32, row: i64) -> Duration {
        if self.jitter == 0.0 {
            return pause;
        }
        let salt = (row.cast_unsigned() << 8) ^ u64::from(failures);
        let mut random = StdRng::seed_from_u64(self.seed ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        pause.mul_f64(1.0 + random.random_range(-self.jitter..=self.jitter))
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::exponential(Duration::from_secs(1), MINUTE)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first: Vec<_> = (1..6).map_while(|failures| self.after(failures, 0)).collect();
        f.debug_struct("Schedule").field("first_pauses", &first).field("tries", &self.tries).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(schedule: &Schedule) -> Vec<u64> {
        (1..).map_while(|failures| schedule.after(failures, 7)).map(|pause| pause.as_secs()).collect()
    }

    #[test]
    fn the_local_message_table_retries_three_times_at_once_then_from_four_minutes_each_minute_up_to_fifty() {
        let pauses = seconds(&Schedule::local_message_table());
        assert_eq!(pauses[..6], [0, 0, 0, 240, 60, 60]);
        assert_eq!(pauses.len(), 49, "50 tries have 49 pauses");
    }

    #[test]
    fn growing_pauses_begin_with_1_5_and_15_seconds_and_end_after_fifty_tries() {
        let pauses = seconds(&Schedule::growing());
        assert_eq!(pauses[..4], [1, 5, 15, 30]);
        assert_eq!((pauses.len(), pauses.last()), (49, Some(&3600)));
    }

    #[test]
    fn doubling_minutes_stop_at_thirty() {
        assert_eq!(seconds(&Schedule::doubling_minutes()), [60, 120, 240, 480]);
        let longer = seconds(&Schedule::doubling_minutes().tries(9));
        assert_eq!(longer, [60, 120, 240, 480, 960, 1800, 1800, 1800]);
    }

    #[test]
    fn jitter_is_the_same_for_the_same_seed_and_stays_within_its_share() {
        let schedule = Schedule::exponential(Duration::from_secs(100), Duration::from_secs(100)).seed(5);
        let pauses: Vec<_> = (0..200).filter_map(|row| schedule.after(1, row)).collect();
        assert_eq!(pauses, (0..200).filter_map(|row| schedule.after(1, row)).collect::<Vec<_>>());
        assert!(pauses.iter().all(|pause| (80_000..=120_000).contains(&pause.as_millis())));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        assert_ne!(schedule.after(1, 3), schedule.clone().seed(6).after(1, 3));
    }

    #[test]
    fn a_schedule_of_the_users_own_decides_alone() {
        let own = Schedule::own(|failures| (failures < 3).then(|| Duration::from_millis(u64::from(failures))));
        assert_eq!(own.after(2, 0), Some(Duration::from_millis(2)));
        assert_eq!(own.after(3, 0), None);
    }
}
