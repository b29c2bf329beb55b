//! The clock side of the state: what falls due, whose turn it is, and what to do about it.

use std::sync::Arc;

use super::{
    super::{names::NameId, verdicts::Verdict},
    Asked, Claim, OPEN, READY, Rules, State,
};

/// Entries that one step moves from waiting to ready, so that a backlog never holds the lock for long.
const DUE_PER_STEP: usize = 256;
/// Commands that one step emits.
const COMMANDS_PER_STEP: usize = 64;
/// Checks that one group may send before the next group has its turn.
const CHECKS_PER_TURN: usize = 8;

/// Why a message leaves for `TRANS_CHECK_MAX_TIME_TOPIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkReason {
    /// It was checked as often as allowed.
    Exhausted,
    /// It is older than operators want undecided messages to become.
    Expired,
    /// Its log file is to go, and it is too large for a copy that says so.
    Uncarried,
}

/// What the checker must carry out.
#[derive(Debug)]
pub enum Command {
    /// Ask a producer of the group. The attempt is counted already; [`State::not_asked`] takes it back.
    Ask {
        /// Half-queue offset.
        offset: i64,
        /// Commit-log offset of the record.
        log_offset: u64,
        /// Whose producers know.
        group: Arc<str>,
        /// Number of this check, from 1.
        attempt: u16,
        /// Counts the group's checks, to take its members in turn.
        turn: usize,
    },
    /// Copy the message into `TRANS_CHECK_MAX_TIME_TOPIC`, then settle the claim (or give it back).
    Park {
        /// The claimed entry.
        claim: Claim,
        /// Why.
        reason: ParkReason,
    },
}

/// When to call [`State::step`] again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// As soon as the commands are carried out.
    Now,
    /// At this time, in milliseconds since the epoch, or when something wakes the checker.
    At(i64),
    /// Only when something wakes the checker.
    Idle,
}

impl State {
    /// One bounded step of the checker: appends what is to be done at `now` to `commands`.
    pub fn step(
        &mut self,
        now: i64,
        rules: &Rules,
        online: impl Fn(&str) -> bool,
        commands: &mut Vec<Command>,
    ) -> Next {
        self.lapse_questions(now);
        let mut moved = 0;
        while moved < DUE_PER_STEP
            && commands.len() < COMMANDS_PER_STEP
            && let Some((_, offset)) = self.due.first().copied().filter(|(due, _)| *due <= now)
        {
            moved += 1;
            self.fall_due(offset, now, rules, commands);
        }
        self.resume_groups(now);
        self.emit(now, rules, online, commands);
        let next = self.next(now, moved == DUE_PER_STEP || commands.len() >= COMMANDS_PER_STEP);
        self.sleeping_until = match next {
            Next::Now => i64::MIN,
            Next::At(at) => at,
            Next::Idle => i64::MAX,
        };
        next
    }

    /// The question reached `whom`.
    pub fn was_asked(&mut self, offset: i64, now: i64, whom: Arc<str>) {
        if self.pending.contains_key(&offset) {
            self.asked.insert(offset, Asked { at: now, whom: Some(whom) });
        }
    }

    /// No producer took the question: the attempt does not count, and the group pauses.
    pub fn not_asked(&mut self, offset: i64, now: i64, rules: &Rules) {
        let Some(entry) = self.pending.get_mut(&offset) else { return };
        if entry.flags & READY != 0 {
            return; // it has fallen due again meanwhile
        }
        entry.checks = entry.checks.saturating_sub(1);
        let (group, dies_at) = (entry.group, entry.stored_at.saturating_add(rules.give_up_ms));
        self.make_ready(offset, now, dies_at.saturating_add(1));
        self.pause(group, now + self.limits.busy_retry_ms, false);
    }

    /// A producer of `group` came online. True when the checker has work for it.
    pub fn producer_online(&mut self, group: &str) -> bool {
        let Some(id) = self.groups.id(group) else { return false };
        let Some(named) = self.groups.get_mut(id) else { return false };
        named.state.offline = false;
        let Some(at) = named.state.resume_at.take() else { return false };
        self.resume.remove(&(at, id));
        self.join_rotation(id);
        true
    }

    /// An operator wants `offset` asked about now, whatever its due time and even if it was checked as often as
    /// allowed. False when it is not pending.
    pub fn check_now(&mut self, offset: i64, now: i64, rules: &Rules) -> bool {
        let Some(entry) = self.pending.get_mut(&offset) else { return false };
        if entry.flags & READY == 0 {
            let allowed = u16::try_from(rules.max_checks.saturating_sub(1)).unwrap_or(u16::MAX);
            entry.checks = entry.checks.min(allowed);
            let due = entry.due.min(now);
            let old = std::mem::replace(&mut entry.due, due);
            self.due.remove(&(old, offset));
            self.due.insert((due, offset));
        }
        true
    }

    /// Frees the places of questions that got no answer in time.
    fn lapse_questions(&mut self, now: i64) {
        while let Some((_, offset, check)) = self.questions.pop_front_if(|(lapses, ..)| *lapses <= now) {
            let Some(entry) = self.pending.get_mut(&offset) else { continue };
            if entry.flags & OPEN != 0 && entry.checks == check {
                entry.flags &= !OPEN;
                let group = entry.group;
                self.unanswered += 1;
                self.release_question(group);
            }
        }
    }

    /// `offset` reached its due time: ask, or park.
    fn fall_due(&mut self, offset: i64, now: i64, rules: &Rules, commands: &mut Vec<Command>) {
        let Some(entry) = self.pending.get(&offset) else { return };
        let dies_at = entry.stored_at.saturating_add(rules.give_up_ms);
        let reason = if now > dies_at {
            ParkReason::Expired
        } else if u32::from(entry.checks) >= rules.max_checks && entry.flags & READY == 0 {
            ParkReason::Exhausted
        } else {
            self.make_ready(offset, now, dies_at.saturating_add(1));
            return;
        };
        if let Some(entry) = self.pending.remove(&offset) {
            let claim = self.claim(offset, offset, Verdict::Parked, entry);
            commands.push(Command::Park { claim, reason });
        }
    }

    /// Puts a pending message in line for its group; `look_again_at` is its next due time while it stands there.
    fn make_ready(&mut self, offset: i64, now: i64, look_again_at: i64) {
        let Some(entry) = self.pending.get_mut(&offset) else { return };
        let old = std::mem::replace(&mut entry.due, look_again_at.max(now + 1));
        let due = entry.due;
        let open = entry.flags & OPEN != 0;
        let was_ready = entry.flags & READY != 0;
        if !was_ready {
            entry.ready_at = now;
        }
        entry.flags = entry.flags & !OPEN | READY;
        let (group, ready_at) = (entry.group, entry.ready_at);
        self.due.remove(&(old, offset));
        self.due.insert((due, offset));
        if open {
            self.unanswered += 1;
            self.release_question(group);
        }
        if let Some(named) = self.groups.get_mut(group) {
            named.state.ready.insert((ready_at, offset));
        }
        self.join_rotation(group);
    }

    fn resume_groups(&mut self, now: i64) {
        while let Some((at, id)) = self.resume.first().copied().filter(|(at, _)| *at <= now) {
            self.resume.remove(&(at, id));
            if let Some(named) = self.groups.get_mut(id) {
                named.state.resume_at = None;
            }
            self.join_rotation(id);
        }
    }

    /// Takes a group out of the rotation until `resume_at`.
    fn pause(&mut self, id: NameId, resume_at: i64, offline: bool) {
        let Some(named) = self.groups.get_mut(id) else { return };
        let group = &mut named.state;
        group.offline = offline;
        if std::mem::take(&mut group.in_rotation) {
            self.rotation.retain(|other| *other != id);
        }
        if let Some(at) = group.resume_at.replace(resume_at) {
            self.resume.remove(&(at, id));
        }
        self.resume.insert((resume_at, id));
    }

    /// Gives the groups in line their turns.
    fn emit(&mut self, now: i64, rules: &Rules, online: impl Fn(&str) -> bool, commands: &mut Vec<Command>) {
        while commands.len() < COMMANDS_PER_STEP
            && self.in_flight < self.limits.in_flight
            && let Some(id) = self.rotation.pop_front()
        {
            let Some(named) = self.groups.get_mut(id) else { continue };
            named.state.in_rotation = false;
            let name = Arc::clone(&named.name);
            if !online(&name) {
                self.pause(id, now + self.limits.offline_recheck_ms, true);
                continue;
            }
            named.state.offline = false;
            for _ in 0..CHECKS_PER_TURN {
                if commands.len() >= COMMANDS_PER_STEP || !self.ask_next(id, &name, now, rules, commands) {
                    break;
                }
            }
            let room = self.limits.in_flight_per_group;
            if self.groups.get(id).is_some_and(|named| named.state.in_flight < room) {
                self.join_rotation(id);
            }
        }
    }

    /// Asks about the next message of a group. False when it has none, or no room for another question.
    fn ask_next(&mut self, id: NameId, name: &Arc<str>, now: i64, rules: &Rules, commands: &mut Vec<Command>) -> bool {
        if self.in_flight >= self.limits.in_flight {
            return false;
        }
        let per_group = self.limits.in_flight_per_group;
        let Some(named) = self.groups.get_mut(id).filter(|named| named.state.in_flight < per_group) else {
            return false;
        };
        let Some((_, offset)) = named.state.ready.pop_first() else { return false };
        let Some(entry) = self.pending.get_mut(&offset) else { return true };
        named.state.in_flight += 1;
        named.state.turn = named.state.turn.wrapping_add(1);
        let turn = named.state.turn;
        self.in_flight += 1;
        entry.flags = entry.flags & !READY | OPEN;
        entry.checks = entry.checks.saturating_add(1);
        let old = std::mem::replace(&mut entry.due, now.saturating_add(rules.interval_ms.max(1)));
        self.due.remove(&(old, offset));
        self.due.insert((entry.due, offset));
        self.questions.push_back((now + self.limits.answer_timeout_ms, offset, entry.checks));
        let (log_offset, attempt) = (entry.log_offset, entry.checks);
        commands.push(Command::Ask { offset, log_offset, group: Arc::clone(name), attempt, turn });
        true
    }

    fn next(&self, now: i64, more: bool) -> Next {
        if more {
            return Next::Now;
        }
        let mut next = self.due.first().map(|(due, _)| *due);
        let mut consider = |at: Option<i64>| {
            if let Some(at) = at {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        };
        consider(self.resume.first().map(|(at, _)| *at));
        if self.in_flight > 0 {
            consider(self.questions.front().map(|(lapses, ..)| *lapses));
        }
        match next {
            Some(at) if at <= now => Next::Now,
            Some(at) => Next::At(at),
            None => Next::Idle,
        }
    }
}
