//! Messages that move to another place of the half queue, because the log file of their record is to go.
//!
//! A message that moves is in no set, but holds the floor back; decisions on it wait until it has arrived. Afterwards it
//! is found under every place that it had, because its producer may know only the first one.

use smallvec::SmallVec;

use super::{super::carried::add_place, COPY, State};

/// A message that is about to move. Ends with [`State::arrive`] or [`State::stay`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a message that never arrives cannot be decided until restart"]
pub struct Moving {
    /// Half-queue offset of the record that is to go.
    pub offset: i64,
    /// Commit-log offset of that record.
    pub log_offset: u64,
    /// When the first record was stored. In milliseconds.
    pub stored_at: i64,
    /// Checks sent so far.
    pub checks: u16,
    /// When it was asked about last; 0 if never. In milliseconds.
    pub asked_at: i64,
    /// Whether Apache's checker has copied it.
    pub is_copy: bool,
}

impl State {
    /// Takes the oldest message whose record starts before `log_offset` out, to be appended again.
    pub fn depart(&mut self, log_offset: u64) -> Option<Moving> {
        let (&offset, oldest) = self.pending.first_key_value()?;
        if oldest.log_offset >= log_offset {
            return None;
        }
        let mut entry = self.pending.remove(&offset)?;
        self.detach(offset, &mut entry);
        let moving = Moving {
            offset,
            log_offset: entry.log_offset,
            stored_at: entry.stored_at,
            checks: entry.checks,
            asked_at: entry.asked_at(),
            is_copy: entry.flags & COPY != 0,
        };
        self.moving.insert(offset, entry);
        Some(moving)
    }

    /// The message that was at `from` is in the log at `to` as well: half-queue and commit-log offset. True when the
    /// checker must wake earlier than it meant to.
    pub fn arrive(&mut self, from: i64, to: (i64, u64), unique_key: Option<&str>) -> bool {
        let Some(mut entry) = self.moving.remove(&from) else { return false };
        let (offset, log_offset) = to;
        self.floor.know(offset);
        self.verdicts.cover(offset);
        let mut places = self.carried.remove(&from).unwrap_or_default();
        add_place(&mut places, from);
        self.note_places(offset, places);
        if entry.flags & COPY != 0
            && let Some(key) = unique_key
        {
            self.copies.insert(key.into(), offset);
        }
        entry.log_offset = log_offset;
        self.due.insert((entry.at, offset));
        let wake = entry.at < self.sleeping_until;
        self.pending.insert(offset, entry);
        wake
    }

    /// The message could not be appended again: it stays where it is.
    pub fn stay(&mut self, offset: i64) {
        if let Some(entry) = self.moving.remove(&offset) {
            self.due.insert((entry.at, offset));
            self.pending.insert(offset, entry);
        }
    }

    /// The undecided message at `offset` was at these places before, oldest first.
    pub(in super::super) fn note_places(&mut self, offset: i64, places: SmallVec<[i64; 1]>) {
        self.moved.extend(places.iter().map(|place| (*place, offset)));
        self.carried.insert(offset, places);
    }

    /// Where the undecided message is now that was at `named`.
    pub fn place_of(&self, named: i64) -> i64 {
        if self.moved.is_empty() { named } else { self.moved.get(&named).copied().unwrap_or(named) }
    }

    /// Commit-log offset of the oldest record of a message that does not move.
    pub fn oldest_record(&self) -> Option<u64> {
        let first = self.pending.first_key_value().map(|(_, entry)| entry.log_offset);
        self.claims.iter().map(|(claimed, _)| claimed.log_offset).chain(first).min()
    }

    /// The message that stood at `offset` is decided: its former places are no longer looked for.
    pub(super) fn forget_places(&mut self, offset: i64) -> SmallVec<[i64; 1]> {
        if self.carried.is_empty() {
            return SmallVec::new();
        }
        let places = self.carried.remove(&offset).unwrap_or_default();
        for place in &places {
            self.moved.remove(place);
        }
        places
    }
}
