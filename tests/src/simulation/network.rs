//! What is under way between producers and the broker, and what each side does when something arrives.
//!
//! Packets arrive in any order, twice, late, or never.

use tenonmq_broker::transaction::{End, EndRefused, Ended, Question, Verdict, half};
use tenonmq_protocol::message::{
    NewRecord, Properties, body_crc,
    properties::{self, tags_code},
};
use tenonmq_storage::{AppendClass, AppendError, Appended};

use super::{
    Mutation,
    broker::{Broker, address},
    ledger::{ATTEMPTS, Allowed, Checked, FIRST_WINS, FORGOTTEN, Fate, Manner, NO_CHECK, ONCE, Sent, broken},
    mutation,
    world::{World, note},
};

/// Where a half message lies, as its producer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sent: usize,
    pub(super) half_offset: i64,
    pub(super) log_offset: i64,
}

/// Something under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet {
    /// To the broker: a half message.
    Send(usize),
    /// To the producer: it is stored there.
    Stored(Place),
    /// To the producer: what became of this half message?
    Question(Place),
    /// To the broker: this, and whether it answers a check.
    Verdict(Place, Option<Verdict>, bool),
}

impl Packet {
    /// The place in the half queue that it names.
    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Self::Send(_) => None,
            Self::Stored(place) | Self::Question(place) | Self::Verdict(place, ..) => Some(*place),
        }
    }
}

impl World {
    /// `packet` arrives.
    pub(super) fn arrive(&mut self, packet: Packet, is_end: bool) -> Checked {
        match packet {
            Packet::Send(sent) => self.store(sent),
            Packet::Stored(place) => {
                self.after_send(place, is_end);
                Ok(())
            }
            Packet::Question(place) => {
                self.answer(place, is_end);
                Ok(())
            }
            Packet::Verdict(place, None, from_check) => {
                note!(self, "half {}: unknown", place.half_offset);
                let (half, log) = (place.half_offset, place.log_offset);
                self.call(Allowed::Nothing, |broker, _| broker.transactions.unknown(half, log, from_check)).map(drop)
            }
            Packet::Verdict(place, Some(verdict), from_check) => self.end(place, verdict, from_check),
        }
    }

    /// The broker stores a half message, as its send path does.
    fn store(&mut self, number: usize) -> Checked {
        let Some(sent) = self.ledger.sent.get(number).cloned() else { return Ok(()) };
        let spoilt = self.mutation == Some(Mutation::OtherBody) && number % 4 == 3;
        let late = self.late_reports && self.dice.percent(30);
        let stored = self.call(Allowed::Nothing, |broker, _| {
            let report = append_half(broker, &sent, number, spoilt)?;
            if !late {
                report.tell(broker);
            }
            Ok(report)
        })?;
        let Some(stored) = stored else {
            note!(self, "{} was being stored", sent.key);
            return Ok(());
        };
        match stored {
            Ok(report) => {
                let place = report.place();
                note!(self, "{} is stored: half {} at {}", sent.key, place.half_offset, place.log_offset);
                if late {
                    self.unreported.push(report);
                } else {
                    self.reply(Packet::Stored(place));
                }
                Ok(())
            }
            Err::<_, AppendError>(error) => {
                note!(self, "{} is refused: {error}", sent.key);
                if self.disk_trouble { Ok(()) } else { broken(FORGOTTEN, format!("a send was refused: {error}")) }
            }
        }
    }

    /// The thread that stored a half message comes to tell the transactions of it, and answers.
    pub(super) fn report_late(&mut self) -> Checked {
        if self.unreported.is_empty() {
            return Ok(());
        }
        let at = self.dice.below(self.unreported.len());
        let report = self.unreported.remove(at);
        note!(self, "half {} is reported", report.appended.queue_offset);
        self.call(Allowed::Nothing, |broker, _| report.tell(broker))?;
        self.reply(Packet::Stored(report.place()));
        Ok(())
    }

    /// The broker answers: durably, if it is configured so.
    fn reply(&mut self, packet: Packet) {
        if self.rules.is_sync && self.mutation != Some(Mutation::AckEarly) {
            self.flush();
        }
        self.packets.push(packet);
    }

    pub(super) fn flush(&mut self) {
        let flushed = self.broker.as_ref().map(|broker| broker.store.flush());
        if let Some(Err(error)) = flushed {
            note!(self, "the flush failed: {error}");
        }
    }

    /// The producer hears that its half message is stored, and ends its local transaction.
    fn after_send(&mut self, place: Place, is_end: bool) {
        let Some(sent) = self.ledger.sent.get(place.sent) else { return };
        let (truth, manner) = (sent.truth, sent.manner);
        let verdict = match manner {
            _ if is_end => Some(truth),
            Manner::Truthful if self.dice.percent(80) => Some(truth),
            Manner::Contradictory => Some(self.any_verdict()),
            Manner::Hesitant if self.dice.percent(50) => None,
            _ => return,
        };
        self.packets.push(Packet::Verdict(place, verdict, false));
        if manner == Manner::Contradictory && self.dice.percent(50) {
            let other = self.any_verdict();
            self.packets.push(Packet::Verdict(place, Some(other), false));
        }
    }

    fn any_verdict(&mut self) -> Verdict {
        if self.dice.percent(50) { Verdict::Committed } else { Verdict::RolledBack }
    }

    /// A producer is asked.
    fn answer(&mut self, place: Place, is_end: bool) {
        let Some(sent) = self.ledger.sent.get(place.sent) else { return };
        let (truth, manner) = (sent.truth, sent.manner);
        let verdict = match manner {
            _ if is_end => Some(truth),
            Manner::Truthful => Some(truth),
            Manner::Hesitant if self.dice.percent(60) => None,
            Manner::Hesitant => Some(truth),
            Manner::Contradictory if self.dice.percent(30) => None,
            Manner::Contradictory => Some(self.any_verdict()),
            Manner::Silent => return,
        };
        self.packets.push(Packet::Verdict(place, verdict, true));
    }

    /// A question leaves the broker.
    pub(super) fn asked(&mut self, question: &Question) -> Checked {
        let offset = question.half_offset;
        note!(self, "half {offset}: question {}", question.attempt);
        let Some(half) = self.ledger.halves.get_mut(&offset) else {
            return broken(NO_CHECK, format!("a question about half {offset}, which is not there"));
        };
        if half.fate != Fate::Undecided {
            return broken(NO_CHECK, format!("a question about half {offset}, which is {:?}", half.fate));
        }
        half.asks += 1;
        if question.attempt > half.asks {
            let seen =
                format!("half {offset} was asked about {} times, and this is check {}", half.asks, question.attempt);
            return broken(ATTEMPTS, seen);
        }
        let place = Place { sent: half.sent, half_offset: offset, log_offset: question.log_offset.cast_signed() };
        self.packets.push(Packet::Question(place));
        Ok(())
    }

    /// END_TRANSACTION.
    pub(super) fn end(&mut self, place: Place, verdict: Verdict, from_check: bool) -> Checked {
        let Some(sent) = self.ledger.sent.get(place.sent).cloned() else { return Ok(()) };
        let before = self.ledger.half_at(place.half_offset).cloned();
        let must_drop = from_check && verdict == Verdict::Committed && self.is_twin_published(place);
        let wanted = mutation::wanted(self.mutation, verdict);
        let end = End {
            group: sent.group,
            half_offset: place.half_offset,
            log_offset: place.log_offset,
            verdict: wanted,
            from_check,
        };
        let allowed = Allowed::Verdict(self.ledger.place_of(place.half_offset), verdict);
        let outcome = self.call(allowed, |broker, around| broker.transactions.end(around, &end))?;
        let Some(mut outcome) = outcome else {
            note!(self, "half {}: {verdict:?} was being written", place.half_offset);
            return Ok(());
        };
        if self.mutation == Some(Mutation::TakesContradictions) && outcome.is_err() {
            outcome = Ok(Ended::Repeated);
        }
        note!(self, "half {}: {verdict:?} (check: {from_check}) -> {outcome:?}", place.half_offset);
        if self.mutation == Some(Mutation::PublishTwice)
            && let (Ok(Ended::Repeated), Verdict::Committed) = (&outcome, verdict)
        {
            self.call(allowed, |broker, _| mutation::publish_again(broker, place.log_offset))?;
        }
        if self.rules.is_sync {
            self.flush();
        }
        let Some(before) = before else { return Ok(()) };
        if before.is_gone {
            return Ok(());
        }
        match before.fate {
            Fate::Undecided => self.judge_first(place, verdict, from_check, must_drop, &outcome),
            Fate::Decided(decided) => {
                let is_known = before.decided_run == self.ledger.run || !self.has_relatives(place);
                self.judge_repeat(place, verdict, decided, is_known, &outcome)
            }
        }
    }

    fn judge_first(
        &mut self,
        place: Place,
        verdict: Verdict,
        from_check: bool,
        must_drop: bool,
        outcome: &Result<Ended, EndRefused>,
    ) -> Checked {
        let offset = place.half_offset;
        let Some(half) = self.ledger.half_at(offset) else { return Ok(()) };
        match outcome {
            Ok(Ended::Decided) if half.fate == Fate::Decided(verdict) => {
                let is_visible = half.visible.is_some();
                match verdict {
                    Verdict::Committed if !is_visible => {
                        broken(ONCE, format!("half {offset} is committed and not visible"))
                    }
                    _ if must_drop => broken(ONCE, format!("half {offset} is published, and so is its twin")),
                    _ => Ok(()),
                }
            }
            Ok(Ended::Repeated) if half.is_dropped && from_check => match self.is_any_twin_published(place) {
                true => Ok(()),
                false => broken(FORGOTTEN, format!("half {offset} is dropped as a twin of nothing")),
            },
            Ok(ended) => {
                broken(FIRST_WINS, format!("{verdict:?} of half {offset}: {ended:?}, and it is {:?}", half.fate))
            }
            Err(EndRefused::TooLate { .. }) if !from_check && self.wishes_immunity(place) => Ok(()),
            Err(EndRefused::Append(AppendError::Unwritable(_)) | EndRefused::IndexBehind) if self.disk_trouble => {
                Ok(())
            }
            Err(refused) => broken(FIRST_WINS, format!("the first verdict on half {offset} is refused: {refused}")),
        }
    }

    fn judge_repeat(
        &self,
        place: Place,
        verdict: Verdict,
        decided: Verdict,
        is_known: bool,
        outcome: &Result<Ended, EndRefused>,
    ) -> Checked {
        let offset = place.half_offset;
        match outcome {
            Err(EndRefused::TooLate { .. }) if self.wishes_immunity(place) => Ok(()),
            Err(EndRefused::IndexBehind) if self.disk_trouble => Ok(()),
            Err(EndRefused::NotFound) if place.log_offset.cast_unsigned() < self.log_min() => Ok(()),
            Ok(Ended::Repeated) if decided == verdict || !is_known => Ok(()),
            Err(EndRefused::Contradiction(said)) if (*said == decided && decided != verdict) || !is_known => Ok(()),
            outcome => {
                broken(FIRST_WINS, format!("half {offset} is {decided:?}; {verdict:?} is answered with {outcome:?}"))
            }
        }
    }

    pub(super) fn log_min(&self) -> u64 {
        self.broker.as_ref().map_or(0, |broker| broker.store.watermarks().min)
    }

    fn wishes_immunity(&self, place: Place) -> bool {
        self.ledger.sent.get(place.sent).is_some_and(|sent| sent.immunity_s.is_some())
    }

    /// Whether other half messages, or parked copies, stand for the same transaction: then the log does not say after a
    /// restart which verdict was on which.
    fn has_relatives(&self, place: Place) -> bool {
        let halves = self.ledger.halves.values().filter(|half| half.sent == place.sent).count();
        halves > 1 || self.ledger.parked.iter().any(|(_, sent)| *sent == place.sent)
    }

    fn is_any_twin_published(&self, place: Place) -> bool {
        let own = self.ledger.place_of(place.half_offset);
        let mut halves = self.ledger.halves.values();
        halves.any(|half| half.sent == place.sent && half.queue_offset != own && half.visible.is_some())
    }

    /// Whether the other half message of one send is published where the broker must find it.
    fn is_twin_published(&self, place: Place) -> bool {
        const WINDOW_MS: u64 = 60_000;
        let ledger = &self.ledger;
        let is_delayed =
            ledger.sent.get(place.sent).is_some_and(|sent| properties::find(&sent.text, "DELAY").is_some());
        let Some(half) = ledger.half_at(place.half_offset) else { return false };
        let is_twin = |other: &super::ledger::Half| {
            other.sent == half.sent
                && other.queue_offset != half.queue_offset
                && other.visible.is_some()
                && !other.is_gone
                && other.stored_at.abs_diff(half.stored_at) <= WINDOW_MS
        };
        // what was carried forward is as old as the clock said at any restart
        self.rules.index && !is_delayed && half.former.is_empty() && ledger.halves.values().any(is_twin)
    }
}

/// A half message in the queue of which the transactions are yet to hear.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) appended: Appended,
    sent: usize,
    text: String,
    group: &'static str,
}

impl Report {
    fn tell(&self, broker: &Broker) {
        broker.transactions.half_stored(&self.appended, &Properties::parse(&self.text), self.group);
    }

    fn place(&self) -> Place {
        Place {
            sent: self.sent,
            half_offset: self.appended.queue_offset,
            log_offset: self.appended.physical_offset.cast_signed(),
        }
    }
}

fn append_half(broker: &Broker, sent: &Sent, number: usize, spoilt: bool) -> Result<Report, AppendError> {
    let mut properties = Properties::parse(&sent.text);
    let place = half::convert(&mut properties, sent.topic, sent.queue_id, 0);
    let mut text = Vec::with_capacity(sent.text.len() + 96);
    properties.encode_into(&mut text);
    let body = if spoilt { "something else" } else { &sent.body };
    let record = NewRecord {
        topic: place.topic,
        queue_id: place.queue_id,
        flag: 0,
        sys_flag: place.sys_flag,
        born_timestamp: 1,
        born_host: address(),
        store_host: address(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.as_bytes(),
        properties: &text,
        body_crc: body_crc(body.as_bytes()),
    };
    let tags_code = tags_code(properties.get("TAGS"));
    let appended = broker.store.append(broker.transactions.half_queue(), &record, tags_code, AppendClass::Send)?;
    let text = String::from_utf8(text).unwrap_or_default();
    Ok(Report { appended, sent: number, text, group: sent.group })
}
