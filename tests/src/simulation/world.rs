//! One run: a broker, what happens to it, and the ledger that it is held against.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, atomic::Ordering},
};

use tenonmq_broker::{
    config::LiveConfig,
    transaction::{SafeOffsets, Verdict},
};
use tenonmq_storage::{Clock, ManualClock};

use super::{
    Mutation,
    broker::{Around, Broker, Rules},
    crash::{self, Left},
    dice::Dice,
    disk::SimDisk,
    ledger::{ATTEMPTS, Allowed, Checked, FORGOTTEN, Fate, Half, Ledger, OFFSETS, OPENS, broken},
    network::{Packet, Report},
};

const START_MS: i64 = 1_800_000_000_000;

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) rules: Rules,
    pub(super) clock: Arc<ManualClock>,
    pub(super) disk: Arc<SimDisk>,
    pub(super) around: Arc<Around>,
    pub(super) broker: Option<Broker>,
    pub(super) ledger: Ledger,
    pub(super) packets: Vec<Packet>,
    pub(super) mutation: Option<Mutation>,
    /// The next call that appends something is the last one of its process.
    pub(super) dies_writing: bool,
    /// The disk was full, or did not sync, since it was looked at last: appends may be refused.
    pub(super) disk_trouble: bool,
    /// Half messages in the queue that the transactions have not heard of.
    pub(super) unreported: Vec<Report>,
    pub(super) late_reports: bool,
    /// What happened, when anybody wants to know.
    pub(super) history: Option<Vec<String>>,
    /// A number made of everything that happened: equal runs have equal ones.
    pub(super) digest: u64,
    pub(super) root: PathBuf,
    pub(super) saved: Vec<SafeOffsets>,
    /// Former contents of the file that lists what is undecided.
    pub(super) listed: Vec<Vec<u8>>,
}

macro_rules! note {
    ($world:expr, $($what:tt)*) => {
        if $world.history.is_some() {
            $world.note(format!($($what)*));
        }
    };
}
pub(super) use note;

impl World {
    pub(super) fn new(seed: u64, root: &Path, mutation: Option<Mutation>, traced: bool) -> Self {
        let mut dice = Dice::of(seed);
        let clock = Arc::new(ManualClock::new(START_MS));
        let variant = dice.below(VARIANTS.len());
        let (_, max_checks) = VARIANTS[variant];
        let rules = Rules {
            live: live(variant),
            max_checks,
            retention: dice.percent(40),
            is_sync: dice.percent(30),
            index: dice.percent(60),
        };
        let disk = Arc::new(SimDisk::new(root, Arc::clone(&clock), true));
        Self {
            dice,
            rules,
            clock,
            disk,
            around: Arc::default(),
            broker: None,
            ledger: Ledger::default(),
            packets: Vec::new(),
            mutation,
            dies_writing: false,
            disk_trouble: false,
            unreported: Vec::new(),
            late_reports: false,
            history: traced.then(Vec::new),
            digest: seed,
            root: root.to_owned(),
            saved: vec![SafeOffsets::default()],
            listed: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    pub(super) fn note(&mut self, what: String) {
        let at = self.now() - START_MS;
        if let Some(history) = &mut self.history {
            history.push(format!("{:>9}.{:03} s  {what}", at / 1000, at.rem_euclid(1000)));
        }
    }

    /// Lets the broker do something. `None` when it died while it wrote, and started again.
    pub(super) fn call<T>(&mut self, allowed: Allowed, work: impl FnOnce(&Broker, &Around) -> T) -> Checked<Option<T>> {
        let Some(broker) = &self.broker else { return broken(OPENS, "there is no broker") };
        let before = broker.store.watermarks().appended;
        let checks = self.dies_writing.then(|| std::fs::metadata(self.own_file("transaction-checks")));
        let outcome = work(broker, &self.around);
        let after = broker.store.watermarks().appended;
        self.digest = self.digest.rotate_left(7) ^ after;
        if self.dies_writing && after > before {
            self.dies_writing = false;
            self.die_writing(before, checks.and_then(Result::ok).map_or(0, |file| file.len()), allowed)?;
            return Ok(None);
        }
        broker.show(&mut self.ledger, allowed)?;
        Ok(Some(outcome))
    }

    pub(super) fn own_file(&self, name: &str) -> PathBuf {
        self.root.join("tenonmq").join(name)
    }

    /// `checks` is the length of the file with the checks, which is written to after all records.
    fn die_writing(&mut self, before: u64, checks: u64, allowed: Allowed) -> Checked {
        let Some(broker) = self.broker.take() else { return Ok(()) };
        let written = crash::written(&broker, before);
        let flushed = broker.store.watermarks().flushed;
        broker.drop(&self.around);
        if let Ok(file) = std::fs::OpenOptions::new().write(true).open(self.own_file("transaction-checks")) {
            io_ok(file.set_len(checks))?;
        }
        let op_first = self.mutation == Some(Mutation::OpFirst);
        let left = io_ok(crash::take_back(&self.root, &written, op_first, &mut self.dice))?;
        match left {
            Left::Records(whole, bytes) => {
                note!(self, "killed while writing {} records: {whole} and {bytes} bytes are left", written.len());
            }
            Left::AllBut(entries) => {
                note!(self, "killed while writing {} records: {entries} entries are missing", written.len());
            }
            Left::OpOnly => note!(self, "killed while writing: only the op record is left"),
        }
        if self.dice.percent(20) {
            return self.lose_power(flushed, allowed);
        }
        self.start(u64::MAX, allowed)
    }

    /// Offsets of `CID_RMQ_SYS_TRANS` that the engine gives out for saving.
    pub(super) fn save(&mut self, mut safe: SafeOffsets) -> Checked {
        if self.mutation == Some(Mutation::OffsetsAhead) {
            safe.half = self.ledger.halves.last_key_value().map_or(0, |(offset, _)| offset + 1);
        }
        note!(self, "saved {safe:?}");
        if let Some(oldest) = self.ledger.undecided().next()
            && safe.half > oldest.queue_offset
        {
            return broken(OFFSETS, format!("{safe:?}, and half {} is undecided", oldest.queue_offset));
        }
        let passed = |half: &&Half| half.queue_offset >= safe.half && half.op.is_some_and(|op| op < safe.op);
        if let Some(half) = self.ledger.halves.values().find(passed) {
            return broken(OFFSETS, format!("{safe:?} passes op record {:?} of half {}", half.op, half.queue_offset));
        }
        self.saved.push(safe);
        Ok(())
    }

    /// Carries forward what lies in files that are to go, and notes how far everything is.
    pub(super) fn persist(&mut self) -> Checked {
        while self.carry()? {}
        let safe = self.broker.as_ref().and_then(|broker| broker.transactions.persist());
        safe.map_or(Ok(()), |safe| self.save(safe))
    }

    pub(super) fn carry(&mut self) -> Checked<bool> {
        let before = self.ledger.seen;
        let more = self.call(Allowed::Carrying, |broker, around| broker.transactions.carry(around))?;
        if self.ledger.seen > before {
            note!(self, "half messages are carried forward");
        }
        Ok(more.unwrap_or(false))
    }

    /// What retention has removed was decided.
    pub(super) fn look_at_gone(&mut self) -> Checked {
        let Some(broker) = &self.broker else { return Ok(()) };
        let (min, mut gone) = (broker.store.watermarks().min, 0);
        for half in self.ledger.halves.values_mut().filter(|half| half.log_offset < min && !half.is_gone) {
            if half.fate == Fate::Undecided {
                return broken(
                    FORGOTTEN,
                    format!("half {} is undecided, and its log file is removed", half.queue_offset),
                );
            }
            half.is_gone = true;
            gone += 1;
        }
        if gone > 0 {
            note!(self, "the log begins at {min} now");
        }
        Ok(())
    }

    /// The checker runs once. False when there was nothing to do at this time.
    pub(super) fn check(&mut self) -> Checked<Option<tenonmq_broker::transaction::state::Next>> {
        let before = self.ledger.seen;
        self.around.is_deaf.store(self.dice.percent(10), Ordering::Relaxed);
        let Some(next) = self.call(Allowed::Parking, |broker, around| broker.transactions.check(around))? else {
            return Ok(None);
        };
        self.parked_since(before)?;
        let mut asked = std::mem::take(&mut *self.around.asked.lock());
        if self.mutation == Some(Mutation::AskAgain)
            && let Some(question) = asked.first().cloned()
            && let Some(half) = self.ledger.halves.values().find(|half| half.fate != Fate::Undecided)
        {
            asked.push(tenonmq_broker::transaction::Question { half_offset: half.queue_offset, ..question });
        }
        for question in asked {
            self.asked(&question)?;
        }
        Ok(Some(next))
    }

    /// Whoever was parked must have been asked about as often as allowed.
    fn parked_since(&mut self, before: u64) -> Checked {
        let max_checks = self.rules.max_checks;
        for half in self.ledger.halves.values() {
            let is_new = half.fate == Fate::Decided(Verdict::Parked) && half.decided_end > before;
            if is_new && half.asks < max_checks {
                let seen = format!("half {} is parked after {} of {max_checks} checks", half.queue_offset, half.asks);
                return broken(ATTEMPTS, seen);
            }
        }
        Ok(())
    }
}

pub(super) fn io_ok<T>(outcome: io::Result<T>) -> Checked<T> {
    outcome.or_else(|error| broken("the simulation itself works", error.to_string()))
}

/// Time between two checks, and checks per message.
const VARIANTS: [(i64, u32); 4] = [(1_000, 1), (1_000, 2), (10_000, 3), (60_000, 5)];

fn live(variant: usize) -> Arc<LiveConfig> {
    static LIVE: OnceLock<Vec<Arc<LiveConfig>>> = OnceLock::new();
    let all = LIVE.get_or_init(|| {
        let of = |(interval, max): &(i64, u32)| {
            let (interval, max) = (interval.to_string(), max.to_string());
            let settings = [("transactionCheckInterval", interval.as_str()), ("transactionCheckMax", max.as_str())];
            LiveConfig::embedded(settings).expect("these keys are known")
        };
        VARIANTS.iter().map(of).collect()
    });
    Arc::clone(&all[variant])
}
