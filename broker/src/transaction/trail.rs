//! Who was asked about a transaction and what came back: the last few checks of those that were checked recently.
//!
//! For operators only, in memory, and of a fixed size; the state decides without it. Decisions that contradicted the first
//! one are kept here too, and outlive the transaction itself.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::Verdict;

/// Transactions that are remembered; the one that came first goes first.
const TRANSACTIONS: usize = 1024;
/// Checks of each.
const CHECKS: usize = 16;
/// Contradictions of each.
const CONTRADICTIONS: usize = 4;
/// Contradictions that go into the audit within [`PERIOD_MS`]: a client that keeps contradicting must not fill the disk.
const AUDITED: usize = 60;
const PERIOD_MS: i64 = 60_000;

/// What a producer said when it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// To commit.
    Commit,
    /// To roll back.
    Rollback,
    /// It does not know yet.
    Unknown,
    /// A decision that could not be carried out.
    Failed,
}

impl Said {
    /// The word for lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Rollback => "rollback",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }
}

/// One check.
#[derive(Debug, Clone)]
pub struct CheckSent {
    /// Its number, from 1.
    pub number: u32,
    /// When, in milliseconds since the epoch.
    pub asked_at: i64,
    /// Who was asked.
    pub whom: Arc<str>,
    /// What was answered, and when.
    pub answer: Option<(Said, i64)>,
}

/// A decision that came after another one.
#[derive(Debug, Clone, Copy)]
pub struct Contradiction {
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// What it asked for.
    pub wanted: Verdict,
    /// How the transaction had been decided.
    pub decided: Verdict,
}

/// What is remembered of one transaction.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    /// Checks, oldest first.
    pub checks: VecDeque<CheckSent>,
    /// Contradictions, oldest first.
    pub contradictions: VecDeque<Contradiction>,
}

/// What is remembered, by half-queue offset.
#[derive(Default)]
pub(super) struct Trail(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    of: FxHashMap<i64, Steps>,
    order: VecDeque<i64>,
    period_ends: i64,
    audited: usize,
}

impl Trail {
    /// `whom` took the question number `number` about the message at `offset`.
    pub(super) fn asked(&self, offset: i64, number: u32, asked_at: i64, whom: Arc<str>) {
        let mut remembered = self.0.lock();
        let checks = &mut remembered.steps(offset).checks;
        push(checks, CHECKS, CheckSent { number, asked_at, whom, answer: None });
    }

    /// The message at `from` is at `to` now.
    pub(super) fn moved(&self, from: i64, to: i64) {
        let mut remembered = self.0.lock();
        if let Some(steps) = remembered.of.remove(&from) {
            *remembered.steps(to) = steps;
        }
    }

    /// A producer answered. What nobody asked is no answer.
    pub(super) fn answered(&self, offset: i64, at: i64, said: Said) {
        let mut remembered = self.0.lock();
        let last = remembered.of.get_mut(&offset).and_then(|steps| steps.checks.back_mut());
        if let Some(check) = last.filter(|check| check.answer.is_none()) {
            check.answer = Some((said, at));
        }
    }

    /// A decision was refused because of an earlier one. True when it is to go into the audit.
    pub(super) fn contradicted(&self, offset: i64, refused: Contradiction) -> bool {
        let mut remembered = self.0.lock();
        let contradictions = &mut remembered.steps(offset).contradictions;
        let is_first = contradictions.is_empty();
        push(contradictions, CONTRADICTIONS, refused);
        if refused.at >= remembered.period_ends {
            (remembered.period_ends, remembered.audited) = (refused.at.saturating_add(PERIOD_MS), 0);
        }
        let is_audited = is_first && remembered.audited < AUDITED;
        remembered.audited += usize::from(is_audited);
        is_audited
    }

    /// What is remembered of the message at `offset`.
    pub(super) fn of(&self, offset: i64) -> Steps {
        self.0.lock().of.get(&offset).cloned().unwrap_or_default()
    }

    /// Forgets everything: the offsets may mean other messages now.
    pub(super) fn clear(&self) {
        *self.0.lock() = Remembered::default();
    }
}

impl Remembered {
    fn steps(&mut self, offset: i64) -> &mut Steps {
        if !self.of.contains_key(&offset) {
            self.order.push_back(offset);
            if self.order.len() > TRANSACTIONS
                && let Some(first) = self.order.pop_front()
            {
                self.of.remove(&first);
            }
        }
        self.of.entry(offset).or_default()
    }
}

fn push<T>(list: &mut VecDeque<T>, most: usize, item: T) {
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contradiction(at: i64) -> Contradiction {
        Contradiction { at, wanted: Verdict::RolledBack, decided: Verdict::Committed }
    }

    #[test]
    fn the_last_checks_of_the_last_transactions_are_remembered_and_no_more() {
        let trail = Trail::default();
        for offset in 0..TRANSACTIONS as i64 + 1 {
            for number in 1..=CHECKS as u32 + 1 {
                trail.asked(offset, number, i64::from(number), "a producer".into());
            }
        }
        assert!(trail.of(0).checks.is_empty());
        let numbers: Vec<_> = trail.of(1).checks.iter().map(|check| check.number).collect();
        assert_eq!(numbers, (2..=CHECKS as u32 + 1).collect::<Vec<_>>());
        assert_eq!(trail.0.lock().of.len(), TRANSACTIONS);
    }

    #[test]
    fn only_an_open_check_is_answered() {
        let trail = Trail::default();
        trail.answered(7, 1, Said::Unknown);
        trail.asked(7, 1, 2, "a producer".into());
        trail.answered(7, 3, Said::Unknown);
        trail.answered(7, 4, Said::Commit);
        assert_eq!(trail.of(7).checks[0].answer, Some((Said::Unknown, 3)));
    }

    #[test]
    fn the_first_contradiction_of_a_transaction_is_audited_and_a_flood_is_not() {
        let trail = Trail::default();
        assert!(trail.contradicted(0, contradiction(0)));
        assert!(!trail.contradicted(0, contradiction(1)));
        let audited = (1..1000).filter(|offset| trail.contradicted(*offset, contradiction(2))).count();
        assert_eq!(audited, AUDITED - 1);
        assert!(trail.contradicted(1000, contradiction(PERIOD_MS)));
    }
}
