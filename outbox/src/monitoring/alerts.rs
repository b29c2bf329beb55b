//! From what is wrong to what people are told.
//!
//! ```text
//!          found          for `gather`             gone for `settle`
//! (nothing) ──► gathering ────────────► told ─────────────────────────► "resolved", (nothing)
//!                    │                   │ │ └── more, or worse: "changed", not more often than `change`
//!                    └ gone: nothing     │ └──── every `remind`: "reminder"
//!                      was said          └────── after each of `escalate`, unless taken on: "escalated"
//! ```
//!
//! A notice is made of what is so at the moment when it may be told. One that may not be told now, in quiet hours or for the
//! limit of notices in an hour, is not kept for later: what is still so then is told then. So nothing is told late that
//! is no longer true, and nothing that stays wrong is left untold.
//!
//! Invariants: a group is resolved if and only if it was told of; between the two there is no other "opened"; never more
//! than `most_per_hour` notices within an hour.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{Finding, Kind, Notice, Severity};
use crate::clock::millis;

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// Groups that are known at a time; more are not looked at.
const MOST_GROUPS: usize = 256;

/// Hours in which people are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// Minute of the day (0 to 1439) from which on.
    pub from_minute: u16,
    /// Minute of the day at which they end; before `from_minute`, it is the next day's.
    pub to_minute: u16,
    /// What the people's clocks are ahead of UTC, in minutes.
    pub utc_offset_minutes: i16,
    /// What is at least that bad is told all the same.
    pub except: Severity,
}

impl QuietHours {
    fn cover(&self, now_ms: i64) -> bool {
        let minute = (now_ms / MINUTE_MS + i64::from(self.utc_offset_minutes)).rem_euclid(1_440);
        let (from, to) = (i64::from(self.from_minute), i64::from(self.to_minute));
        if from <= to { (from..to).contains(&minute) } else { minute >= from || minute < to }
    }
}

/// How much people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertSettings {
    /// How long it is waited for what belongs to the same outage before it is told.
    pub gather: Duration,
    /// How long it must be gone to be over.
    pub settle: Duration,
    /// Shortest time before more of the same outage is told.
    pub change: Duration,
    /// Time between reminders.
    pub remind: Duration,
    /// How long after the first notice the next people are told, level by level.
    pub escalate: Vec<Duration>,
    /// Most notices within an hour, of all groups. At least 1.
    pub most_per_hour: u32,
    /// When people are left alone.
    pub quiet_hours: Option<QuietHours>,
}

impl Default for AlertSettings {
    /// Gathers for 30 s, settles for 2 min, tells changes every 10 min and reminds every 4 h; escalates after 30 min; at most 10 an
    /// hour; no quiet hours.
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            gather: Duration::from_secs(30),
            settle: minutes(2),
            change: minutes(10),
            remind: minutes(240),
            escalate: vec![minutes(30)],
            most_per_hour: 10,
            quiet_hours: None,
        }
    }
}

/// Rule and part.
type Id = (String, String);

#[derive(Debug, Clone)]
struct Group {
    since_ms: i64,
    firing: BTreeMap<Id, Finding>,
    /// Since when nothing is wrong.
    clear_since_ms: Option<i64>,
    told: Option<Told>,
    taken_on: bool,
}

#[derive(Debug, Clone)]
struct Told {
    opened_ms: i64,
    last_ms: i64,
    ids: BTreeSet<Id>,
    severity: Severity,
    level: usize,
}

/// The state of all groups.
#[derive(Debug, Clone, Default)]
pub struct Alerts {
    settings: AlertSettings,
    groups: BTreeMap<String, Group>,
    /// When notices of the last hour were made.
    made: VecDeque<i64>,
    muted_until_ms: i64,
}

impl Alerts {
    /// Nothing is known to be wrong.
    pub fn new(settings: AlertSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes what is wrong now, all of it; returns what people are to be told now.
    pub fn observe(&mut self, now_ms: i64, findings: &[Finding]) -> Vec<Notice> {
        let mut current = BTreeMap::<&str, BTreeMap<Id, Finding>>::new();
        for one in findings {
            let id = (one.rule.clone(), one.part.clone());
            current.entry(&one.group).or_default().insert(id, one.clone());
        }
        for name in current.keys() {
            if !self.groups.contains_key(*name) && self.groups.len() < MOST_GROUPS {
                self.groups.insert((*name).to_owned(), Group::new(now_ms));
            }
        }
        // a clock that was set back makes no room for more
        self.made.iter_mut().for_each(|at_ms| *at_ms = now_ms.min(*at_ms));
        self.made.retain(|at_ms| now_ms - HOUR_MS < *at_ms);
        let mut notices = Vec::new();
        let mut groups = std::mem::take(&mut self.groups);
        groups.retain(|name, group| {
            group.update(now_ms, current.remove(name.as_str()).unwrap_or_default());
            let Some(kind) = group.wants(&self.settings, now_ms) else { return !group.is_over(&self.settings, now_ms) };
            if !self.may_tell(group.severity(), now_ms) {
                return true;
            }
            self.made.push_back(now_ms);
            notices.push(group.tell(name, kind, now_ms));
            kind != Kind::Resolved
        });
        self.groups = groups;
        notices
    }

    /// Somebody has taken it on: no more reminders of that outage, and no escalation. False when there is none.
    pub fn take_on(&mut self, group: &str) -> bool {
        let found = self.groups.get_mut(group).filter(|group| group.told.is_some());
        found.map(|group| group.taken_on = true).is_some()
    }

    /// Tells nobody anything until then, as in quiet hours without exception; for planned work.
    pub fn mute_until(&mut self, until_ms: i64) {
        self.muted_until_ms = until_ms;
    }

    fn may_tell(&self, severity: Severity, now_ms: i64) -> bool {
        let is_quiet = self.settings.quiet_hours.is_some_and(|quiet| severity < quiet.except && quiet.cover(now_ms));
        now_ms >= self.muted_until_ms && !is_quiet && self.made.len() < self.settings.most_per_hour.max(1) as usize
    }
}

impl Group {
    fn new(now_ms: i64) -> Self {
        Self { since_ms: now_ms, firing: BTreeMap::new(), clear_since_ms: None, told: None, taken_on: false }
    }

    fn update(&mut self, now_ms: i64, current: BTreeMap<Id, Finding>) {
        // a clock that was set back must not hold anything up
        self.since_ms = self.since_ms.min(now_ms);
        if let Some(told) = &mut self.told {
            told.opened_ms = told.opened_ms.min(now_ms);
            told.last_ms = told.last_ms.min(now_ms);
        }
        self.clear_since_ms = match current.is_empty() {
            true => Some(self.clear_since_ms.map_or(now_ms, |since_ms| since_ms.min(now_ms))),
            false => None,
        };
        self.firing = current;
    }

    fn wants(&self, settings: &AlertSettings, now_ms: i64) -> Option<Kind> {
        let over = |since_ms: i64, time: Duration| now_ms - since_ms >= millis(time);
        let Some(told) = &self.told else {
            return (!self.firing.is_empty() && over(self.since_ms, settings.gather)).then_some(Kind::Opened);
        };
        if let Some(clear_ms) = self.clear_since_ms {
            return over(clear_ms, settings.settle).then_some(Kind::Resolved);
        }
        let level = settings.escalate.iter().filter(|after| over(told.opened_ms, **after)).count();
        if level > told.level && !self.taken_on {
            return Some(Kind::Escalated(level));
        }
        let has_more = self.worst() > Some(told.severity) || self.firing.keys().any(|id| !told.ids.contains(id));
        if has_more && over(told.last_ms, settings.change) {
            return Some(Kind::Changed);
        }
        (over(told.last_ms, settings.remind) && !self.taken_on).then_some(Kind::Reminder)
    }

    /// Whether it is gone without a word.
    fn is_over(&self, settings: &AlertSettings, now_ms: i64) -> bool {
        let is_clear = self.clear_since_ms.is_some_and(|since_ms| now_ms - since_ms >= millis(settings.settle));
        self.told.is_none() && is_clear
    }

    fn worst(&self) -> Option<Severity> {
        self.firing.values().map(|one| one.severity).max()
    }

    fn severity(&self) -> Severity {
        let told = self.told.as_ref().map(|told| told.severity);
        self.worst().or(told).unwrap_or(Severity::Warning)
    }

    fn tell(&mut self, name: &str, kind: Kind, now_ms: i64) -> Notice {
        let severity = self.severity();
        let told = self.told.get_or_insert_with(|| Told {
            opened_ms: now_ms,
            last_ms: now_ms,
            ids: BTreeSet::new(),
            severity,
            level: 0,
        });
        told.last_ms = now_ms;
        told.severity = told.severity.max(severity);
        told.ids.extend(self.firing.keys().cloned());
        if let Kind::Escalated(level) = kind {
            told.level = level;
        }
        let findings = self.firing.values().cloned().collect();
        Notice { kind, group: name.to_owned(), severity, since_ms: self.since_ms, at_ms: now_ms, findings }
    }
}

#[cfg(test)]
#[path = "alerts_tests.rs"]
mod tests;
