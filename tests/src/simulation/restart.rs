//! The end of a broker and its next start, which must find what was there.

use std::io;

use tenonmq_broker::transaction::{SafeOffsets, Verdict};

use super::{
    Mutation,
    broker::Broker,
    ledger::{Allowed, Checked, DURABLE, FORGOTTEN, Fate, Half, Ledger, ONCE, OPENS, broken},
    network::Place,
    world::{World, io_ok, note},
};

/// How a broker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// In order.
    Stop,
    /// The process is killed.
    Kill,
    /// The machine loses its power.
    PowerLoss,
}

impl World {
    /// Ends the broker, and starts it again.
    pub(super) fn restart(&mut self, end: End) -> Checked {
        let Some(broker) = self.broker.take() else { return broken(OPENS, "there is no broker") };
        note!(self, "{end:?}");
        let flushed = match self.mutation {
            Some(Mutation::AckEarly) => broker.store.watermarks().appended,
            _ => broker.store.watermarks().flushed,
        };
        match end {
            End::Stop => {
                self.broker = Some(broker);
                while self.carry()? {}
                let Some(broker) = self.broker.take() else { return Ok(()) };
                let safe = broker.transactions.final_offsets();
                self.save(safe)?;
                if let Err(error) = broker.store.shutdown() {
                    note!(self, "the stop failed: {error}");
                }
                broker.drop(&self.around);
                self.start(u64::MAX, Allowed::Nothing)
            }
            End::Kill => {
                broker.drop(&self.around);
                self.start(u64::MAX, Allowed::Nothing)
            }
            End::PowerLoss => {
                broker.drop(&self.around);
                self.lose_power(flushed, Allowed::Nothing)
            }
        }
    }

    pub(super) fn lose_power(&mut self, flushed: u64, allowed: Allowed) -> Checked {
        io_ok(self.disk.lose_power(&mut self.dice))?;
        io_ok(self.spoil_own_files())?;
        // offsets that were saved lately may not have come to the disk
        for _ in 0..self.dice.below(3) {
            if self.saved.len() > 1 {
                self.saved.pop();
            }
        }
        note!(self, "the power was lost; durable was the log up to {flushed}");
        self.start(flushed, allowed)
    }

    /// Files that nobody syncs: some are shorter, or older, after the machine died.
    fn spoil_own_files(&mut self) -> io::Result<()> {
        for name in ["transaction-checks", "transaction-checks.old"] {
            let path = self.own_file(name);
            if let Ok(content) = std::fs::read(&path)
                && self.dice.percent(50)
            {
                std::fs::write(&path, &content[..self.dice.below(content.len() + 1)])?;
            }
        }
        let path = self.own_file("transaction-pending");
        if !path.exists() || self.dice.percent(40) {
            return Ok(());
        }
        let older = self.dice.below(self.listed.len() + 1);
        match self.listed.get(older) {
            Some(content) => std::fs::write(&path, content),
            None => {
                let content = std::fs::read(&path)?;
                std::fs::write(&path, &content[..self.dice.below(content.len() + 1)])
            }
        }
    }

    /// Starts the broker, and compares what it found with the ledger. All that lay below `durable` must still be there;
    /// `in_flight` may or may not have been done.
    pub(super) fn start(&mut self, durable: u64, in_flight: Allowed) -> Checked {
        self.disk.set_full(false);
        self.disk.fail_syncs(false);
        self.disk_trouble = false;
        self.unreported.clear();
        let mut saved = self.saved.last().copied().unwrap_or_default();
        if self.mutation == Some(Mutation::ForgetAtRestart) {
            let end = self.ledger.halves.last_key_value().map_or(0, |(offset, _)| offset + 1);
            saved = SafeOffsets { half: end, op: saved.op };
            let _ = std::fs::remove_file(self.own_file("transaction-pending"));
        }
        let started = Broker::start(&self.root, &self.rules, &self.disk, &self.clock, &self.around, saved);
        let broker = match started {
            Ok(broker) => broker,
            Err(error) => return broken(OPENS, error),
        };
        let mut fresh = self.ledger.blank();
        fresh.min = broker.store.watermarks().min;
        broker.show(&mut fresh, Allowed::Mending)?;
        let min = broker.store.watermarks().min;
        note!(
            self,
            "started with offsets {saved:?}: log {min} to {}, undecided {:?}",
            broker.store.watermarks().appended,
            fresh.undecided().map(|half| half.queue_offset).collect::<Vec<_>>()
        );
        self.digest = self.digest.rotate_left(9) ^ broker.store.watermarks().appended;
        self.broker = Some(broker);
        let before = std::mem::replace(&mut self.ledger, fresh);
        for old in before.halves.values() {
            self.carry_over(old, durable, in_flight, min)?;
        }
        self.forget_lost_places(&before);
        if let Ok(listed) = std::fs::read(self.own_file("transaction-pending")) {
            self.listed.truncate(3);
            self.listed.insert(0, listed);
        }
        self.compare_pending()
    }

    /// What was known of a half message before the restart, against what the log says now.
    fn carry_over(&mut self, old: &Half, durable: u64, in_flight: Allowed, min: u64) -> Checked {
        let offset = old.queue_offset;
        if old.is_gone || (old.log_offset < min && old.fate != Fate::Undecided) {
            self.ledger.keep_gone(old);
            return Ok(());
        }
        let has_twin = self.ledger.halves.values().any(|half| half.sent == old.sent && half.visible.is_some());
        let Some(new) = self.ledger.same_as(old) else {
            return match old.end <= durable {
                true => broken(DURABLE, format!("half {offset} is gone, the log was durable up to {durable}")),
                false => Ok(()),
            };
        };
        new.end = old.end;
        new.stored_at = old.stored_at;
        new.asks = old.asks;
        new.decided_run = old.decided_run;
        match (old.fate, new.fate) {
            (Fate::Undecided, Fate::Undecided) => Ok(()),
            (Fate::Undecided, Fate::Decided(found)) => match in_flight {
                Allowed::Verdict(named, verdict) if named == offset || new.queue_offset == named => {
                    new.is_dropped = verdict == Verdict::Committed && new.visible.is_none();
                    new.fate = Fate::Decided(verdict);
                    if new.is_dropped && !has_twin {
                        return broken(
                            ONCE,
                            format!("half {offset} was being committed; it is decided and not visible"),
                        );
                    }
                    Ok(())
                }
                Allowed::Parking if found == Verdict::Parked => Ok(()),
                _ => broken(FORGOTTEN, format!("half {offset} was undecided and is {found:?} after the restart")),
            },
            (Fate::Decided(verdict), Fate::Undecided) if old.decided_end <= durable => {
                broken(DURABLE, format!("half {offset} was {verdict:?}, durably, and is undecided after the restart"))
            }
            (Fate::Decided(_), Fate::Undecided) => Ok(()),
            (Fate::Decided(before), Fate::Decided(_)) => {
                let same = (before == Verdict::Committed && !old.is_dropped) == new.visible.is_some();
                new.fate = Fate::Decided(before);
                new.decided_end = old.decided_end;
                new.is_dropped = old.is_dropped;
                if same {
                    Ok(())
                } else {
                    broken(FORGOTTEN, format!("half {offset} was {before:?}; its visible copy now: {:?}", new.visible))
                }
            }
        }
    }

    /// A verdict names a place. What was under way to a place that the machine lost would meet another message there.
    fn forget_lost_places(&mut self, before: &Ledger) {
        let is_known = |place: Place| {
            let at = (place.half_offset, place.log_offset.cast_unsigned());
            let is_it = |half: &&Half| half.sent == place.sent && half.was_at(at);
            before.halves.values().any(|half| is_it(&half)) && self.ledger.halves.values().any(|half| is_it(&half))
        };
        self.packets.retain(|packet| packet.place().is_none_or(is_known));
    }

    /// The engine's list of the undecided against the ledger's.
    pub(super) fn compare_pending(&self) -> Checked {
        let Some(broker) = &self.broker else { return Ok(()) };
        let listed = broker.transactions.unresolved(None, usize::MAX);
        let listed: Vec<_> = listed.iter().map(|found| (found.state.offset, found.state.log_offset)).collect();
        let expected: Vec<_> = self.ledger.undecided().map(|half| (half.queue_offset, half.log_offset)).collect();
        if listed == expected {
            return Ok(());
        }
        broken(FORGOTTEN, format!("the broker lists {listed:?} as undecided, the log has {expected:?}"))
    }
}
