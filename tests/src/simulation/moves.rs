//! What may happen next, and how likely it is in a run.
//!
//! Each run leaves some kinds of trouble out, so that the others come to places they would otherwise not reach.

use tenonmq_broker::transaction::{
    Ended, Verdict,
    operator::{ByHandError, Resumed},
};

use super::{
    Mutation,
    broker::{DELAY, GROUPS, QUEUES, RESERVED_MS, TOPICS},
    ledger::{Allowed, Checked, FIRST_WINS, FORGOTTEN, Fate, Manner, Sent, broken},
    network::{Packet, Place},
    restart::End,
    world::{World, note},
};

/// Something that may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Send,
    Arrive,
    Lose,
    Wait,
    Check,
    Save,
    Maintain,
    Flush,
    Come,
    Go,
    Stop,
    Kill,
    KillWriting,
    PowerLoss,
    ClockForward,
    ClockBack,
    DiskFull,
    SyncFails,
    OperatorChecks,
    OperatorDecides,
    OperatorResumes,
    Report,
    Age,
}

/// What always happens, with its weight.
const ALWAYS: [(Move, usize); 9] = [
    (Move::Send, 14),
    (Move::Arrive, 30),
    (Move::Wait, 12),
    (Move::Check, 14),
    (Move::Save, 5),
    (Move::Maintain, 4),
    (Move::Flush, 3),
    (Move::Come, 5),
    (Move::Stop, 1),
];
/// What happens in about half of all runs.
const SOMETIMES: [(Move, usize); 12] = [
    (Move::Lose, 5),
    (Move::Go, 4),
    (Move::Kill, 2),
    (Move::KillWriting, 4),
    (Move::PowerLoss, 2),
    (Move::ClockForward, 2),
    (Move::ClockBack, 2),
    (Move::DiskFull, 2),
    (Move::SyncFails, 1),
    (Move::OperatorChecks, 3),
    (Move::OperatorDecides, 3),
    (Move::OperatorResumes, 8),
];

/// What a run consists of.
pub(super) struct Mood {
    moves: Vec<(Move, usize)>,
    total: usize,
    /// Percent of packets that arrive out of order, and twice.
    reorder: u64,
    duplicate: u64,
    /// Percent of transactions of each manner but the truthful one.
    hesitant: u64,
    silent: u64,
    contradictory: u64,
    /// Whether half messages may be in the queue for a while before the transactions hear of them.
    late_reports: bool,
}

impl Mood {
    pub(super) fn of(world: &mut World) -> Self {
        let dice = &mut world.dice;
        let mut moves = ALWAYS.to_vec();
        moves.extend(SOMETIMES.into_iter().filter(|_| dice.percent(50)));
        if world.rules.retention {
            // what is to go while the log takes no copies of it is kept in memory, which a kill takes away
            moves.retain(|(next, _)| *next != Move::DiskFull);
            moves.extend([(Move::Send, 12), (Move::Age, 6), (Move::Maintain, 6), (Move::Flush, 8), (Move::Save, 10)]);
        }
        let late_reports = dice.percent(15);
        if late_reports {
            moves.push((Move::Report, 6));
        }
        let total = moves.iter().map(|(_, weight)| weight).sum();
        Self {
            total,
            moves,
            reorder: [0, 30, 100][dice.below(3)],
            duplicate: [0, 10, 30][dice.below(3)],
            hesitant: [0, 30][dice.below(2)],
            silent: [0, 20, 60][dice.below(3)],
            contradictory: [0, 0, 20][dice.below(3)],
            late_reports,
        }
    }

    fn pick(&self, world: &mut World) -> Move {
        let mut at = world.dice.below(self.total);
        for (next, weight) in &self.moves {
            if at < *weight {
                return *next;
            }
            at -= weight;
        }
        Move::Arrive
    }
}

impl World {
    /// Something happens.
    pub(super) fn step(&mut self, mood: &Mood) -> Checked {
        match mood.pick(self) {
            Move::Send => {
                self.begin(mood);
                Ok(())
            }
            Move::Arrive => self.something_arrives(mood),
            Move::Lose => {
                self.something_is_lost();
                Ok(())
            }
            Move::Wait => {
                let ms = [0, 1, 50, 999, 5_000, 7_000, 30_000, 61_000][self.dice.below(8)];
                self.clock.advance(ms);
                Ok(())
            }
            Move::Check => self.check().map(drop),
            Move::Save => self.persist(),
            Move::Maintain => self.maintain(),
            Move::Flush => {
                self.flush();
                Ok(())
            }
            Move::Come => {
                self.somebody_comes();
                Ok(())
            }
            Move::Go => {
                self.somebody_goes();
                Ok(())
            }
            Move::Stop => self.restart(End::Stop),
            Move::Kill => self.restart(End::Kill),
            Move::PowerLoss => self.restart(End::PowerLoss),
            Move::KillWriting => {
                self.dies_writing = true;
                Ok(())
            }
            Move::ClockForward => {
                self.clock.advance(self.dice.between(60_000, 4 * 3_600_000));
                note!(self, "the clock jumped forward");
                Ok(())
            }
            Move::ClockBack => {
                self.clock.advance(-self.dice.between(1_000, 2 * 3_600_000));
                note!(self, "the clock jumped back");
                Ok(())
            }
            Move::DiskFull => {
                note!(self, "the disk is full");
                self.disk.set_full(true);
                self.disk_trouble = true;
                Ok(())
            }
            Move::SyncFails => {
                note!(self, "syncs fail");
                self.disk.fail_syncs(true);
                self.disk_trouble = true;
                Ok(())
            }
            Move::OperatorChecks => self.operator_checks(),
            Move::OperatorDecides => self.operator_decides(),
            Move::OperatorResumes => self.operator_resumes(),
            Move::Report => self.report_late(),
            Move::Age => self.grow_old(),
        }
    }

    /// An application begins a transaction.
    fn begin(&mut self, mood: &Mood) {
        let number = self.ledger.sent.len();
        let dice = &mut self.dice;
        let manner = match dice.below(100) as u64 {
            roll if roll < mood.hesitant => Manner::Hesitant,
            roll if roll < mood.hesitant + mood.silent => Manner::Silent,
            roll if roll < mood.hesitant + mood.silent + mood.contradictory => Manner::Contradictory,
            _ => Manner::Truthful,
        };
        let group = GROUPS[dice.below(GROUPS.len())];
        let key = format!("AC11000100002A9F{:016X}", number + 1);
        let immunity_s = [None, None, None, None, Some(3), Some(30), Some(7_200)][dice.below(7)];
        let delay = if dice.percent(10) { format!("DELAY\x01{}\x02", DELAY.0) } else { String::new() };
        let tags = if dice.percent(50) { "TAGS\x01eu\x02" } else { "" };
        let immunity =
            immunity_s.map_or_else(String::new, |seconds| format!("CHECK_IMMUNITY_TIME_IN_SECONDS\x01{seconds}\x02"));
        let text = format!(
            "TRAN_MSG\x01true\x02PGROUP\x01{group}\x02UNIQ_KEY\x01{key}\x02KEYS\x01order-{number}\x02WAIT\x01true\x02\
             {tags}{immunity}{delay}customer\x01nr {}\x02",
            dice.below(1000)
        );
        let truth = if dice.percent(60) { Verdict::Committed } else { Verdict::RolledBack };
        let topic = TOPICS[dice.below(TOPICS.len())];
        let queue_id = dice.below(QUEUES as usize) as i32;
        let body = format!("order {number}{}", " ".repeat(dice.below(3) * dice.below(400)));
        note!(self, "{key} is sent to {topic} {queue_id} by {group}, {truth:?}, {manner:?}, immunity {immunity_s:?}");
        self.ledger.by_key.insert(key.clone(), number);
        self.ledger.sent.push(Sent { group, topic, queue_id, key, body, text, immunity_s, truth, manner });
        self.packets.push(Packet::Send(number));
        self.late_reports = mood.late_reports;
    }

    fn something_arrives(&mut self, mood: &Mood) -> Checked {
        if self.packets.is_empty() {
            return Ok(());
        }
        let at = if self.dice.percent(mood.reorder) { self.dice.below(self.packets.len()) } else { 0 };
        let packet = if self.dice.percent(mood.duplicate) { self.packets[at] } else { self.packets.remove(at) };
        self.arrive(packet, false)
    }

    /// A packet is lost. Whoever sent a half message and hears nothing sends it again.
    fn something_is_lost(&mut self) {
        if self.packets.is_empty() {
            return;
        }
        let packet = self.packets.remove(self.dice.below(self.packets.len()));
        note!(self, "lost: {packet:?}");
        let sent = match packet {
            Packet::Send(sent) | Packet::Stored(Place { sent, .. }) => sent,
            _ => return,
        };
        if self.dice.percent(60) {
            self.packets.push(Packet::Send(sent));
        }
    }

    /// The periodic work of the store; whatever ailed the disk may be over.
    pub(super) fn maintain(&mut self) -> Checked {
        let healed = self.disk_trouble && self.dice.percent(60);
        if healed {
            self.disk.set_full(false);
            self.disk.fail_syncs(false);
        }
        if let Some(broker) = &self.broker {
            broker.store.maintain();
            broker.store.index_now(u64::MAX);
        }
        self.look_at_gone()?;
        if !healed {
            return Ok(());
        }
        note!(self, "the disk is well again");
        let is_poisoned = self.broker.as_ref().is_some_and(|broker| broker.store.writable().is_err());
        if is_poisoned {
            return self.restart(End::Kill);
        }
        self.disk_trouble = false;
        Ok(())
    }

    /// Log files become old enough to go, and most of what it takes for that happens.
    fn grow_old(&mut self) -> Checked {
        self.clock.advance(self.dice.between(RESERVED_MS / 2, 2 * RESERVED_MS));
        for _ in 0..4 {
            if self.dice.percent(90) {
                self.flush();
            }
            if self.dice.percent(90) {
                self.maintain()?;
            }
            if self.dice.percent(90) {
                self.persist()?;
            }
            self.clock.advance(11_000);
        }
        Ok(())
    }

    fn somebody_comes(&mut self) {
        let number = self.dice.below(GROUPS.len());
        self.come(number);
    }

    pub(super) fn come(&mut self, number: usize) {
        let members = &mut self.around.online.lock()[number];
        *members = (*members + 1).min(2);
        if let Some(broker) = &self.broker {
            broker.transactions.producer_online(GROUPS[number]);
        }
    }

    fn somebody_goes(&mut self) {
        let number = self.dice.below(GROUPS.len());
        let members = {
            let members = &mut self.around.online.lock()[number];
            *members = members.saturating_sub(1);
            *members
        };
        if members == 0 {
            note!(self, "nobody of {} is online", GROUPS[number]);
            // what was on its way to them is not answered
            let ledger = &self.ledger;
            self.packets.retain(|packet| match packet {
                Packet::Stored(place) | Packet::Question(place) => ledger.sent[place.sent].group != GROUPS[number],
                _ => true,
            });
        }
    }

    fn any_half(&mut self) -> Option<i64> {
        let at = self.dice.below(self.ledger.halves.len());
        self.ledger.halves.keys().nth(at).copied()
    }

    fn operator_checks(&mut self) -> Checked {
        let Some(offset) = self.any_half() else { return Ok(()) };
        let outcome = self.call(Allowed::Nothing, |broker, _| broker.transactions.check_by_hand(offset, "ann"))?;
        self.judge_by_hand(offset, outcome.map(|outcome| outcome.map(|()| Ended::Decided)), None)
    }

    fn operator_decides(&mut self) -> Checked {
        let Some(offset) = self.any_half() else { return Ok(()) };
        let verdict = if self.dice.percent(50) { Verdict::Committed } else { Verdict::RolledBack };
        let before = self.ledger.half_at(offset).map(|half| half.fate);
        let work = |broker: &super::broker::Broker, around: &super::broker::Around| {
            broker.transactions.decide_by_hand(around, offset, verdict, "ann")
        };
        let outcome = self.call(Allowed::Verdict(offset, verdict), work)?;
        note!(self, "half {offset}: {verdict:?} by hand -> {outcome:?}");
        if outcome.is_some() && self.rules.is_sync {
            self.flush();
        }
        match before {
            Some(before) => self.judge_by_hand(offset, outcome, Some((verdict, before))),
            None => Ok(()),
        }
    }

    fn judge_by_hand(
        &self,
        offset: i64,
        outcome: Option<Result<Ended, ByHandError>>,
        decision: Option<(Verdict, Fate)>,
    ) -> Checked {
        let (Some(outcome), Some(half)) = (outcome, self.ledger.half_at(offset)) else { return Ok(()) };
        let before = decision.map_or(half.fate, |(_, before)| before);
        let is_unreported = self.unreported.iter().any(|report| report.appended.queue_offset == offset);
        match outcome {
            Ok(Ended::Decided) if before == Fate::Undecided => match decision {
                Some((verdict, _)) if half.fate != Fate::Decided(verdict) => {
                    broken(FIRST_WINS, format!("half {offset}: {verdict:?} by hand is done, and it is {:?}", half.fate))
                }
                _ => Ok(()),
            },
            Err(ByHandError::NotPending(_)) if before != Fate::Undecided || half.is_gone || is_unreported => Ok(()),
            Err(ByHandError::Refused(_)) if self.disk_trouble => Ok(()),
            outcome => broken(FIRST_WINS, format!("half {offset} was {before:?}; by hand: {outcome:?}")),
        }
    }

    fn operator_resumes(&mut self) -> Checked {
        let at = self.dice.below(self.ledger.parked.len());
        let Some((id, sent)) = self.ledger.parked.get(at).cloned() else { return Ok(()) };
        let outcome = self.call(Allowed::Nothing, |broker, _| broker.transactions.resume(&id, "ann"))?;
        note!(self, "{} is resumed: {outcome:?}", self.ledger.sent[sent].key);
        let is_undecided = |offset: i64| {
            let half = self.ledger.half_at(offset);
            half.is_some_and(|half| half.sent == sent && half.fate == Fate::Undecided)
        };
        match outcome {
            None => Ok(()),
            Some(Ok(Resumed::Again(offset) | Resumed::Already(offset))) if is_undecided(offset) => Ok(()),
            Some(Err(_)) if self.disk_trouble || lies_at(&id) < self.log_min() => Ok(()),
            Some(outcome) => broken(FORGOTTEN, format!("{id} could not be resumed: {outcome:?}")),
        }
    }

    /// Mistakes that are not made in the course of a run, but are there from the start.
    pub(super) fn mutate_surroundings(&mut self) {
        if self.mutation == Some(Mutation::SpendOffline) {
            self.around.takes_offline.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// The log offset in the id of a record.
fn lies_at(id: &str) -> u64 {
    id.get(id.len().saturating_sub(16)..).and_then(|at| u64::from_str_radix(at, 16).ok()).unwrap_or(0)
}
