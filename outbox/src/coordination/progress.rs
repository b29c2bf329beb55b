//! How far a global transaction is, and what follows from an answer or from the time. Decides, and does no I/O.

use super::{command::Action, participant::Vote, plan::Plan};
use crate::clock::millis;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$one_doc:meta])* $one:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$one_doc])* $one,)*
        }

        impl $name {
            pub(super) const ALL: [Self; [$($text),*].len()] = [$(Self::$one),*];

            /// As it is in the table.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$one => $text,)*
                }
            }

            /// The reverse; the error says what is there instead.
            pub(super) fn read(text: &str) -> Result<Self, String> {
                let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
                let start = || text.chars().take(80).collect::<String>();
                found.ok_or_else(|| format!("{:?} is no {}", start(), stringify!($name).to_lowercase()))
            }
        }
    };
}

named! {
    /// What kind of global transaction.
    Kind {
        /// Try, then confirm or cancel.
        Tcc = "tcc",
        /// Steps with compensations.
        Saga = "saga",
    }
}

named! {
    /// Where a global transaction is.
    Phase {
        /// Nothing is decided.
        Trying = "trying",
        /// All have tried; they are told to confirm until they have.
        Confirming = "confirming",
        /// One refused, or was too late; those that may have tried are told to cancel until they have.
        Cancelling = "cancelling",
        /// All is done.
        Confirmed = "confirmed",
        /// All is undone.
        Cancelled = "cancelled",
    }
}

named! {
    /// Where a branch is, as far as the coordinator knows.
    Stage {
        /// It was told nothing.
        Waiting = "waiting",
        /// It was told to try.
        Asked = "asked",
        /// It has tried.
        Tried = "tried",
        /// It refused, and has done nothing.
        Refused = "refused",
        /// It has confirmed, or cancelled.
        Ended = "ended",
    }
}

/// A branch of a global transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BranchState {
    /// Its name.
    pub name: String,
    /// Where its commands go.
    pub topic: String,
    /// Where it is.
    pub stage: Stage,
    /// How long it may take to try, in ms.
    pub limit_ms: i64,
    /// While it is asked: when it is too late, in ms since the Unix epoch.
    pub due_ms: Option<i64>,
}

/// A global transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) kind: Kind,
    pub(super) phase: Phase,
    /// Why it is cancelled.
    pub(super) reason: Option<String>,
    pub(super) branches: Vec<BranchState>,
}

/// What one branch (by its place) is to be told.
pub(super) type Order = (usize, Action);

impl Progress {
    /// Of a plan, with nobody asked.
    pub(super) fn of(plan: &Plan) -> Self {
        let branches = plan.branches.iter().map(|branch| BranchState {
            name: branch.name.clone(),
            topic: branch.topic.clone(),
            stage: Stage::Waiting,
            limit_ms: millis(plan.limit_of(branch)),
            due_ms: None,
        });
        Self { kind: plan.kind, phase: Phase::Trying, reason: None, branches: branches.collect() }
    }

    /// Takes an answer in. One that comes too late to matter changes nothing: the first decision stays.
    pub(super) fn hear(&mut self, branch: &str, action: Action, vote: &Vote) {
        let phase = self.phase;
        let Some(branch) = self.branches.iter_mut().find(|one| one.name == branch) else { return };
        let next = match (phase, action, branch.stage) {
            (Phase::Trying, Action::Try, Stage::Asked) if *vote == Vote::Done => Stage::Tried,
            (Phase::Trying, Action::Try, Stage::Asked) => Stage::Refused,
            (Phase::Confirming, Action::Confirm, Stage::Tried) => Stage::Ended,
            (Phase::Cancelling, Action::Cancel, Stage::Asked | Stage::Tried) => Stage::Ended,
            _ => return,
        };
        branch.stage = next;
        branch.due_ms = None;
        if let (Stage::Refused, Vote::Refused(reason)) = (next, vote) {
            self.reason = Some(format!("{} refused: {reason}", branch.name));
        }
    }

    /// Decides what can be decided at that time, and asks who is to be asked next.
    pub(super) fn advance(&mut self, now_ms: i64) {
        if self.phase == Phase::Trying {
            self.advance_trying(now_ms);
        }
        let is_over = self.orders().is_empty();
        match self.phase {
            Phase::Confirming if is_over => self.phase = Phase::Confirmed,
            Phase::Cancelling if is_over => self.phase = Phase::Cancelled,
            _ => {}
        }
    }

    fn advance_trying(&mut self, now_ms: i64) {
        for branch in self.branches.iter_mut().filter(|branch| branch.stage == Stage::Asked) {
            // later than it ever can be: the clock was set back
            branch.due_ms = branch.due_ms.map(|due_ms| due_ms.min(now_ms.saturating_add(branch.limit_ms)));
        }
        let late =
            |branch: &&BranchState| branch.stage == Stage::Asked && branch.due_ms.is_none_or(|due| due <= now_ms);
        if self.has(Stage::Refused) {
            self.phase = Phase::Cancelling;
        } else if let Some(late) = self.branches.iter().find(late) {
            self.reason = Some(format!("{} did not answer within {} ms", late.name, late.limit_ms));
            self.phase = Phase::Cancelling;
        } else if !self.has(Stage::Asked) && !self.has(Stage::Waiting) {
            self.phase = if self.kind == Kind::Tcc { Phase::Confirming } else { Phase::Confirmed };
        } else if !self.has(Stage::Asked) {
            let at_once = if self.kind == Kind::Tcc { usize::MAX } else { 1 };
            let next = self.branches.iter_mut().filter(|branch| branch.stage == Stage::Waiting).take(at_once);
            for branch in next {
                branch.stage = Stage::Asked;
                branch.due_ms = Some(now_ms.saturating_add(branch.limit_ms));
            }
        }
    }

    /// Who is to be told what, until they answer.
    pub(super) fn orders(&self) -> Vec<Order> {
        let of = |action, stages: &[Stage]| -> Vec<Order> {
            let open = self.branches.iter().enumerate().filter(|(_, branch)| stages.contains(&branch.stage));
            open.map(|(at, _)| (at, action)).collect()
        };
        match (self.phase, self.kind) {
            (Phase::Trying, _) => of(Action::Try, &[Stage::Asked]),
            (Phase::Confirming, _) => of(Action::Confirm, &[Stage::Tried]),
            (Phase::Cancelling, Kind::Tcc) => of(Action::Cancel, &[Stage::Asked, Stage::Tried]),
            (Phase::Cancelling, Kind::Saga) => {
                // one that was asked and did not answer may have done its step: it is compensated as well
                of(Action::Cancel, &[Stage::Asked, Stage::Tried]).pop().into_iter().collect()
            }
            (Phase::Confirmed | Phase::Cancelled, _) => Vec::new(),
        }
    }

    /// When the first of those that are asked is too late.
    pub(super) fn due_ms(&self) -> Option<i64> {
        self.branches.iter().filter_map(|branch| branch.due_ms).min()
    }

    fn has(&self, stage: Stage) -> bool {
        self.branches.iter().any(|branch| branch.stage == stage)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const REFUSED: fn() -> Vote = || Vote::Refused("no".into());

    fn three(plan: Plan) -> Progress {
        let plan = plan.within(Duration::from_secs(10));
        let mut progress = Progress::of(&plan.branch("a", "t").branch("b", "t").branch("c", "t"));
        progress.advance(0);
        progress
    }

    #[test]
    fn a_saga_goes_forward_in_order_and_back_in_reverse() {
        let mut saga = three(Plan::saga("g", "x"));
        assert_eq!(saga.orders(), [(0, Action::Try)]);
        for (now, name) in [(1, "a"), (2, "b")] {
            saga.hear(name, Action::Try, &Vote::Done);
            saga.advance(now);
        }
        assert_eq!((saga.orders(), saga.due_ms()), (vec![(2, Action::Try)], Some(10_002)));
        saga.hear("c", Action::Try, &REFUSED());
        saga.advance(3);
        assert_eq!((saga.orders(), saga.reason.as_deref()), (vec![(1, Action::Cancel)], Some("c refused: no")));
        saga.hear("a", Action::Try, &Vote::Done); // a copy
        saga.hear("b", Action::Cancel, &Vote::Done);
        saga.advance(4);
        assert_eq!(saga.orders(), [(0, Action::Cancel)]);
        saga.hear("a", Action::Cancel, &Vote::Done);
        saga.advance(5);
        assert_eq!(saga.phase, Phase::Cancelled);
    }

    #[test]
    fn a_branch_is_in_time_until_the_last_millisecond_and_a_late_answer_changes_nothing() {
        let mut tcc = three(Plan::tcc("g", "x"));
        tcc.hear("a", Action::Try, &Vote::Done);
        tcc.advance(9_999);
        assert_eq!((tcc.phase, tcc.due_ms()), (Phase::Trying, Some(10_000)));
        tcc.advance(10_000);
        assert_eq!(tcc.phase, Phase::Cancelling);
        for name in ["b", "c"] {
            tcc.hear(name, Action::Try, &Vote::Done);
        }
        tcc.advance(10_001);
        assert_eq!((tcc.phase, tcc.orders().len()), (Phase::Cancelling, 3));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_prolong_the_limit() {
        let mut tcc = three(Plan::tcc("g", "x"));
        tcc.advance(-1_000_000);
        assert_eq!(tcc.due_ms(), Some(-990_000));
    }
}
