//! What operators see of the state.

use std::{ops::Bound, sync::Arc};

use super::{super::snapshot::Remembered, Answer, OPEN, Pending, READY, State};

/// Where an undecided message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its next check is not due yet.
    Waiting,
    /// Due, but no producer of its group is online.
    NoProducer,
    /// Due, and in line behind other checks of its group.
    InLine,
    /// A producer was asked and has not answered yet.
    Asked,
}

impl Stage {
    /// The word for lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::NoProducer => "no producer online",
            Self::InLine => "in line",
            Self::Asked => "asked",
        }
    }
}

/// One undecided half message, as far as the state knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Half-queue offset.
    pub offset: i64,
    /// Commit-log offset of its record.
    pub log_offset: u64,
    /// Producer group.
    pub group: Arc<str>,
    /// Real topic.
    pub topic: Arc<str>,
    /// When it was stored first. In milliseconds.
    pub stored_at: i64,
    /// When it is checked next; for one that is due already, since when. In milliseconds.
    pub due_at: i64,
    /// Checks sent.
    pub checks: u16,
    /// Where it stands.
    pub stage: Stage,
    /// What was answered last.
    pub last_answer: Answer,
    /// When it was asked about last, if ever in this process. In milliseconds.
    pub asked_at: Option<i64>,
    /// Whom, as far as this process knows.
    pub asked_whom: Option<Arc<str>>,
    /// For one that was appended again because its log file was to go: the place in the half queue that it had first.
    pub carried_from: Option<i64>,
}

impl State {
    /// Undecided messages after the half-queue offset `after`, oldest first.
    pub fn unresolved(&self, after: Option<i64>) -> impl Iterator<Item = Unresolved> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.pending.range((from, Bound::Unbounded)).map(|(offset, entry)| self.describe(*offset, entry))
    }

    /// Undecided messages, those that are being decided included, from `from` on and below `end`: at most `limit`, and
    /// where to go on.
    pub(in super::super) fn page(&self, from: i64, end: i64, limit: usize) -> (Vec<Remembered>, i64) {
        let entries = self.pending.range(from..end).take(limit);
        let mut page: Vec<_> = entries.map(|(offset, entry)| self.remember_entry(*offset, entry)).collect();
        let next = if page.len() < limit { end } else { page.last().map_or(end, |last| last.offset + 1) };
        let moving = self.moving.range(from..next.max(from));
        page.extend(moving.map(|(offset, entry)| self.remember_entry(*offset, entry)));
        page.extend(
            self.claims.iter().map(|(claimed, _)| *claimed).filter(|claimed| (from..next).contains(&claimed.offset)),
        );
        page.sort_unstable_by_key(|entry| entry.offset);
        (page, next)
    }

    pub(super) fn remember_entry(&self, offset: i64, entry: &Pending) -> Remembered {
        Remembered {
            offset,
            log_offset: entry.log_offset,
            stored_at: entry.stored_at,
            asked_at: entry.asked_at(),
            checks: entry.checks,
        }
    }

    /// The undecided message at `offset`, where it is now.
    pub fn find(&self, offset: i64) -> Option<Unresolved> {
        self.pending.get(&offset).map(|entry| self.describe(offset, entry))
    }

    /// Offset of the undecided message that a decision on `named` concerns: the same, or that of the newest copy.
    pub fn undecided(&self, named: i64, unique_key: Option<&str>) -> Option<i64> {
        let place = self.place_of(named);
        if self.pending.contains_key(&place) {
            return Some(place);
        }
        let newest = *self.copies.get(unique_key?)?;
        (named < newest && self.pending.contains_key(&newest)).then_some(newest)
    }

    fn describe(&self, offset: i64, entry: &Pending) -> Unresolved {
        let group = self.groups.get(entry.group);
        let ready = entry.flags & READY != 0;
        let stage = if entry.flags & OPEN != 0 {
            Stage::Asked
        } else if !ready {
            Stage::Waiting
        } else if group.is_some_and(|group| group.state.offline) {
            Stage::NoProducer
        } else {
            Stage::InLine
        };
        Unresolved {
            offset,
            log_offset: entry.log_offset,
            group: group.map_or_else(|| "".into(), |group| Arc::clone(&group.name)),
            topic: self.topics.get(entry.topic).map_or_else(|| "".into(), |topic| Arc::clone(&topic.name)),
            stored_at: entry.stored_at,
            due_at: entry.at,
            checks: entry.checks,
            stage,
            last_answer: entry.answer,
            asked_at: Some(entry.asked_at()).filter(|at| *at > 0),
            asked_whom: self.whoms.get(entry.whom).map(|whom| Arc::clone(&whom.name)),
            carried_from: self.carried.get(&offset).and_then(|places| places.first().copied()),
        }
    }
}
