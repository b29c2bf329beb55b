//! What is done to the broker, always the same: the calls to the disk come in the same order in every run, until one fails.

use std::{path::Path, sync::Arc, time::Duration};

use tenonmq_broker::core::clock::ManualClock;
use tenonmq_storage::fs::{FaultyFs, FileSystem, Space};

use super::{Checked, Outcome, Run, Strike, Trouble, bench::Broker, judge, ledger::Ledger};

/// Far behind the times that files have in the directory, so that each is old enough to go; not at the hour of removal.
pub(super) const START_MS: i64 = 2_000_000_000_000;
pub(super) const GROUP: &str = "CG";
pub(super) const POPPING: &str = "PG";

/// One run.
pub(super) struct Script<'a> {
    root: &'a Path,
    run: Run,
    pub(super) fs: Arc<FaultyFs>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) ledger: Ledger,
    calls: u64,
    /// Messages that were sent.
    pub(super) count: usize,
}

impl<'a> Script<'a> {
    pub(super) fn new(root: &'a Path, run: Run) -> Self {
        let fs = Arc::new(FaultyFs::lazy());
        fs.set_space(Some(Space { total: 1 << 40, available: 1 << 39 })); // what the machine has does not matter
        fs.strike(run.strike);
        Self::on(fs, root, run)
    }

    /// Over a disk that does what the machine's does.
    pub(super) fn on_a_real_disk(root: &'a Path, run: Run) -> Self {
        Self::on(Arc::new(FaultyFs::new()), root, run)
    }

    fn on(fs: Arc<FaultyFs>, root: &'a Path, run: Run) -> Self {
        let ledger = Ledger { regions: vec!["DefaultRegion".to_owned()], ..Ledger::default() };
        Self { root, run, fs, clock: ManualClock::at(START_MS), ledger, calls: 0, count: 0 }
    }

    pub(super) fn struck(&self) -> Option<String> {
        self.fs.struck()
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome {
            calls: self.calls,
            struck: self.fs.struck(),
            acknowledged: self.ledger.acknowledged,
            refused: self.ledger.refusals.len(),
        }
    }

    /// All of it.
    pub(super) fn play(&mut self) -> Checked {
        // the first broker: everything once, then a clean stop
        if let Some(mut broker) = self.start()? {
            self.first_day(&mut broker);
            self.repair_if_full();
            self.second_day(&mut broker)?;
            let is_whole = self.is_well(&broker);
            let in_order = broker.stop();
            if is_whole && !in_order && self.struck().is_none() {
                return Err("it did not stop in order".into());
            }
        }
        // the second one is killed
        if let Some(mut broker) = self.start()? {
            self.third_day(&mut broker);
        }
        if let Some(silent) = self.ledger.refusals.iter().find(|refusal| refusal.ends_with(' ')) {
            return Err(format!("refused without a word: {silent}"));
        }
        self.calls = self.fs.total_calls();
        self.fs.strike(None);
        for is_last in [false, true] {
            let mut broker = self.start()?.ok_or("a broker does not start on a disk that was repaired")?;
            judge::directory(self, &mut broker, is_last)?;
            if !broker.stop() {
                return Err("a broker on a repaired disk did not stop in order".into());
            }
        }
        Ok(())
    }

    /// A start, or why it failed.
    pub(super) fn start_once(&self) -> Result<Broker, String> {
        let fs: Arc<dyn FileSystem> = self.fs.clone();
        Broker::start(self.root, fs, &self.clock, self.run.is_sync).map_err(|error| chain(&*error))
    }

    /// A start. One that fails says on which file; the next one, on a disk with one fault only, succeeds.
    pub(super) fn start(&mut self) -> Checked<Option<Broker>> {
        for _ in 0..2 {
            let text = match self.start_once() {
                Ok(broker) => return Ok(Some(broker)),
                Err(text) => text,
            };
            if self.run.strike.is_none() || self.struck().is_none() || !text.contains("injected fault") {
                return Err(format!("a start failed: {text}"));
            }
            if !text.contains(&self.root.display().to_string()) {
                return Err(format!("a start failed without the name of a file: {text}"));
            }
            self.ledger.refusals.push(text);
        }
        let keeps_on =
            matches!(self.run.strike, Some(strike) if matches!(strike.trouble, Trouble::Full | Trouble::Dead));
        if keeps_on { Ok(None) } else { Err("a start failed twice of one fault".into()) }
    }

    /// Whether the broker takes everything again: no flush has failed, and what was wrong with the disk is over.
    fn is_well(&self, broker: &Broker) -> bool {
        let poisoned = matches!(broker.core.store.writable(), Err(tenonmq_storage::Unwritable::Poisoned(_)));
        !poisoned && !matches!(self.run.strike, Some(strike) if strike.trouble == Trouble::Dead)
    }

    /// A disk that was full has room again while the broker runs.
    fn repair_if_full(&mut self) {
        if let Some(Strike { at, trouble: Trouble::Full }) = self.run.strike
            && self.fs.total_calls() > at
        {
            self.fs.strike(None);
        }
    }

    fn first_day(&mut self, broker: &mut Broker) {
        self.create_topic(broker, "orders", 2);
        self.create_topic(broker, "bills", 1);
        self.create_group(broker, GROUP);
        self.change(broker, "first");
        self.key(broker, "first");
        for n in 0..24 {
            self.send(broker, "orders", n % 2, &[("KEYS", "k")]);
        }
        self.pass(broker, 1);
        self.commit(broker, "orders", 0, 3);
        self.commit(broker, "orders", 1, 4);
        for verdict in [Some(true), Some(false), None] {
            self.transaction(broker, verdict);
        }
        self.send_back(broker);
        self.delayed(broker, &[("DELAY", "2")]);
        self.delayed(broker, &[("TIMER_DELAY_MS", "20000")]);
        self.delayed(broker, &[("TIMER_DELAY_MS", "100000000")]);
        for _ in 0..4 {
            self.send(broker, "bills", 0, &[]);
        }
        self.pop(broker, 3, 2);
        self.send(broker, "made-by-a-send", 0, &[]);
        self.pass(broker, 1);
        self.pass(broker, 3);
        self.pass(broker, 10);
        self.transaction(broker, Some(true));
        self.commit(broker, "orders", 0, 5);
        self.pass(broker, 30);
    }

    /// What must go well if the disk does.
    fn second_day(&mut self, broker: &mut Broker) -> Checked {
        // what was full or failed once has been noticed to be well again
        self.pass(broker, 20);
        self.repair_if_full(); // if it became so just now
        let begun = self.fs.total_calls();
        self.pass(broker, 1);
        let refused = self.ledger.refusals.len();
        let struck_at = self.run.strike.map_or(u64::MAX, |strike| strike.at);
        for n in 0..30 {
            self.send(broker, "orders", n % 2, &[("KEYS", "l")]);
        }
        self.transaction(broker, Some(true));
        self.commit(broker, "orders", 1, 9);
        self.create_topic(broker, "late", 1);
        self.change(broker, "second");
        self.key(broker, "second");
        self.send(broker, "late", 0, &[]);
        self.pop(broker, 1, 1);
        if let Some(refusal) = self.ledger.refusals.get(refused)
            && self.is_well(broker)
            && (begun > struck_at || self.run.strike.is_none())
        {
            return Err(format!("it does not go on: {refusal}"));
        }
        for _ in 0..2 {
            judge::observe(&mut self.ledger, broker); // what a single fault hides is seen the second time
        }
        broker.core.store.trigger_clean();
        for _ in 0..4 {
            self.pass(broker, 1);
        }
        broker.core.store.trigger_clean();
        self.pass(broker, 1);
        self.send(broker, "orders", 0, &[]);
        Ok(())
    }

    fn third_day(&mut self, broker: &mut Broker) {
        for n in 0..4 {
            self.send(broker, "orders", n % 2, &[]);
        }
        self.commit(broker, "orders", 1, 12);
        self.change(broker, "third");
        self.key(broker, "third");
        self.transaction(broker, Some(true));
        self.transaction(broker, None);
        self.pop(broker, 1, 1);
        self.delayed(broker, &[("TIMER_DELAY_MS", "5000")]);
        self.pass(broker, 1);
    }

    /// Lets time pass for broker and disk.
    pub(super) fn pass(&mut self, broker: &mut Broker, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        broker.tick();
    }

    /// Whether offsets may fall back to earlier ones: they are answered from memory when the disk takes nothing at all.
    pub(super) fn offsets_may_fall_back(&self) -> bool {
        self.run.strike.is_some_and(|strike| matches!(strike.trouble, Trouble::Full | Trouble::Dead))
    }
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
