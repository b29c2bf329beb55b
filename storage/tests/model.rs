//! Random histories against a model that is a list.
//!
//! Files are tiny, so that appends, batches, cuts and restarts cross their borders all the time. Whatever happens, the store
//! holds exactly the records of the model, in their queues and in the log.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{NOW, record, roomy, small};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use tenonmq_protocol::message::{NewRecord, RecordView};
use tenonmq_storage::{AppendClass, Environment, FetchLimits, FetchStatus, Gathering, ManualClock, Store};

#[derive(Debug, Clone)]
enum Step {
    Append {
        topic: u8,
        queue: i32,
        len: usize,
    },
    Batch {
        topic: u8,
        queue: i32,
        lens: Vec<usize>,
    },
    /// A committed message and its op record.
    Pair {
        topic: u8,
    },
    /// Single messages that are written together, if they are.
    Gather {
        lens: Vec<usize>,
        written: bool,
    },
    Cut {
        keep: prop::sample::Index,
    },
    Stop,
    Kill,
    Crash,
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![3 => 0..200_usize, 1 => 200..3000_usize];
    prop_oneof![
        12 => (0..3_u8, 0..2, len).prop_map(|(topic, queue, len)| Step::Append { topic, queue, len }),
        4 => (0..3_u8, 0..2, prop::collection::vec(0..300_usize, 1..12))
            .prop_map(|(topic, queue, lens)| Step::Batch { topic, queue, lens }),
        3 => (0..3_u8).prop_map(|topic| Step::Pair { topic }),
        4 => (prop::collection::vec(0..900_usize, 1..12), any::<bool>())
            .prop_map(|(lens, written)| Step::Gather { lens, written }),
        1 => any::<prop::sample::Index>().prop_map(|keep| Step::Cut { keep }),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
        1 => Just(Step::Crash),
        1 => Just(Step::Flush),
    ]
}

#[derive(Debug, Clone)]
struct Known {
    topic: String,
    queue: i32,
    queue_offset: i64,
    physical_offset: u64,
    body: Vec<u8>,
}

struct Play {
    dir: tempfile::TempDir,
    store: Option<Store>,
    known: Vec<Known>,
    /// So many of them were promised to be there after a kill.
    promised: usize,
    next: u8,
    held: Vec<(bytes::Bytes, Vec<u8>)>,
}

impl Play {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut play = Self { dir, store: None, known: Vec::new(), promised: 0, next: 0, held: Vec::new() };
        play.open();
        play
    }

    fn open(&mut self) {
        // Bytes of the run before belong to another mapping of the same files, which nobody guards any more.
        self.held.clear();
        self.store = None;
        let env = Environment { fs: Arc::new(roomy()), clock: Arc::new(ManualClock::new(NOW)) };
        self.store = Some(Store::open(small(self.dir.path()), env).expect("the store opens"));
    }

    /// What was gathered and not written is gone, from the end.
    fn lose_what_was_not_written(&mut self) {
        let end = self.store().watermarks().appended;
        self.known.retain(|known| known.physical_offset < end);
        assert!(self.known.len() >= self.promised, "{} of {}", self.known.len(), self.promised);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("an open store")
    }

    fn body(&mut self, len: usize) -> Vec<u8> {
        self.next = self.next.wrapping_add(1);
        vec![self.next; len]
    }

    fn append(&mut self, targets: Vec<(String, i32, Vec<u8>)>) {
        let store = self.store().clone();
        let queues: Vec<_> = targets.iter().map(|(topic, queue, _)| store.queue(topic, *queue)).collect();
        let items: Vec<(&tenonmq_storage::Queue, NewRecord<'_>, i64)> = targets
            .iter()
            .zip(&queues)
            .map(|((topic, queue, body), handle)| (&**handle, record(topic, *queue, body), 1))
            .collect();
        let placed = store.append_all(&items, AppendClass::Send).expect("an append");
        for ((topic, queue, body), at) in targets.into_iter().zip(placed) {
            let expected = self.known.iter().filter(|known| known.topic == topic && known.queue == queue).count();
            assert_eq!(at.queue_offset, expected as i64);
            self.known.push(Known {
                topic,
                queue,
                queue_offset: at.queue_offset,
                physical_offset: at.physical_offset,
                body,
            });
        }
        if self.known.len().is_multiple_of(7) {
            let last = self.known.last().expect("just appended");
            let bytes = store.read(last.physical_offset).expect("the record");
            self.held.push((bytes.clone(), bytes.to_vec()));
        }
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Append { topic, queue, len } => {
                let body = self.body(len);
                self.append(vec![(format!("T{topic}"), queue, body)]);
            }
            Step::Batch { topic, queue, lens } => {
                let targets = lens.into_iter().map(|len| (format!("T{topic}"), queue, self.body(len))).collect();
                self.append(targets);
            }
            Step::Pair { topic } => {
                let (message, op) = (self.body(100), self.body(3));
                self.append(vec![(format!("T{topic}"), 0, message), ("OP".to_owned(), 0, op)]);
            }
            Step::Gather { lens, written } => {
                let gathers = Gathering::begin();
                for (queue, len) in (0..).zip(lens) {
                    let body = self.body(len);
                    self.append(vec![("T0".to_owned(), queue % 2, body)]);
                }
                drop(gathers);
                if written {
                    self.store().write_out().expect("a write");
                    self.promised = self.known.len();
                }
                return;
            }
            Step::Cut { keep } => {
                let keep = keep.index(self.known.len() + 1);
                if let Some(first) = self.known.get(keep) {
                    self.store().cut(first.physical_offset).expect("a cut");
                    self.known.truncate(keep);
                    self.promised = self.promised.min(keep);
                }
                return;
            }
            Step::Stop => {
                self.store().shutdown().expect("a clean stop");
                self.open();
                assert!(self.store().recovery().clean);
            }
            Step::Kill => {
                self.open();
                self.lose_what_was_not_written();
                assert!(!self.store().recovery().clean);
            }
            Step::Crash => {
                self.store = None;
                std::fs::write(self.dir.path().join("tenonmq/boot_id"), "another start").expect("a write");
                self.open();
                self.lose_what_was_not_written();
            }
            Step::Flush => {
                self.store().flush().expect("a flush");
                assert_eq!(self.store().watermarks().flushed, self.store().watermarks().appended);
            }
        }
        self.promised = self.known.len();
    }

    fn check(&self) {
        let store = self.store();
        let mut queues: BTreeMap<_, Vec<&Known>> = BTreeMap::new();
        for known in &self.known {
            queues.entry((known.topic.clone(), known.queue)).or_default().push(known);
            let bytes = store.read(known.physical_offset).expect("a record");
            assert_eq!(RecordView::parse(&bytes).expect("a record").body(), known.body);
        }
        for ((topic, id), records) in queues {
            let queue = store.find_queue(&topic, id).expect("the queue");
            assert_eq!(queue.max_offset(), records.len() as i64);
            let mut from = 0;
            let mut seen = Vec::new();
            while from < queue.max_offset() {
                let fetched = store.fetch(&queue, from, FetchLimits::new(5, 2000), |_| true);
                assert_eq!(fetched.status, FetchStatus::Found);
                assert!(fetched.next_begin > from);
                from = fetched.next_begin;
                for slice in &fetched.records {
                    for record in RecordView::iter_all(slice) {
                        let record = record.expect("a record");
                        seen.push((record.queue_offset(), record.body().to_vec()));
                    }
                }
            }
            let expected: Vec<_> = records.iter().map(|known| (known.queue_offset, known.body.clone())).collect();
            assert!(seen == expected, "queue {topic} {id}");
        }
        assert!(self.held.iter().all(|(bytes, before)| bytes == before), "bytes held by a reader changed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_holds_what_was_appended_whatever_happens(steps in prop::collection::vec(step(), 1..60)) {
        let mut play = Play::new();
        for step in steps {
            let restarted = matches!(step, Step::Cut { .. } | Step::Stop | Step::Kill | Step::Crash);
            play.play(step);
            if restarted {
                play.check();
            }
        }
        play.check();
    }
}
