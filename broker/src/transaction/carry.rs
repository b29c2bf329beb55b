//! Undecided messages outlive the log file that holds them.
//!
//! A file of the log that is due to go, by age or for the disk's sake, waits while the oldest undecided message lies in
//! it ([`Carrier`] holds it). Those in it are appended to the half topic again, each next to an op record that names the
//! old place, so that whoever opens the directory finds the same undecided set; the copy says what it stands for
//! ([`carried`](super::carried)). When the copies are on the disk, the file goes.
//!
//! On a disk that is so full that the log takes no copies, a file that was kept would never let go of the space that
//! they need. So they are taken into memory then, up to [`BOAT`] bytes, and appended when the file is gone.

use std::collections::VecDeque;

use bytes::Bytes;
use tenonmq_protocol::message::NewRecord;
use tenonmq_storage::{AppendClass, AppendError, LogReader, Queue, Store, Unwritable};

use super::{
    End, EndRefused, Host, Transactions, Verdict,
    end::stood_at,
    records::{HalfRecord, OP_TAGS_CODE, OpBody},
    state::{Decision, Moving, ParkReason},
    tally::Count,
};

/// Messages appended again in one step.
const STEP: usize = 256;
/// Bytes of messages that are kept in memory while the disk is too full for them.
const BOAT: usize = 256 << 20;
/// Time between two tries while the log takes no records. In milliseconds.
const PAUSE_MS: i64 = 1000;

/// Keeps the log files of undecided messages until these are appended again.
pub(super) struct Carrier {
    hold: LogReader,
    /// Messages whose log file may go before they are appended again, oldest first.
    boat: VecDeque<(Moving, Bytes)>,
    boat_bytes: usize,
    not_before: i64,
}

/// What became of one message.
enum Carried {
    Done,
    NoRoom,
    Failed,
}

impl Carrier {
    /// Holds the whole log.
    pub(super) fn new(store: &Store) -> Self {
        Self { hold: store.log_reader(0), boat: VecDeque::new(), boat_bytes: 0, not_before: i64::MIN }
    }

    /// Lets everything before `log_offset` go.
    pub(super) fn release(&mut self, log_offset: u64) {
        self.hold.seek(log_offset);
    }
}

impl Transactions {
    /// Appends undecided messages again whose log file is due to go, a bounded number of them. True when there are more.
    /// Blocking: it reads old files.
    pub fn carry(&self, host: &dyn Host) -> bool {
        if self.is_slave() {
            return false;
        }
        let wanted = self.store.removal_held_up().unwrap_or(0);
        for _ in 0..STEP {
            let mut carrier = self.carrier.lock();
            let now = self.now_ms();
            if now < carrier.not_before {
                return false;
            }
            if let Some((moving, bytes)) = carrier.boat.pop_front() {
                match self.carry_one(host, &moving, &bytes) {
                    Carried::Done => carrier.boat_bytes = carrier.boat_bytes.saturating_sub(bytes.len()),
                    Carried::NoRoom | Carried::Failed => {
                        carrier.boat.push_front((moving, bytes));
                        carrier.not_before = now.saturating_add(PAUSE_MS);
                        self.board(&mut carrier, wanted);
                        return false;
                    }
                }
                continue;
            }
            let Some(moving) = self.state.lock().depart(wanted) else { return false };
            let Some(bytes) = self.store.read(moving.log_offset) else {
                self.stay_and_lose(&moving);
                continue;
            };
            match self.carry_one(host, &moving, &bytes) {
                Carried::Done => {}
                Carried::NoRoom => {
                    self.state.lock().stay(moving.offset);
                    carrier.not_before = now.saturating_add(PAUSE_MS);
                    self.board(&mut carrier, wanted);
                    return false;
                }
                Carried::Failed => {
                    self.state.lock().stay(moving.offset);
                    carrier.not_before = now.saturating_add(PAUSE_MS);
                    return false;
                }
            }
        }
        true
    }

    /// Returns when the message that was on its way when this was called has arrived, if it can.
    pub(super) fn wait_for_carrier(&self) {
        drop(self.carrier.lock());
    }

    /// Takes messages of the file that is to go into memory, because the disk is full.
    fn board(&self, carrier: &mut Carrier, wanted: u64) {
        let before = carrier.boat.len();
        while carrier.boat_bytes < BOAT {
            let Some(moving) = self.state.lock().depart(wanted) else { break };
            let Some(bytes) = self.store.read(moving.log_offset) else {
                self.stay_and_lose(&moving);
                continue;
            };
            // a copy of our own: a reference would keep the blocks of the file
            let bytes = HalfRecord::parse(&bytes).map(|half| Bytes::copy_from_slice(half.record.bytes()));
            let Some(bytes) = bytes else {
                self.stay_and_lose(&moving);
                continue;
            };
            carrier.boat_bytes += bytes.len();
            carrier.boat.push_back((moving, bytes));
        }
        let count = carrier.boat.len();
        if count > before {
            tracing::error!(
                count,
                bytes = carrier.boat_bytes,
                "the disk is full: undecided half messages wait in memory for their log file to go; do not stop the broker"
            );
            // what was appended before must be on the disk before its file goes
            if self.store.flush().is_ok() {
                carrier.release(self.needed(wanted));
            }
        }
    }

    fn carry_one(&self, host: &dyn Host, moving: &Moving, bytes: &[u8]) -> Carried {
        let Some(half) = HalfRecord::parse(bytes) else {
            self.stay_and_lose(moving);
            return Carried::Done;
        };
        let text = half.text_carried(moving.stored_at, moving.checks, moving.asked_at, moving.is_copy);
        let op = OpBody::of(&[moving.offset]);
        let op_record = op.record(host.address(), self.now_ms());
        let items: [(&Queue, NewRecord<'_>, i64); 2] =
            [(&self.half, half.resumed(&text), half.tags_code()), (&self.op, op_record, OP_TAGS_CODE)];
        match self.store.append_all(&items, AppendClass::Settle) {
            Ok(appended) => {
                let Some(copy) = appended.first() else { return Carried::Failed };
                let to = (copy.queue_offset, copy.physical_offset);
                self.tally.count(Count::Carried);
                self.trail.moved(moving.offset, to.0);
                let wake = self.state.lock().arrive(moving.offset, to, half.unique_key);
                self.wake_checker(wake);
                tracing::info!(
                    from = moving.offset,
                    to = to.0,
                    group = half.group,
                    "undecided half message carried forward"
                );
                Carried::Done
            }
            Err(error @ (AppendError::TooLarge { .. } | AppendError::PropertiesTooLarge { .. })) => {
                tracing::warn!(half_offset = moving.offset, %error, "undecided half message cannot be carried forward");
                self.stay_and_park(host, moving);
                Carried::Done
            }
            Err(error) => {
                tracing::warn!(half_offset = moving.offset, %error, "undecided half message not carried forward yet");
                match error {
                    AppendError::Unwritable(Unwritable::DiskFull { .. }) => Carried::NoRoom,
                    _ => Carried::Failed,
                }
            }
        }
    }

    /// It has no room for what a copy must say: it goes where people look.
    fn stay_and_park(&self, host: &dyn Host, moving: &Moving) {
        let decision = {
            let mut state = self.state.lock();
            state.stay(moving.offset);
            state.decide(moving.offset, Verdict::Parked, || None)
        };
        if let Decision::First(claim) = decision {
            self.park(host, claim, ParkReason::Uncarried);
        }
    }

    fn stay_and_lose(&self, moving: &Moving) {
        self.state.lock().stay(moving.offset);
        self.lose(moving.offset, moving.log_offset, "");
    }

    /// The record that stands now for the one that a verdict names, which is gone from the log.
    pub(super) fn carried_for(&self, end: &End<'_>) -> Result<Bytes, EndRefused> {
        let log_offset = {
            let state = self.state.lock();
            let place = state.place_of(end.half_offset);
            state.find(place).filter(|_| place != end.half_offset).map(|found| found.log_offset)
        };
        let bytes = log_offset.and_then(|at| self.store.read(at)).ok_or(EndRefused::NotFound)?;
        let half = HalfRecord::parse(&bytes).ok_or(EndRefused::NotFound)?;
        if stood_at(&half, end) { Ok(bytes) } else { Err(EndRefused::NotFound) }
    }

    /// Commit-log offset of the oldest record that is needed here. `end`: of the log, before this call.
    pub(super) fn oldest_needed(&self, end: u64) -> u64 {
        let _carrier = self.carrier.lock(); // so nothing moves, but what is in memory
        self.needed(end)
    }

    fn needed(&self, end: u64) -> u64 {
        let (oldest, frontier) = {
            let state = self.state.lock();
            (state.oldest_record(), state.frontier())
        };
        let unknown = self.half.entry(frontier).map(|entry| entry.physical_offset);
        [oldest, unknown].into_iter().flatten().fold(end, u64::min)
    }
}
