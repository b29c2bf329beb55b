//! How often and how fast producers are asked about undecided half messages: for all groups, and otherwise for some.

use std::{collections::BTreeMap, sync::Arc};

/// How the producers of a group are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckPolicy {
    /// Time from the first check of a message to the second. In milliseconds (`transactionCheckInterval`, `interval`).
    pub interval_ms: i64,
    /// Checks per message before it is parked (`transactionCheckMax`, `maxChecks`).
    pub max_checks: u32,
    /// Checks of the group in a second; 0 for as many as can be sent (`transactionChecksPerSecondPerGroup`, `perSecond`).
    pub per_second: u32,
    /// Unanswered checks of the group (`transactionChecksUnansweredMaxPerGroup`, `unanswered`).
    pub unanswered: u32,
    /// Share of the time between two checks, in percent, by which it is lengthened at most, otherwise for each message and
    /// check (`transactionCheckJitter`, `jitter`).
    pub jitter_percent: u32,
    /// What the time between two checks is multiplied by from one to the next, in percent: 100 leaves it as it is
    /// (`transactionCheckBackOff` and `backOff`, as a factor).
    pub back_off_percent: u32,
    /// What it grows to at most. In milliseconds (`transactionCheckIntervalMax`, `longest`).
    pub longest_ms: i64,
}

/// Those groups that are asked otherwise than all others.
pub type GroupPolicies = BTreeMap<String, CheckPolicy>;

/// Largest factor of a back-off.
pub const BACK_OFF_MOST: u32 = 8;

impl CheckPolicy {
    /// What Apache does, with a budget.
    pub const DEFAULT: Self = Self {
        interval_ms: 30_000,
        max_checks: 15,
        per_second: 1000,
        unanswered: 512,
        jitter_percent: 0,
        back_off_percent: 100,
        longest_ms: 3_600_000,
    };

    /// Time from check number `checks` (from 1) to the next, in milliseconds. `back_off_percent`: what the message itself
    /// wishes. `seed` makes the jitter of two messages differ.
    pub fn wait_ms(&self, checks: u16, back_off_percent: Option<u32>, seed: i64) -> i64 {
        let percent = i64::from(back_off_percent.unwrap_or(self.back_off_percent)).max(100);
        let longest = self.longest_ms.max(self.interval_ms);
        let mut wait = self.interval_ms.max(1);
        for _ in 1..checks {
            if percent == 100 || wait >= longest {
                break;
            }
            wait = (wait.saturating_mul(percent) / 100).min(longest);
        }
        wait.saturating_add(self.jitter_ms(wait, checks, seed))
    }

    /// Between nothing and the share of `wait` that is set, the same for the same message and check.
    fn jitter_ms(&self, wait: i64, checks: u16, seed: i64) -> i64 {
        if self.jitter_percent == 0 {
            return 0;
        }
        // the finaliser of splitmix64: all bits of the result depend on all of the input
        let mut mixed = (seed.cast_unsigned() << 16 ^ u64::from(checks)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = (mixed ^ mixed >> 31) % 1001;
        let most = i128::from(wait) * i128::from(self.jitter_percent) / 100;
        i64::try_from(most * i128::from(share) / 1000).unwrap_or(0) // no more than `wait`
    }

    /// Time that all checks of a message take, in milliseconds.
    pub fn all_checks_ms(&self) -> i64 {
        let mut all = 0_i64;
        for checks in 1..=self.max_checks {
            let number = u16::try_from(checks).unwrap_or(u16::MAX);
            let wait = self.wait_ms(number, None, 0);
            let rest = i64::from(self.max_checks - checks) + 1;
            if self.back_off_percent <= 100 || wait >= self.longest_ms {
                return all.saturating_add(wait.saturating_mul(rest));
            }
            all = all.saturating_add(wait);
        }
        all
    }
}

/// Reads `group:name=value,…;group:…` on top of what holds for all groups.
///
/// # Errors
/// What is wrong with which part.
pub(super) fn parse(text: &str, all: CheckPolicy) -> Result<Option<Arc<GroupPolicies>>, String> {
    let mut groups = GroupPolicies::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (group, fields) = part
            .split_once(':')
            .ok_or_else(|| format!("[{part}] has no colon: write group:perSecond=50,backOff=2;group:…"))?;
        let group = group.trim();
        if group.is_empty() {
            return Err(format!("[{part}] names no group"));
        }
        let mut policy = all;
        for field in fields.split(',').map(str::trim).filter(|field| !field.is_empty()) {
            set(&mut policy, field).map_err(|wrong| format!("of group {group}, {wrong}"))?;
        }
        if groups.insert(group.to_owned(), policy).is_some() {
            return Err(format!("group {group} is there twice"));
        }
    }
    Ok((!groups.is_empty()).then(|| Arc::new(groups)))
}

fn set(policy: &mut CheckPolicy, field: &str) -> Result<(), String> {
    let (name, value) = field.split_once('=').ok_or_else(|| format!("[{field}] has no ="))?;
    let (name, value) = (name.trim(), value.trim());
    let number = |range: std::ops::RangeInclusive<i64>| match value.parse::<i64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("{name} is [{value}], not a number from {} to {}", range.start(), range.end())),
    };
    let count = |range| number(range).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    const MOST: i64 = i32::MAX as i64;
    match name {
        "interval" => policy.interval_ms = number(1..=MOST)?,
        "maxChecks" => policy.max_checks = count(1..=MOST)?,
        "perSecond" => policy.per_second = count(0..=1_000_000)?,
        "unanswered" => policy.unanswered = count(1..=MOST)?,
        "jitter" => policy.jitter_percent = count(0..=100)?,
        "longest" => policy.longest_ms = number(1..=i64::MAX)?,
        "backOff" => {
            policy.back_off_percent = back_off_percent(value)
                .ok_or_else(|| format!("backOff is [{value}], not a factor from 1 to {BACK_OFF_MOST}"))?;
        }
        _ => {
            return Err(format!(
                "[{name}] is not interval, maxChecks, perSecond, unanswered, jitter, backOff or longest"
            ));
        }
    }
    Ok(())
}

/// A factor from 1 to [`BACK_OFF_MOST`] in percent.
pub(crate) fn back_off_percent(factor: &str) -> Option<u32> {
    let factor: f64 = factor.trim().parse().ok()?;
    let is_valid = (1.0..=f64::from(BACK_OFF_MOST)).contains(&factor);
    is_valid.then(|| (factor * 100.0).round() as u32) // between 100 and 800
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: CheckPolicy = CheckPolicy::DEFAULT;

    #[test]
    fn a_back_off_grows_from_check_to_check_and_no_further_than_it_may() {
        let policy = CheckPolicy { back_off_percent: 200, longest_ms: 200_000, ..ALL };
        let waits: Vec<_> = (1..=5).map(|checks| policy.wait_ms(checks, None, 7)).collect();
        assert_eq!(waits, [30_000, 60_000, 120_000, 200_000, 200_000]);
        assert_eq!(policy.wait_ms(3, Some(150), 7), 67_500);
        assert_eq!(policy.all_checks_ms(), 30_000 + 60_000 + 120_000 + 12 * 200_000);
        assert_eq!(ALL.all_checks_ms(), 15 * 30_000);
        assert_eq!(ALL.wait_ms(9, None, 7), 30_000);
    }

    #[test]
    fn jitter_lengthens_by_its_share_at_most_and_spreads_evenly() {
        let policy = CheckPolicy { jitter_percent: 20, ..ALL };
        let waits: Vec<_> = (0..10_000).map(|seed| policy.wait_ms(1, None, seed)).collect();
        assert!(waits.iter().all(|wait| (30_000..=36_000).contains(wait)));
        for tenth in 0..10 {
            let range = 30_000 + tenth * 600..30_600 + tenth * 600;
            let share = waits.iter().filter(|wait| range.contains(*wait)).count();
            assert!((800..1200).contains(&share), "{share} of 10000 in {range:?}");
        }
        assert_eq!(policy.wait_ms(1, None, 3), policy.wait_ms(1, None, 3));
    }

    #[test]
    fn groups_differ_from_all_others_in_what_is_said_of_them() {
        let groups =
            parse("orders: perSecond=50, backOff=1.5 ; bills:maxChecks=3,longest=90000;", ALL).unwrap().unwrap();
        assert_eq!(groups["orders"], CheckPolicy { per_second: 50, back_off_percent: 150, ..ALL });
        assert_eq!(groups["bills"], CheckPolicy { max_checks: 3, longest_ms: 90_000, ..ALL });
        assert_eq!(parse(" ", ALL), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_said_with_group_and_field() {
        let wrong = |text| parse(text, ALL).unwrap_err();
        assert_eq!(wrong("orders"), "[orders] has no colon: write group:perSecond=50,backOff=2;group:…");
        assert_eq!(wrong("orders:perSecond=x"), "of group orders, perSecond is [x], not a number from 0 to 1000000");
        assert_eq!(wrong("orders:backOff=0.5"), "of group orders, backOff is [0.5], not a factor from 1 to 8");
        assert!(wrong("orders:rate=5").starts_with("of group orders, [rate] is not interval"));
        assert_eq!(wrong("a:jitter=1;a:jitter=2"), "group a is there twice");
        assert_eq!(wrong(":jitter=1"), "[:jitter=1] names no group");
    }
}
