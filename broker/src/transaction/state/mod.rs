//! What is undecided, and when to ask about it. Pure: no I/O, no clock, no sockets.
//!
//! Every undecided half message is one entry, found by its offset in the half queue. It waits in one of these places:
//!
//! ```text
//!            due                      producer online, budget
//! waiting ─────────► ready (its group) ─────────────────────► asked ──interval──► due again
//!    │                                                          │
//!    └── checked often enough, or too old: park ◄───────────────┘
//! ```
//!
//! A decision first *claims* the entry, so that nobody else can decide, and then either settles it or, when the records
//! could not be appended, gives it back. Nothing here scans: every step costs the logarithm of what is pending.
//!
//! A message whose log file is to go moves to another place of the half queue ([`carry`]).
//!
//! Invariants: every entry has exactly one key in `due`, or in its group's `ready` set when it is flagged so; a claimed message is in no set but holds the [`Floor`] back.

mod carry;
mod checks;
mod count;
mod list;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::config::{CheckPolicy, GroupPolicies};

use super::{
    floor::{Floor, SafeOffsets},
    names::{NameId, Names},
    snapshot::Remembered,
    verdicts::{Verdict, Verdicts},
};

pub use carry::Moving;
pub use checks::{Command, Next, ParkReason};
pub use count::GroupCount;
pub use list::{Stage, Unresolved};

/// Rules that operators configure; read again for every step, so that a change acts at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How producers are asked.
    pub all: CheckPolicy,
    /// Groups whose producers are asked otherwise.
    pub groups: Option<Arc<GroupPolicies>>,
    /// Age at which a message is parked even if nobody could be asked. In milliseconds (`transactionGiveUpAfterHours`).
    pub give_up_ms: i64,
    /// Age that the log keeps messages for. In milliseconds (`fileReservedTime`).
    pub reserved_ms: i64,
}

impl Rules {
    /// How the producers of `group` are asked.
    pub fn of(&self, group: &str) -> &CheckPolicy {
        self.groups.as_ref().and_then(|groups| groups.get(group)).unwrap_or(&self.all)
    }
}

/// Bounds on what is asked at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Unanswered checks of all groups.
    pub in_flight: usize,
    /// Unanswered checks of one group.
    pub in_flight_per_group: u32,
    /// A check that has no answer after this time no longer counts as unanswered. In milliseconds.
    pub answer_timeout_ms: i64,
    /// A group without a producer is looked at again after this time, should nobody report one. In milliseconds.
    pub offline_recheck_ms: i64,
    /// A group whose producers take no message is tried again after this time. In milliseconds.
    pub busy_retry_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 4096,
            in_flight_per_group: 512,
            answer_timeout_ms: 5_000,
            offline_recheck_ms: 5_000,
            busy_retry_ms: 1_000,
        }
    }
}

/// A half message that becomes known, from a send or while rebuilding.
#[derive(Debug, Clone, Copy)]
pub struct Half<'a> {
    /// Its offset in the half queue.
    pub offset: i64,
    /// Where its record starts in the commit log.
    pub log_offset: u64,
    /// When this broker stored it, or the first of its copies. In milliseconds.
    pub stored_at: i64,
    /// When to check it first. In milliseconds since the epoch.
    pub first_check_at: i64,
    /// The group to ask.
    pub group: &'a str,
    /// Where it goes when committed.
    pub topic: &'a str,
    /// Checks sent so far.
    pub checks: u16,
    /// When it was asked about last, by a former run. In milliseconds.
    pub asked_at: Option<i64>,
    /// Its `UNIQ_KEY`, when it is a copy that Apache's checker appended: decisions may name an older copy.
    pub copy_of: Option<&'a str>,
    /// The back-off that it wishes for its checks, in percent.
    pub back_off: Option<u32>,
}

/// The last thing that a producer said about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    None,
    /// It does not know yet.
    Unknown,
    /// A commit or rollback that could not be carried out; the reason is in the log of the broker.
    Failed,
}

/// A message in the map of what is undecided. Packed, because there may be millions: 44 bytes instead of 48.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed(4))]
struct Pending {
    log_offset: u64,
    stored_at: i64,
    /// When it falls due: its key in `due`. Flagged `READY`, since when it is: its key in its group's `ready`.
    at: i64,
    /// When it was asked about last, see [`Pending::asked_at`].
    asked: u32,
    group: NameId,
    topic: NameId,
    /// Whom it was asked of, among `whoms`; [`NOBODY`] if that is not known.
    whom: NameId,
    checks: u16,
    answer: Answer,
    /// The flags below, and in the higher half the back-off that the message wishes, see [`back_off`].
    flags: u8,
}

/// Milliseconds in one step of [`Pending::asked`].
const ASKED_STEP: i64 = 16;

impl Pending {
    /// When it was asked about last, a few milliseconds later at most; 0 if never. A time more than two years after the
    /// message was stored is not kept.
    fn asked_at(&self) -> i64 {
        if self.asked == 0 { 0 } else { self.stored_at.saturating_add(i64::from(self.asked) * ASKED_STEP) }
    }

    fn set_asked_at(&mut self, at: i64) {
        let steps = at.saturating_sub(self.stored_at).max(1).saturating_add(ASKED_STEP - 1) / ASKED_STEP;
        self.asked = if at > 0 { u32::try_from(steps).unwrap_or(u32::MAX) } else { 0 };
    }
}

const READY: u8 = 1;
const OPEN: u8 = 2;
const COPY: u8 = 4;
const AGING: u8 = 8;
const NOBODY: NameId = NameId::MAX;

/// The back-off that a message wishes, in percent; it is kept in steps of a half.
fn back_off(flags: u8) -> Option<u32> {
    let halves = u32::from(flags >> 4);
    (halves > 0).then_some(50 + 50 * halves)
}

/// The flags that mean this back-off.
fn back_off_flags(percent: Option<u32>) -> u8 {
    let halves = percent.map_or(0, |percent| (percent.max(100) - 50).div_ceil(50).min(15));
    (halves as u8) << 4 // at most 15
}

#[derive(Debug, Default)]
struct Group {
    /// Messages to ask about: due time, offset.
    ready: BTreeSet<(i64, i64)>,
    in_flight: u32,
    in_rotation: bool,
    /// Out of the rotation until then: nobody is online, or nobody takes a message.
    resume_at: Option<i64>,
    /// No producer was online when last looked.
    offline: bool,
    /// Counts the checks, to take members in turn.
    turn: usize,
    /// When the budget allows the next check, if checks came evenly. In microseconds.
    budget_at: i64,
}

/// The undecided half messages of one half queue.
#[derive(Debug)]
pub struct State {
    limits: Limits,
    pending: BTreeMap<i64, Pending>,
    due: BTreeSet<(i64, i64)>,
    groups: Names<Group>,
    topics: Names<()>,
    /// Newest copy by `UNIQ_KEY`, for pending messages that Apache's checker has copied.
    copies: FxHashMap<Box<str>, i64>,
    claims: SmallVec<[(Remembered, Verdict); 4]>,
    /// Messages on their way to another place of the half queue.
    moving: BTreeMap<i64, Pending>,
    /// Where a message is that has moved, by the places that it had.
    moved: FxHashMap<i64, i64>,
    /// Places that a message had before, oldest first.
    carried: FxHashMap<i64, SmallVec<[i64; 1]>>,
    verdicts: Verdicts,
    /// Producers that pending messages were asked of.
    whoms: Names<()>,
    /// Messages in line by age, while operators want old ones given up: stored at, offset.
    aging: BTreeSet<(i64, i64)>,
    give_up_ms: i64,
    /// Open questions in the order in which they lapse: time, offset, number of the check.
    questions: VecDeque<(i64, i64, u16)>,
    in_flight: usize,
    /// Questions that got no answer in time.
    unanswered: u64,
    rotation: VecDeque<NameId>,
    resume: BTreeSet<(i64, NameId)>,
    floor: Floor,
    /// The checker sleeps until then; something due earlier must wake it.
    sleeping_until: i64,
    /// When the checker stepped last.
    stepped_at: i64,
}

/// An entry taken out to be decided. Give it back to [`State::settle`] or [`State::give_back`].
#[derive(Debug)]
#[must_use = "a claim that is dropped leaves the message undecidable until restart"]
pub struct Claim {
    /// Half-queue offset of the entry.
    pub offset: i64,
    /// The offset that the decision named: the same, or that of an older copy.
    pub named: i64,
    /// Commit-log offset of the entry's record.
    pub log_offset: u64,
    /// Checks sent so far.
    pub checks: u16,
    /// What was decided.
    pub verdict: Verdict,
    entry: Pending,
}

/// What a decision meets.
#[derive(Debug)]
pub enum Decision {
    /// The first one: carry it out.
    First(Claim),
    /// Decided before, in the same way.
    Repeat,
    /// Decided before, otherwise.
    Contradiction(Verdict),
    /// Undecided, and on its way to another place of the half queue: ask again in a moment.
    Moving,
    /// Decided so long ago, or before a restart, that only the log knows how.
    Forgotten,
}

impl State {
    /// Nothing pending; everything below `start.half` is decided.
    pub fn new(start: SafeOffsets, limits: Limits) -> Self {
        Self {
            limits,
            pending: BTreeMap::new(),
            due: BTreeSet::new(),
            groups: Names::default(),
            topics: Names::default(),
            copies: FxHashMap::default(),
            claims: SmallVec::new(),
            moving: BTreeMap::new(),
            moved: FxHashMap::default(),
            carried: FxHashMap::default(),
            verdicts: Verdicts::new(start.half),
            whoms: Names::default(),
            aging: BTreeSet::new(),
            give_up_ms: i64::MAX,
            questions: VecDeque::new(),
            in_flight: 0,
            unanswered: 0,
            rotation: VecDeque::new(),
            resume: BTreeSet::new(),
            floor: Floor::new(start),
            sleeping_until: i64::MIN,
            stepped_at: i64::MIN,
        }
    }

    /// A half message is in the log. True when the checker must wake earlier than it meant to. One that is known already,
    /// because it was taken up before its sender's thread came to report it, stays as it is: it may even be decided.
    pub fn insert(&mut self, half: &Half<'_>) -> bool {
        if !self.floor.know(half.offset) {
            return false;
        }
        self.verdicts.cover(half.offset);
        let mut entry = Pending {
            log_offset: half.log_offset,
            stored_at: half.stored_at,
            at: half.first_check_at,
            asked: 0,
            group: self.groups.acquire(half.group),
            topic: self.topics.acquire(half.topic),
            whom: NOBODY,
            checks: half.checks,
            answer: Answer::None,
            flags: back_off_flags(half.back_off) | if half.copy_of.is_some() { COPY } else { 0 },
        };
        if let Some(key) = half.copy_of {
            self.copies.insert(key.into(), half.offset);
        }
        entry.set_asked_at(half.asked_at.unwrap_or(0));
        self.due.insert((entry.at, half.offset));
        let wake = entry.at < self.sleeping_until;
        self.pending.insert(half.offset, entry);
        wake
    }

    /// Every half message below `offset` is known: those that were not inserted are decided.
    pub fn know_all_below(&mut self, offset: i64) {
        self.floor.know_all_below(offset);
        self.verdicts.cover(offset - 1);
    }

    /// A decision arrives that names the half message at `named`. `unique_key` is only asked for when copies exist.
    pub fn decide<'k>(
        &mut self,
        named: i64,
        verdict: Verdict,
        unique_key: impl FnOnce() -> Option<&'k str>,
    ) -> Decision {
        if let Some(entry) = self.pending.remove(&named) {
            return Decision::First(self.claim(named, named, verdict, entry));
        }
        let place = self.place_of(named);
        if let Some(entry) = self.pending.remove(&place) {
            return Decision::First(self.claim(place, place, verdict, entry)); // its former place has an op record
        }
        if self.moving.contains_key(&place) {
            return Decision::Moving;
        }
        let named = place;
        if !self.copies.is_empty()
            && let Some(&newest) = unique_key().and_then(|key| self.copies.get(key))
            && named < newest
        {
            if let Some(entry) = self.pending.remove(&newest) {
                return Decision::First(self.claim(newest, named, verdict, entry));
            }
            if self.moving.contains_key(&newest) {
                return Decision::Moving;
            }
        }
        let being_decided =
            self.claims.iter().find(|(claimed, _)| claimed.offset == named).map(|(_, verdict)| *verdict);
        match being_decided.or_else(|| self.verdicts.get(named)) {
            Some(before) if before == verdict => Decision::Repeat,
            Some(before) => Decision::Contradiction(before),
            None => Decision::Forgotten,
        }
    }

    /// The decision is in the log. True when the checker has work again.
    pub fn settle(&mut self, claim: &Claim, unique_key: Option<&str>) -> bool {
        let Claim { offset, named, verdict, ref entry, .. } = *claim;
        self.unclaim(offset);
        self.verdicts.set(offset, verdict);
        self.verdicts.set(named, verdict);
        for place in self.forget_places(offset) {
            self.verdicts.set(place, verdict);
        }
        self.whoms.release(entry.whom);
        if entry.flags & COPY != 0 {
            match unique_key {
                Some(key) => drop(self.copies.remove(key)),
                None => self.copies.retain(|_, newest| *newest != offset),
            }
        }
        self.topics.release(entry.topic);
        self.groups.release(entry.group);
        self.rest_group_if_idle(entry.group);
        self.groups.get(entry.group).is_some_and(|group| group.state.in_rotation)
    }

    /// The decision could not be carried out: the message is undecided again, and is looked at again after `retry_at`.
    pub fn give_back(&mut self, claim: Claim, retry_at: i64) -> bool {
        self.unclaim(claim.offset);
        let mut entry = claim.entry;
        entry.answer = Answer::Failed;
        entry.at = entry.at.max(retry_at);
        self.due.insert((entry.at, claim.offset));
        let wake = entry.at < self.sleeping_until;
        self.pending.insert(claim.offset, entry);
        wake
    }

    /// A producer answered that it does not know. True when the checker has work again.
    pub fn unknown<'k>(&mut self, named: i64, unique_key: impl FnOnce() -> Option<&'k str>) -> bool {
        let place = self.place_of(named);
        let offset = if self.pending.contains_key(&place) || self.copies.is_empty() {
            place
        } else {
            unique_key().and_then(|key| self.copies.get(key).copied()).unwrap_or(named)
        };
        let Some(entry) = self.pending.get_mut(&offset) else { return false };
        entry.answer = Answer::Unknown;
        let was_open = entry.flags & OPEN != 0;
        entry.flags &= !OPEN;
        let group = entry.group;
        was_open && self.release_question(group)
    }

    /// Offsets that may be saved for `CID_RMQ_SYS_TRANS`; see [`Floor::safe`].
    pub fn safe_offsets(&mut self, op_end: i64) -> SafeOffsets {
        let first = self.pending.first_key_value().map(|(offset, _)| *offset);
        let claimed = self.claims.iter().map(|(claimed, _)| claimed.offset).min();
        let moving = self.moving.first_key_value().map(|(offset, _)| *offset);
        let oldest = [first, claimed, moving].into_iter().flatten().min();
        self.floor.safe(op_end, oldest)
    }

    /// First offset of the half queue that is not yet known to be stored and followed here.
    pub fn frontier(&self) -> i64 {
        self.floor.frontier()
    }

    /// Whether a half message is known although one before it is not.
    pub fn has_gap(&self) -> bool {
        self.floor.end() > self.floor.frontier()
    }

    /// Undecided messages.
    pub fn len(&self) -> usize {
        self.pending.len() + self.moving.len()
    }

    /// Nothing is undecided.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks without an answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Undecided messages by real topic; topics that had some before are listed with 0.
    pub fn topic_counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.topics.iter().map(|named| (&*named.name, named.pending))
    }

    /// Undecided messages by producer group; groups that had some before are listed with 0.
    pub fn group_counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.groups.iter().map(|named| (&*named.name, named.pending))
    }

    /// What became of the message at `offset`, if it is decided and that is still known.
    pub fn verdict(&self, offset: i64) -> Option<Verdict> {
        self.verdicts.get(offset)
    }

    /// Notes a verdict that was found in the log.
    pub fn remember(&mut self, offset: i64, verdict: Verdict) {
        if !self.pending.contains_key(&offset) {
            self.verdicts.set(offset, verdict);
        }
    }

    fn claim(&mut self, offset: i64, named: i64, verdict: Verdict, mut entry: Pending) -> Claim {
        self.detach(offset, &mut entry);
        let remembered = self.remember_entry(offset, &entry);
        self.claims.push((remembered, verdict));
        Claim { offset, named, log_offset: entry.log_offset, checks: entry.checks, verdict, entry }
    }

    /// Takes `entry`, which is no longer in `pending`, out of every set.
    fn detach(&mut self, offset: i64, entry: &mut Pending) {
        if entry.flags & READY == 0 {
            self.due.remove(&(entry.at, offset));
        } else if let Some(group) = self.groups.get_mut(entry.group) {
            group.state.ready.remove(&(entry.at, offset));
        }
        if entry.flags & AGING != 0 {
            self.aging.remove(&(entry.stored_at, offset));
        }
        if entry.flags & OPEN != 0 {
            self.release_question(entry.group);
        }
        entry.flags &= !(READY | OPEN | AGING);
    }

    fn unclaim(&mut self, offset: i64) {
        if let Some(at) = self.claims.iter().position(|(claimed, _)| claimed.offset == offset) {
            self.claims.swap_remove(at);
        }
    }

    /// One question of `group` is answered or lapsed. True when that lets the group ask again.
    fn release_question(&mut self, group: NameId) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(named) = self.groups.get_mut(group) else { return false };
        named.state.in_flight = named.state.in_flight.saturating_sub(1);
        self.join_rotation(group);
        !self.rotation.is_empty()
    }

    /// Puts `group` in line to ask, if it has something to ask and somebody to ask.
    fn join_rotation(&mut self, group: NameId) {
        if let Some(named) = self.groups.get_mut(group)
            && !named.state.in_rotation
            && named.state.resume_at.is_none()
            && !named.state.ready.is_empty()
        {
            named.state.in_rotation = true;
            self.rotation.push_back(group);
        }
    }

    /// A group without pending messages may be forgotten at any time, so no list may hold its number.
    fn rest_group_if_idle(&mut self, id: NameId) {
        let Some(named) = self.groups.get_mut(id).filter(|named| named.pending == 0) else { return };
        let group = &mut named.state;
        if std::mem::take(&mut group.in_rotation) {
            self.rotation.retain(|other| *other != id);
        }
        if let Some(at) = group.resume_at.take() {
            self.resume.remove(&(at, id));
        }
        group.offline = false;
    }
}

#[cfg(test)]
mod budgets;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
