//! The clock side of the state: what falls due, whose turn it is, and what to do about it.

use std::sync::Arc;

use crate::config::CheckPolicy;

use super::{
    super::{names::NameId, verdicts::Verdict},
    AGING, Claim, OPEN, READY, Rules, State, back_off,
};

/// Entries that one step moves from waiting to ready, so that a backlog never holds the lock for long.
const DUE_PER_STEP: usize = 256;
/// Commands that one step emits.
const COMMANDS_PER_STEP: usize = 64;
/// Checks that one group may send before the next group has its turn.
const CHECKS_PER_TURN: usize = 8;

/// How far a group may be ahead of its budget, in microseconds: what was saved up, and what a wake-up costs.
const BURST_US: i64 = 100_000;
/// The longest time between two checks of one group: one in a second is the smallest budget.
const LONGEST_PAUSE_MS: i64 = 1000;

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

/// Whether operators want a message given up that was stored then.
fn is_too_old(stored_at: i64, now: i64, rules: &Rules) -> bool {
    now > stored_at.saturating_add(rules.give_up_ms)
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
        if now < self.stepped_at.saturating_sub(LONGEST_PAUSE_MS) {
            self.resume_groups(i64::MAX); // the clock was set back: what waits for its old time would wait too long
        }
        self.stepped_at = now;
        self.lapse_questions(now);
        self.follow_age(rules);
        let mut moved = 0;
        while moved < DUE_PER_STEP
            && commands.len() < COMMANDS_PER_STEP
            && let Some((_, offset)) = self.aging.first().copied().filter(|(stored, _)| is_too_old(*stored, now, rules))
        {
            moved += 1;
            self.park(offset, ParkReason::Expired, commands);
        }
        while moved < DUE_PER_STEP
            && commands.len() < COMMANDS_PER_STEP
            && let Some((due, offset)) = self.due.first().copied().filter(|(due, _)| *due <= now)
        {
            self.due.remove(&(due, offset));
            moved += 1;
            self.fall_due(offset, now, rules, commands);
        }
        self.resume_groups(now);
        self.emit(now, rules, online, commands);
        let next = self.next(now, rules, moved == DUE_PER_STEP || commands.len() >= COMMANDS_PER_STEP);
        self.sleeping_until = match next {
            Next::Now => i64::MIN,
            Next::At(at) => at,
            Next::Idle => i64::MAX,
        };
        next
    }

    /// The question reached `whom`.
    pub fn was_asked(&mut self, offset: i64, now: i64, whom: Arc<str>) {
        let Some(entry) = self.pending.get_mut(&offset) else { return };
        entry.set_asked_at(now);
        let before = std::mem::replace(&mut entry.whom, self.whoms.acquire(&whom));
        self.whoms.release(before);
    }

    /// No producer took the question: the attempt does not count, and the group pauses.
    pub fn not_asked(&mut self, offset: i64, now: i64, rules: &Rules) {
        let Some(entry) = self.pending.get_mut(&offset) else { return };
        if entry.flags & READY != 0 {
            return; // it has fallen due again meanwhile
        }
        entry.checks = entry.checks.saturating_sub(1);
        let (group, at) = (entry.group, entry.at);
        self.due.remove(&(at, offset));
        self.make_ready(offset, now, rules);
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
            let group = self.groups.get(entry.group).map(|named| &*named.name).unwrap_or_default();
            let allowed = u16::try_from(rules.of(group).max_checks.saturating_sub(1)).unwrap_or(u16::MAX);
            entry.checks = entry.checks.min(allowed);
            let due = entry.at.min(now);
            let old = entry.at;
            entry.at = due;
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

    /// `offset` reached its due time, and is in no set: ask, or park.
    fn fall_due(&mut self, offset: i64, now: i64, rules: &Rules, commands: &mut Vec<Command>) {
        let Some(entry) = self.pending.get(&offset) else { return };
        let group = self.groups.get(entry.group).map(|named| &*named.name).unwrap_or_default();
        if is_too_old(entry.stored_at, now, rules) {
            self.park(offset, ParkReason::Expired, commands);
        } else if u32::from(entry.checks) >= rules.of(group).max_checks {
            self.park(offset, ParkReason::Exhausted, commands);
        } else {
            self.make_ready(offset, now, rules);
        }
    }

    fn park(&mut self, offset: i64, reason: ParkReason, commands: &mut Vec<Command>) {
        if let Some(entry) = self.pending.remove(&offset) {
            let claim = self.claim(offset, offset, Verdict::Parked, entry);
            commands.push(Command::Park { claim, reason });
        }
    }

    /// Puts a pending message that is in no set in line for its group.
    fn make_ready(&mut self, offset: i64, now: i64, rules: &Rules) {
        let Some(entry) = self.pending.get_mut(&offset) else { return };
        let was_open = entry.flags & OPEN != 0;
        entry.at = now;
        entry.flags = entry.flags & !OPEN | READY;
        if rules.give_up_ms < i64::MAX {
            entry.flags |= AGING;
            self.aging.insert((entry.stored_at, offset));
        }
        let group = entry.group;
        if was_open {
            self.unanswered += 1;
            self.release_question(group);
        }
        if let Some(named) = self.groups.get_mut(group) {
            named.state.ready.insert((now, offset));
        }
        self.join_rotation(group);
    }

    /// Begins or ends following the age of what is in line, when operators begin or end wanting old messages given up.
    fn follow_age(&mut self, rules: &Rules) {
        let before = std::mem::replace(&mut self.give_up_ms, rules.give_up_ms);
        if (before < i64::MAX) == (rules.give_up_ms < i64::MAX) {
            return;
        }
        self.aging.clear();
        for (offset, entry) in &mut self.pending {
            entry.flags &= !AGING;
            if entry.flags & READY != 0 && rules.give_up_ms < i64::MAX {
                entry.flags |= AGING;
                self.aging.insert((entry.stored_at, *offset));
            }
        }
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
            let policy = rules.of(&name);
            let room = self.limits.in_flight_per_group.min(policy.unanswered);
            for _ in 0..CHECKS_PER_TURN {
                if commands.len() >= COMMANDS_PER_STEP || self.in_flight >= self.limits.in_flight {
                    break;
                }
                if let Some(at) = self.over_budget(id, now, policy) {
                    self.pause(id, at, false);
                    break;
                }
                if !self.ask_next(id, &name, now, policy, room, commands) {
                    break;
                }
            }
            if self.groups.get(id).is_some_and(|named| named.state.in_flight < room) {
                self.join_rotation(id);
            }
        }
    }

    /// Asks about the next message of a group. False when it has none, or no room for another question.
    fn ask_next(
        &mut self,
        id: NameId,
        name: &Arc<str>,
        now: i64,
        policy: &CheckPolicy,
        room: u32,
        commands: &mut Vec<Command>,
    ) -> bool {
        let Some(named) = self.groups.get_mut(id).filter(|named| named.state.in_flight < room) else {
            return false;
        };
        let Some((_, offset)) = named.state.ready.pop_first() else { return false };
        let Some(entry) = self.pending.get_mut(&offset) else { return true };
        named.state.in_flight += 1;
        named.state.turn = named.state.turn.wrapping_add(1);
        let turn = named.state.turn;
        if policy.per_second > 0 {
            let each = 1_000_000 / i64::from(policy.per_second);
            named.state.budget_at = named.state.budget_at.max(now.saturating_mul(1000)).saturating_add(each);
        }
        self.in_flight += 1;
        if entry.flags & AGING != 0 {
            self.aging.remove(&(entry.stored_at, offset));
        }
        entry.flags = entry.flags & !(READY | AGING) | OPEN;
        entry.checks = entry.checks.saturating_add(1);
        entry.at = now.saturating_add(policy.wait_ms(entry.checks, back_off(entry.flags), offset));
        self.due.insert((entry.at, offset));
        self.questions.push_back((now + self.limits.answer_timeout_ms, offset, entry.checks));
        let (log_offset, attempt) = (entry.log_offset, entry.checks);
        commands.push(Command::Ask { offset, log_offset, group: Arc::clone(name), attempt, turn });
        true
    }

    /// When the group may ask again, if its budget is used up. In milliseconds.
    fn over_budget(&self, id: NameId, now: i64, policy: &CheckPolicy) -> Option<i64> {
        if policy.per_second == 0 {
            return None;
        }
        let at = self.groups.get(id)?.state.budget_at.saturating_sub(BURST_US);
        // a budget from before the clock was set back does not count
        let is_over = at > now.saturating_mul(1000) && at <= now.saturating_add(LONGEST_PAUSE_MS).saturating_mul(1000);
        is_over.then(|| at.saturating_add(999) / 1000)
    }

    fn next(&self, now: i64, rules: &Rules, more: bool) -> Next {
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
        consider(self.aging.first().map(|(stored, _)| stored.saturating_add(rules.give_up_ms).saturating_add(1)));
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
