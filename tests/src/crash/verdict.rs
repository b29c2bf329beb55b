//! What is there against what was answered.

use std::collections::BTreeMap;

use super::{
    ledger::{Backs, Decision, Entry, Kind, Ledger, MAX_RETRIES, Place, Recall},
    names,
    readers::fails,
};

/// Lines of each kind that are printed.
const SHOWN: usize = 20;

/// A message that was read.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) topic: &'static str,
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) body_len: usize,
    pub(super) stored_ms: i64,
    pub(super) tries: i32,
}

/// What is wrong, and counts.
#[derive(Default)]
pub(super) struct Verdict {
    /// What no waiting mends.
    wrong: Vec<String>,
    /// What may still come.
    missing: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
    /// The log loses nothing, answered or not.
    process_only: bool,
}

impl Verdict {
    pub(super) fn new(ledger: &Ledger, found: &[Found], gaps: Vec<String>) -> Self {
        let mut verdict = Self { wrong: ledger.violations(), process_only: ledger.is_for_kills(), ..Self::default() };
        verdict.wrong.extend(gaps);
        let mut copies: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
        for one in found {
            copies.entry(&one.name).or_default().push(one);
        }
        ledger.look(|entries| {
            for (name, copies) in &copies {
                if !entries.contains_key(*name) {
                    verdict.wrong.push(format!("nobody sent {copies:?}"));
                }
            }
            for (name, entry) in entries {
                let copies = copies.get(name.as_str()).map_or(&[][..], Vec::as_slice);
                verdict.judge(name, entry, copies);
            }
            verdict.judge_order(found, |name| entries.get(name).is_some_and(|entry| entry.stored.is_some()));
        });
        verdict
    }

    pub(super) fn is_well(&self) -> bool {
        self.wrong.is_empty() && self.missing.is_empty()
    }

    /// Whether no waiting can help.
    pub(super) fn is_final(&self) -> bool {
        !self.wrong.is_empty()
    }

    /// Prints it; whether all is well.
    pub(super) fn print(&self) -> bool {
        for (what, count) in &self.counts {
            println!("{count:>9}  {what}");
        }
        for failure in self.wrong.iter().take(SHOWN).chain(self.missing.iter().take(SHOWN)) {
            println!("FAILED  {failure}");
        }
        println!("{} failures", self.wrong.len() + self.missing.len());
        self.is_well()
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn judge(&mut self, name: &str, entry: &Entry, copies: &[&Found]) {
        if let Some(damaged) = copies.iter().find(|copy| copy.body_len != entry.body_len) {
            self.wrong.push(format!("{name}: not whole: {damaged:?}"));
        }
        let first: Vec<&Found> =
            copies.iter().copied().filter(|copy| ![names::RETRY, names::DEAD].contains(&copy.topic)).collect();
        match entry.kind {
            Kind::Plain | Kind::Leased | Kind::Hard => self.judge_sent(name, entry, &first),
            Kind::Timed(due) => self.judge_timer(name, entry, due, &first),
            Kind::Paid => self.judge_paid(name, entry, &first),
        }
        if entry.kind == Kind::Leased && !first.is_empty() && !entry.acknowledges {
            self.missing
                .push(format!("{name}: it is there, and no lease on it was given, or none that was kept: {entry:?}"));
        }
        if entry.kind == Kind::Hard {
            self.judge_retries(name, entry, copies);
        }
    }

    fn judge_sent(&mut self, name: &str, entry: &Entry, copies: &[&Found]) {
        self.at_most_once(name, entry, copies);
        match (entry.stored, copies.first()) {
            (Some(place), Some(copy)) if copy.place != place => {
                self.wrong.push(format!("{name}: stored at {place:?}, found at {:?}", copy.place));
            }
            (Some(_), Some(_)) => self.count("sends answered, and there"),
            (Some(place), None) => self.wrong.push(format!("{name}: lost; it was stored at {place:?}")),
            (None, Some(_)) => self.count("sends not answered, and there"),
            (None, None) => self.count("sends not answered, and not there"),
        }
    }

    fn judge_timer(&mut self, name: &str, entry: &Entry, due: i64, copies: &[&Found]) {
        self.at_most_once(name, entry, copies);
        if let Some(early) = copies.iter().find(|copy| copy.stored_ms < due) {
            self.wrong.push(format!("{name}: before its time {due}: {early:?}"));
        }
        match (entry.recall, copies.is_empty()) {
            (Recall::Done, false) => self.wrong.push(format!("{name}: recalled, and seen: {copies:?}")),
            (Recall::Done, true) => self.count("timers recalled"),
            (Recall::Unasked, true) if entry.stored.is_some() => {
                self.missing.push(format!("{name}: a timer that did not come: {entry:?}"));
            }
            (_, true) => self.count("timers not answered, and not there"),
            (_, false) => self.count("timers that came"),
        }
    }

    fn judge_paid(&mut self, name: &str, entry: &Entry, copies: &[&Found]) {
        self.at_most_once(name, entry, copies);
        match (entry.decision, copies.is_empty()) {
            (Some(Decision::Commit), false) => self.count("transactions committed, and visible"),
            (Some(Decision::Commit), true) if entry.stored.is_none() && !self.process_only => {
                self.count("transactions that the broker asked for and lost, unanswered");
            }
            (Some(Decision::Commit), true) => {
                self.missing.push(format!("{name}: committed, and not visible: {entry:?}"));
            }
            (_, false) => self.wrong.push(format!("{name}: never committed, and visible: {entry:?} {copies:?}")),
            (Some(Decision::Rollback), true) => self.count("transactions rolled back"),
            (None, true) if entry.stored.is_some() => {
                self.missing.push(format!("{name}: the broker never asked for its outcome: {entry:?}"));
            }
            (None, true) => self.count("transactions whose half message was not stored"),
        }
    }

    /// Copies for a try come of the send-backs after the try before, and of nothing else.
    fn judge_retries(&mut self, name: &str, entry: &Entry, copies: &[&Found]) {
        for tries in 0..=MAX_RETRIES + 1 {
            let here = |copy: &&&Found| copy.tries == tries;
            let count = copies.iter().filter(here).count();
            let backs = entry.backs.get(&tries).copied().unwrap_or_default();
            if count > 0 && tries <= MAX_RETRIES && fails(name, tries) && (backs.answered as usize) < count {
                self.missing.push(format!("{name}: {count} copies after {tries} tries, {backs:?} were sent back"));
            }
            let Some(before) = tries.checked_sub(1).filter(|before| *before >= 0) else { continue };
            let Backs { asked, answered } = entry.backs.get(&before).copied().unwrap_or_default();
            if count < answered as usize {
                self.missing.push(format!("{name}: {answered} send-backs were answered, {count} copies: {copies:?}"));
            }
            if count > asked as usize {
                self.wrong.push(format!("{name}: {asked} send-backs, {count} copies: {copies:?}"));
            }
            let expected = if tries > MAX_RETRIES { names::DEAD } else { names::RETRY };
            for copy in copies.iter().filter(here) {
                self.count(if tries > MAX_RETRIES { "dead letters" } else { "retries" });
                if copy.topic != expected {
                    self.wrong.push(format!("{name}: in the wrong topic: {copy:?}"));
                }
            }
        }
    }

    fn at_most_once(&mut self, name: &str, entry: &Entry, copies: &[&Found]) {
        if copies.len() > 1 {
            self.wrong.push(format!("{name}: {} times: {entry:?} {copies:?}", copies.len()));
        }
    }

    /// Names of one sender rise in each queue. Timers and transactions become visible in another order. A send that was given up
    /// may still be under way, and come behind those that were made after it.
    fn judge_order(&mut self, found: &[Found], is_answered: impl Fn(&str) -> bool) {
        let mut last: BTreeMap<(&str, i32, &str), &Found> = BTreeMap::new();
        for one in found.iter().filter(|one| [names::PLAIN, names::LEASED, names::HARD].contains(&one.topic)) {
            let sender = one.name.split('-').next().unwrap_or_default();
            let before = last.entry((one.topic, one.place.0, sender)).or_insert(one);
            if before.name < one.name || before.place == one.place {
                *before = one;
            } else if is_answered(&one.name) {
                self.wrong.push(format!("out of order: {before:?} before {one:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_may_come_late_and_what_was_answered_may_not() {
        let names = ["s1-1", "s1-3", "s2-1", "s1-2", "s1-4"];
        let found: Vec<Found> = (0..)
            .zip(names)
            .map(|(at, name)| Found {
                topic: names::PLAIN,
                place: (0, at),
                name: name.to_owned(),
                body_len: 1,
                stored_ms: at,
                tries: 0,
            })
            .collect();
        let mut verdict = Verdict::default();
        verdict.judge_order(&found, |name| name != "s1-2");
        assert!(verdict.is_well(), "{:?}", verdict.wrong);
        verdict.judge_order(&found, |_| true);
        assert_eq!(verdict.wrong.len(), 1, "{:?}", verdict.wrong);
    }
}
