//! Which time is compared.

use std::time::Duration;

use crate::clock::{Clock, SystemClock, millis};

const DAY_MS: i64 = 24 * 3_600_000;

/// A span of time, with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    pub(super) name: String,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) grace: Duration,
}

impl Period {
    /// From a time on and before another, in ms since the Unix epoch. The name is that of the report and part of repair
    /// messages' ids.
    pub fn new(name: impl Into<String>, from_ms: i64, to_ms: i64) -> Self {
        Self { name: name.into(), from_ms, to_ms, grace: Duration::from_secs(3_600) }
    }

    /// The day before today, in UTC, named by its date (`2026-11-20`).
    pub fn yesterday() -> Self {
        Self::day_before(SystemClock.now_ms(), 0)
    }

    /// The day before the day in which `now_ms` is, where clocks are `offset_minutes` ahead of UTC.
    pub fn day_before(now_ms: i64, offset_minutes: i32) -> Self {
        let offset_ms = i64::from(offset_minutes) * 60_000;
        let day = now_ms.saturating_add(offset_ms).div_euclid(DAY_MS).saturating_sub(1);
        let from_ms = day.saturating_mul(DAY_MS).saturating_sub(offset_ms);
        Self::new(date(day), from_ms, from_ms.saturating_add(DAY_MS))
    }

    /// How long something may be under way from one side to the other. Default one hour. Run the comparison that long after
    /// the period's end, or what is younger is reported as unsettled.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What sources are to be read for: the period, and the grace on both sides. From the first on and before the second, in
    /// ms since the Unix epoch.
    pub fn window(&self) -> (i64, i64) {
        let grace_ms = millis(self.grace);
        (self.from_ms.saturating_sub(grace_ms), self.to_ms.saturating_add(grace_ms))
    }

    pub(super) fn contains(&self, at_ms: i64) -> bool {
        (self.from_ms..self.to_ms).contains(&at_ms)
    }
}

/// The date of a day, counted from 1970-01-01, in the Gregorian calendar.
fn date(day: i64) -> String {
    // years begin in March here, so that the leap day is a year's last
    const FROM_MARCH_OF_YEAR_0: i64 = 719_468;
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let day = day.clamp(-DAYS_OF_400_YEARS * 5, DAYS_OF_400_YEARS * 20) + FROM_MARCH_OF_YEAR_0;
    let (era, rest) = (day.div_euclid(DAYS_OF_400_YEARS), day.rem_euclid(DAYS_OF_400_YEARS));
    let year_of_era = (rest - rest / 1_460 + rest / 36_524 - rest / 146_096) / 365;
    let day_of_year = rest - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_named_by_their_date() {
        let named = [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (19_675, "2023-11-14")];
        for (day, name) in named {
            assert_eq!(date(day), name);
        }
    }

    #[test]
    fn yesterday_is_a_day_of_the_place() {
        let now_ms = 1_700_000_000_000; // 2023-11-14 22:13:20 UTC
        let utc = Period::day_before(now_ms, 0);
        assert_eq!((utc.name(), utc.from_ms, utc.to_ms), ("2023-11-13", 1_699_833_600_000, 1_699_920_000_000));
        let east = Period::day_before(now_ms, 8 * 60);
        assert_eq!((east.name(), east.from_ms), ("2023-11-14", 1_699_891_200_000));
        assert_eq!(utc.window(), (1_699_830_000_000, 1_699_923_600_000));
    }
}
