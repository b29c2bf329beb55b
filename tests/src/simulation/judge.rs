//! The end of a run: trouble is over, everybody answers, and everything has to be settled.

use tenonmq_broker::transaction::{
    Verdict::{Committed, RolledBack},
    state::Next,
};

use super::{
    broker::GROUPS,
    ledger::{Checked, SETTLES, broken},
    network::Place,
    restart::End,
    world::{World, note},
};

/// Rounds in which everything must be settled.
const ROUNDS: usize = 400;

impl World {
    /// Lets everything come to its end, and looks at what came of it.
    pub(super) fn conclude(&mut self) -> Checked {
        note!(self, "--- trouble is over");
        self.dies_writing = false;
        self.disk.set_full(false);
        self.disk.fail_syncs(false);
        self.disk.set_used_percent(0);
        if self.disk_trouble {
            self.restart(End::Kill)?;
        }
        while !self.unreported.is_empty() {
            self.report_late()?;
        }
        (0..GROUPS.len()).for_each(|number| self.come(number));
        for _ in 0..ROUNDS {
            while !self.packets.is_empty() {
                let packet = self.packets.remove(0);
                self.arrive(packet, true)?;
            }
            let next = self.check()?;
            if !self.packets.is_empty() {
                continue;
            }
            if self.is_settled() {
                return self.look_again();
            }
            match next {
                Some(Next::At(at)) => self.clock.set(at.max(self.now() + 1)),
                Some(Next::Now) | None => {}
                Some(Next::Idle) => self.clock.advance(1_000),
            }
            self.persist()?;
        }
        let open: Vec<_> = self.ledger.undecided().map(|half| half.queue_offset).collect();
        broken(SETTLES, format!("after {ROUNDS} quiet rounds these are undecided: {open:?}"))
    }

    fn is_settled(&self) -> bool {
        let pending = self.broker.as_ref().map_or(0, |broker| broker.transactions.pending());
        self.ledger.undecided().next().is_none() && pending == 0
    }

    /// Nothing changes any more, however the broker ends, and every decision stands.
    fn look_again(&mut self) -> Checked {
        self.flush();
        let end = [End::Stop, End::Kill, End::PowerLoss][self.dice.below(3)];
        self.restart(end)?;
        if !self.is_settled() {
            return broken(SETTLES, "what was settled is pending after a restart");
        }
        for _ in 0..4.min(self.ledger.halves.len()) {
            let at = self.dice.below(self.ledger.halves.len());
            let Some(half) = self.ledger.halves.values().nth(at) else { continue };
            let place =
                Place { sent: half.sent, half_offset: half.queue_offset, log_offset: half.log_offset.cast_signed() };
            self.end(place, Committed, true)?;
            self.end(place, RolledBack, true)?;
        }
        Ok(())
    }
}
