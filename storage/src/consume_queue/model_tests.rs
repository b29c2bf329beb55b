//! Random histories of a queue against a plain list.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::Dispatch;
use super::entry::Entry;
use super::load::LastRun;
use super::table::QueueTable;
use crate::config::StoreConfig;
use crate::fs::{FileSystem, RealFs};

#[derive(Debug, Clone)]
enum Step {
    /// Appends so many messages of this size.
    Put(u8, u32),
    /// Dispatches what is there once more.
    Repeat,
    /// Cuts the log before the message this share of the way from the first to the end.
    Cut(u8),
    /// Moves the start of the log likewise.
    Expire(u8),
    /// Opens again, after a clean end or not.
    Reopen(bool),
    /// Unmaps what is not used.
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..12u8, 1..500u32).prop_map(|(count, size)| Step::Put(count, size)),
        1 => Just(Step::Repeat),
        2 => (0..=100u8).prop_map(Step::Cut),
        2 => (0..=100u8).prop_map(Step::Expire),
        2 => any::<bool>().prop_map(Step::Reopen),
        1 => Just(Step::Close),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What the queue must hold.
#[derive(Debug, Default)]
struct Model {
    /// Messages whose records are in the log, oldest first.
    live: VecDeque<Entry>,
    /// Offset of the first of them.
    min: i64,
    log_min: u64,
    log_end: u64,
}

impl Model {
    fn share(&self, percent: u8) -> usize {
        self.live.len() * usize::from(percent) / 100
    }

    fn max(&self) -> i64 {
        self.min + self.live.len() as i64
    }
}

fn open(root: &std::path::Path, clean: bool) -> QueueTable {
    let mut config = StoreConfig::new(root);
    config.consume_queue_file_size = 100;
    let fs: Arc<dyn FileSystem> = Arc::new(RealFs);
    QueueTable::load(&config, &fs, if clean { LastRun::Stopped } else { LastRun::Killed }).unwrap()
}

fn dispatch(entry: Entry, queue_offset: i64) -> Dispatch {
    Dispatch { entry, queue_offset, batch_size: 1, store_timestamp: 0 }
}

fn play(steps: &[Step]) -> Result<(), TestCaseError> {
    let root = tempfile::tempdir().unwrap();
    let mut table = open(root.path(), true);
    let mut model = Model::default();
    for step in steps {
        let queue = table.get("T", 0);
        match *step {
            Step::Put(count, size) => {
                let room = queue.reserve(usize::from(count)).unwrap();
                for _ in 0..count {
                    let entry = Entry { physical_offset: model.log_end, size, tags_code: i64::from(size) };
                    queue.dispatch_reserved(&room, &dispatch(entry, model.max())).unwrap();
                    model.live.push_back(entry);
                    model.log_end += u64::from(size);
                }
            }
            Step::Repeat => {
                for (n, &entry) in model.live.iter().enumerate() {
                    queue.dispatch(&dispatch(entry, model.min + n as i64)).unwrap();
                }
            }
            Step::Cut(percent) => {
                let kept = model.share(percent);
                // A log that is cut to nothing gives its queues up, whatever they counted before.
                if kept > 0 {
                    model.log_end = model.live.get(kept).map_or(model.log_end, |entry| entry.physical_offset);
                    model.live.truncate(kept);
                    table.truncate(model.log_end).unwrap();
                }
            }
            Step::Expire(percent) => {
                let gone = model.share(percent);
                model.log_min = model.live.get(gone).map_or(model.log_end, |entry| entry.physical_offset);
                model.live.drain(..gone);
                model.min += gone as i64;
                table.delete_before(model.log_min).unwrap();
            }
            Step::Reopen(clean) => {
                drop(queue);
                table = open(root.path(), clean);
                table.truncate(model.log_end).unwrap();
                table.correct_min(model.log_min);
            }
            Step::Close => table.close_idle(),
        }
        let queue = table.get("T", 0);
        prop_assert_eq!(queue.max_offset(), model.max(), "after {:?}", step);
        prop_assert_eq!(queue.min_offset(), model.min, "after {:?}", step);
        let found: Vec<_> = queue.entries(queue.min_offset()).map(|at| at.entry).collect();
        prop_assert_eq!(found, Vec::from_iter(model.live.iter().copied()), "after {:?}", step);
        let middle = model.min + model.live.len() as i64 / 2;
        prop_assert_eq!(queue.entry(middle), model.live.get(model.live.len() / 2).copied());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_holds_what_a_list_would(steps in steps()) {
        play(&steps)?;
    }
}
