//! What is wrong, by what was read.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::Reading;
use crate::clock::millis;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Somebody should look.
    Warning,
    /// Somebody must look now.
    Critical,
}

impl Severity {
    /// In small letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A number of a [`Reading`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Measure {
    /// Rows to be tried.
    Pending,
    /// Age of the oldest row to be tried, in ms.
    OldestMs,
    /// Rows that people must decide about.
    Exhausted,
    /// Tries that failed, since the process began or [within](Rule::within) a time.
    Failed,
    /// Messages that were handled before, likewise.
    Duplicates,
    /// WAL in bytes that a change relay's slot makes the server keep.
    HeldBytes,
}

impl Measure {
    fn of(self, reading: &Reading) -> u64 {
        match self {
            Self::Pending => reading.backlog.pending,
            Self::OldestMs => reading.backlog.oldest_ms.map_or(0, |age_ms| u64::try_from(age_ms).unwrap_or(0)),
            Self::Exhausted => reading.backlog.exhausted,
            Self::Failed => reading.counts.failed,
            Self::Duplicates => reading.counts.duplicates,
            Self::HeldBytes => reading.held_bytes.unwrap_or(0),
        }
    }
}

/// What must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    name: String,
    group: String,
    measure: Measure,
    above: u64,
    within: Option<Duration>,
    severity: Severity,
}

impl Rule {
    /// Wrong is a number above `above`.
    pub fn new(name: impl Into<String>, measure: Measure, above: u64, severity: Severity) -> Self {
        Self { name: name.into(), group: "messaging".to_owned(), measure, above, within: None, severity }
    }

    /// Looks at how much the number grew within that time. Counted from the start of the process at most.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    /// What is in one group makes one notice. Default `messaging`, so that one outage is one notice.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }
}

/// Something that is wrong at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is grouped by.
    pub group: String,
    /// Which rule.
    pub rule: String,
    /// Where.
    pub part: String,
    /// How bad.
    pub severity: Severity,
    /// In words, with the number.
    pub text: String,
}

/// Rules, and what they must remember.
#[derive(Debug, Clone)]
pub struct Rules {
    rules: Vec<Rule>,
    /// By rule and part: values that grow, with their times, the oldest first.
    windows: HashMap<(usize, String), VecDeque<(i64, u64)>>,
}

/// Samples of a window: its time is known to this part of it.
const SAMPLES: i64 = 48;

impl Default for Rules {
    /// Anything exhausted is critical; a row that is older than 5 min, and more than 10 failures within 24 h, are warnings;
    /// so is a slot that holds more than 1 GiB of WAL.
    fn default() -> Self {
        Self::new([
            Rule::new("exhausted", Measure::Exhausted, 0, Severity::Critical),
            Rule::new("old", Measure::OldestMs, 300_000, Severity::Warning),
            Rule::new("failing", Measure::Failed, 10, Severity::Warning).within(Duration::from_secs(86_400)),
            Rule::new("slot", Measure::HeldBytes, 1 << 30, Severity::Warning),
        ])
    }
}

impl Rules {
    /// These rules.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { rules: rules.into_iter().collect(), windows: HashMap::new() }
    }

    /// What is wrong now.
    pub fn findings(&mut self, now_ms: i64, readings: &[Reading]) -> Vec<Finding> {
        let Self { rules, windows } = self;
        windows.retain(|(_, part), _| readings.iter().any(|reading| reading.part == *part));
        let mut findings = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            for reading in readings {
                let total = rule.measure.of(reading);
                let value = match rule.within {
                    None => total,
                    Some(time) => grown(windows.entry((at, reading.part.clone())).or_default(), now_ms, total, time),
                };
                if value > rule.above {
                    findings.push(rule.finding(reading, value));
                }
            }
        }
        findings
    }
}

impl Rule {
    fn finding(&self, reading: &Reading, value: u64) -> Finding {
        let what = match self.measure {
            Measure::Pending => format!("{value} rows wait"),
            Measure::OldestMs => format!("the oldest row waits for {} s", value / 1_000),
            Measure::Exhausted => format!("{value} rows are given up and wait for a decision"),
            Measure::Failed => format!("{value} tries failed"),
            Measure::HeldBytes => format!("{} MiB of WAL are held", value >> 20),
            Measure::Duplicates => format!("{value} messages came once more"),
        };
        let within = self.within.map(|time| format!(" within {} min", time.as_secs() / 60)).unwrap_or_default();
        Finding {
            group: self.group.clone(),
            rule: self.name.clone(),
            part: reading.part.clone(),
            severity: self.severity,
            text: format!("{what}{within}"),
        }
    }
}

/// How much a counter grew within `time`; from 0 when it was never seen before.
fn grown(window: &mut VecDeque<(i64, u64)>, now_ms: i64, total: u64, time: Duration) -> u64 {
    let time_ms = millis(time).max(1);
    // a clock or a counter that was set back begins anew
    if window.back().is_some_and(|(at_ms, value)| *at_ms > now_ms || *value > total) {
        window.clear();
    }
    if window.is_empty() {
        window.push_back((now_ms, 0));
    }
    if window.back().is_some_and(|(at_ms, _)| now_ms - at_ms >= (time_ms / SAMPLES).max(1)) {
        window.push_back((now_ms, total));
    }
    while window.get(1).is_some_and(|(at_ms, _)| now_ms - at_ms >= time_ms) {
        window.pop_front();
    }
    total - window.front().map_or(0, |(_, value)| *value).min(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{monitoring::Counts, work::Backlog};

    const MINUTE_MS: i64 = 60_000;

    fn reading(exhausted: u64, failed: u64) -> Reading {
        let counts = Counts { failed, ..Counts::default() };
        Reading::of("outbox".to_owned(), Backlog { pending: 0, exhausted, oldest_ms: None }, counts)
    }

    #[test]
    fn what_is_above_the_limit_is_found_with_its_number() {
        let mut rules = Rules::default();
        assert!(rules.findings(0, &[reading(0, 0)]).is_empty());
        let findings = rules.findings(0, &[reading(2, 0)]);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].severity, findings[0].part.as_str()), (Severity::Critical, "outbox"));
        assert!(findings[0].text.starts_with("2 rows are given up"));
    }

    #[test]
    fn more_than_ten_failures_within_a_day_are_found_until_a_day_later() {
        let mut rules = Rules::default();
        assert!(rules.findings(0, &[reading(0, 10)]).is_empty());
        assert_eq!(rules.findings(MINUTE_MS, &[reading(0, 11)])[0].rule, "failing");
        let mut cleared_at = None;
        for minute in 2..2_000 {
            if rules.findings(minute * MINUTE_MS, &[reading(0, 11)]).is_empty() {
                cleared_at = Some(minute);
                break;
            }
        }
        assert!(cleared_at.is_some_and(|minute| (1_440..=1_500).contains(&minute)), "{cleared_at:?}");
        assert!(rules.windows.values().all(|window| window.len() <= 50));
    }

    #[test]
    fn a_counter_or_clock_that_is_set_back_begins_anew() {
        let mut rules = Rules::default();
        rules.findings(100 * MINUTE_MS, &[reading(0, 50)]);
        assert!(rules.findings(101 * MINUTE_MS, &[reading(0, 3)]).is_empty());
        assert_eq!(rules.findings(2 * MINUTE_MS, &[reading(0, 14)]).len(), 1);
    }
}
