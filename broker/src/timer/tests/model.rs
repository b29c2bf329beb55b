//! Timers against a map: sends, recalls, time, turns, and stops and crashes between any two writes.

use std::{collections::BTreeMap, fs};

use proptest::prelude::*;
use tenonmq_protocol::{header::RecallMessage, message::LogItem};

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Send {
        delay_ms: i64,
        absolute: bool,
    },
    Recall(prop::sample::Index),
    Advance(u16),
    Turn,
    Crash,
    Restart,
    /// The oldest are put back into the topic.
    CarryOn,
    /// A turn, or carrying on, of which only a part is there afterwards.
    Torn {
        carrying_on: bool,
        /// After which record the log ends.
        cut: prop::sample::Index,
        /// The file was not written.
        old_journal: bool,
        old_check: bool,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (1..6_000_i64, any::<bool>()).prop_map(|(delay_ms, absolute)| Act::Send { delay_ms, absolute }),
        3 => any::<prop::sample::Index>().prop_map(Act::Recall),
        5 => (0..3_000_u16).prop_map(Act::Advance),
        5 => Just(Act::Turn),
        1 => Just(Act::Crash),
        1 => Just(Act::Restart),
        1 => Just(Act::CarryOn),
        5 => (any::<bool>(), any::<prop::sample::Index>(), any::<bool>(), any::<bool>()).prop_map(
            |(carrying_on, cut, old_journal, old_check)| Act::Torn { carrying_on, cut, old_journal, old_check }
        ),
    ]
}

#[derive(Debug, Default)]
struct Expected {
    due_ms: i64,
    handle: String,
    recalled: bool,
}

async fn run(acts: Vec<Act>) {
    let (mut broker, peer) = broker();
    let mut model: BTreeMap<String, Expected> = BTreeMap::new();
    for act in acts {
        let now_ms = broker.core.clock.now_ms();
        match act {
            Act::Send { delay_ms, absolute } => {
                let key = format!("FD{:04}", model.len());
                let (name, value) =
                    if absolute { ("TIMER_DELIVER_MS", now_ms + delay_ms) } else { ("TIMER_DELAY_MS", delay_ms) };
                let answer = send(&broker, &peer, &[("UNIQ_KEY", &key), (name, &value.to_string())]).await;
                let handle = handle(&answer).unwrap();
                model.insert(key, Expected { due_ms: now_ms + delay_ms, handle, recalled: false });
            }
            Act::Recall(which) => {
                if let Some(which) = (!model.is_empty()).then(|| which.index(model.len())) {
                    let message = model.values_mut().nth(which).unwrap();
                    let asked = RecallMessage {
                        producer_group: None,
                        topic: "orders",
                        recall_handle: &message.handle,
                        broker_name: None,
                    };
                    message.recalled |= broker.ask(&peer, &asked).await.code == 0;
                }
            }
            Act::Advance(ms) => broker.advance(Duration::from_millis(ms.into())),
            Act::Turn => {
                step(&broker);
                check(&broker, &model);
            }
            Act::Torn { carrying_on, cut, old_journal, old_check } => {
                let work = if carrying_on { carry_on } else { |broker: &TestBroker| _ = step(broker) };
                broker = torn(broker, work, cut, old_journal, old_check);
                allow_recall(&broker);
            }
            Act::Crash => {
                broker = broker.crashed();
                allow_recall(&broker);
            }
            Act::Restart => {
                broker = broker.restarted();
                allow_recall(&broker);
            }
            Act::CarryOn => carry_on(&broker),
        }
    }
    broker.advance(10 * SECOND);
    step(&broker);
    check(&broker, &model);
    assert_eq!(pending(&broker), 0);
}

fn carry_on(broker: &TestBroker) {
    step(broker);
    let now_ms = broker.core.clock.now_ms();
    let mut state = broker.core.timers.state.lock();
    Scheduler::new(Arc::clone(&broker.core)).roll(&broker.core, &mut state, now_ms);
}

/// Does `work`, and then the machine dies: what was appended is there up to some record only, and files may be old.
fn torn(
    broker: TestBroker,
    work: impl FnOnce(&TestBroker),
    cut: prop::sample::Index,
    old_journal: bool,
    old_check: bool,
) -> TestBroker {
    let path = |folder: &str, name: &str| broker.folder().join(folder).join(name);
    let files = [(old_journal, path("tenonmq", "timers")), (old_check, path("config", "timercheck"))];
    let before: Vec<_> = files.map(|(is_old, path)| (is_old, fs::read(&path).ok(), path)).into();
    let store = &broker.core.store;
    let mut reader = store.log_reader(store.watermarks().appended);
    let mut ends = vec![reader.position()];
    work(&broker);
    while let Some(bytes) = reader.next(usize::MAX) {
        let start = reader.position() - bytes.len() as u64;
        let mut at = 0;
        while let Ok(LogItem::Record(record)) = LogItem::parse(&bytes[at..]) {
            at += record.len();
            ends.push(start + at as u64);
        }
    }
    drop(reader);
    broker.core.store.cut(ends[cut.index(ends.len())]).unwrap();
    broker.crashed_after(|| {
        for (_, before, path) in before.into_iter().filter(|(is_old, ..)| *is_old) {
            match before {
                Some(before) => fs::write(path, before).unwrap(),
                None => _ = fs::remove_file(path),
            }
        }
    })
}

/// Everything that is due was delivered once, unless it was recalled; and nothing else.
fn check(broker: &TestBroker, model: &BTreeMap<String, Expected>) {
    let now_ms = broker.core.clock.now_ms();
    let due = model.iter().filter(|(_, message)| message.due_ms <= now_ms && !message.recalled);
    let expected: Vec<_> = due.map(|(key, _)| key.clone()).collect();
    let mut delivered = keys(broker);
    delivered.sort();
    assert_eq!(delivered, expected);
    for record in records(broker, "orders", 1) {
        let copy = RecordView::parse(&record).unwrap();
        assert!(copy.store_timestamp() >= model[property(&copy, "UNIQ_KEY").unwrap()].due_ms, "early");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_timer_is_delivered_once_and_in_time_whatever_happens(acts in prop::collection::vec(act(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(acts));
    }
}
