//! Light queues: a message is in them besides its own queue, with an offset in each that survives every end of the process.

mod common;

use common::{Bench, record};
use tenonmq_protocol::message::properties::find;
use tenonmq_protocol::message::{NewRecord, RecordView};
use tenonmq_storage::{AppendClass, AppendError, FetchLimits, Store, StoreConfig};

const MAX: FetchLimits =
    FetchLimits { max_count: 32, max_bytes: 65_536, memory_count: 32, memory_bytes: 65_536, disk: None };

fn open(bench: &Bench) -> Store {
    let config = StoreConfig { light_queues: 3, index_enabled: false, ..bench.config() };
    Store::open(config, bench.env()).expect("the store opens")
}

fn append(store: &Store, topic: &str, light: &str, body: &str) -> Result<(), AppendError> {
    let properties = format!("INNER_MULTI_DISPATCH\x01{light}\x02INNER_MULTI_QUEUE_OFFSET\x0177\x02TAGS\x01a\x02");
    let record = NewRecord { properties: properties.as_bytes(), ..record(topic, 0, body.as_bytes()) };
    let queue = store.queue(topic, 0);
    store.append(&queue, &record, 97, AppendClass::Send).map(|_| ())
}

/// Bodies of the messages in a light queue, and what they say of their offsets.
fn read(store: &Store, light: &str) -> Vec<(String, String)> {
    let Some(queue) = store.find_queue(light, 0) else { return Vec::new() };
    let fetched = store.fetch(&queue, queue.min_offset(), MAX, |entry| entry.tags_code == 97);
    let mut found = Vec::new();
    for bytes in &fetched.records {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let view = RecordView::parse(rest).expect("a record");
            let offsets = find(view.properties_text(), "INNER_MULTI_QUEUE_OFFSET").unwrap_or_default();
            found.push((String::from_utf8_lossy(view.body()).into_owned(), offsets.to_owned()));
            rest = &rest[view.len()..];
        }
    }
    found
}

fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(body, offsets)| ((*body).to_owned(), (*offsets).to_owned())).collect()
}

fn check(store: &Store) {
    assert_eq!(read(store, "%LMQ%a"), texts(&[("one", "0,0"), ("two", "1"), ("three", "2")]));
    assert_eq!(read(store, "%LMQ%b"), texts(&[("one", "0,0")]));
    assert_eq!(store.find_queue("orders", 0).map(|queue| queue.max_offset()), Some(4));
}

#[test]
fn a_message_is_in_the_light_queues_that_it_names_before_and_after_a_crash() {
    let bench = Bench::new();
    let store = open(&bench);
    append(&store, "orders", "%LMQ%a,%LMQ%b", "one").unwrap();
    append(&store, "orders", "%LMQ%a", "two").unwrap();
    append(&store, "orders", "no-light-one,%LMQ%a,%LMQ%a", "three").unwrap();
    append(&store, "orders", "%LMQ%../up", "four").unwrap();
    check(&store);
    drop(store); // a crash
    let store = open(&bench);
    check(&store);
    store.shutdown().unwrap();
    drop(store);
    std::fs::remove_dir_all(bench.root().join("consumequeue")).unwrap();
    std::fs::write(bench.root().join("abort"), "").unwrap();
    let store = open(&bench);
    check(&store);
    append(&store, "orders", "%LMQ%b", "five").unwrap();
    assert_eq!(read(&store, "%LMQ%b"), texts(&[("one", "0,0"), ("five", "1")]));
}

#[test]
fn what_waits_and_what_was_given_up_is_in_no_light_queue() {
    let bench = Bench::new();
    let store = open(&bench);
    for topic in ["%RETRY%g", "%DLQ%g", "RMQ_SYS_TRANS_HALF_TOPIC", "rmq_sys_wheel_timer", "%LMQ%b"] {
        append(&store, topic, "%LMQ%a", "one").unwrap();
    }
    append(&store, "SCHEDULE_TOPIC_XXXX", "%LMQ%a", "one").unwrap();
    assert!(store.find_queue("%LMQ%a", 0).is_none());
}

#[test]
fn a_batch_gets_one_offset_after_the_other() {
    let bench = Bench::new();
    let store = open(&bench);
    let queue = store.queue("orders", 0);
    let of = |body| NewRecord { properties: b"INNER_MULTI_DISPATCH\x01%LMQ%a\x02", ..record("orders", 0, body) };
    let items = [(&*queue, of(b"one"), 97), (&*queue, record("orders", 0, b"two"), 97), (&*queue, of(b"three"), 97)];
    assert_eq!(store.append_all(&items, AppendClass::Send).unwrap().len(), 3);
    assert_eq!(read(&store, "%LMQ%a"), texts(&[("one", "0"), ("three", "1")]));
}

#[test]
fn more_light_queues_than_may_be_are_refused_and_what_is_there_goes_on() {
    let bench = Bench::new();
    let store = open(&bench);
    append(&store, "orders", "%LMQ%a,%LMQ%b,%LMQ%c", "one").unwrap();
    assert_eq!(append(&store, "orders", "%LMQ%d", "two"), Err(AppendError::LightQueues { limit: 3 }));
    append(&store, "orders", "%LMQ%c", "three").unwrap();
    store.delete_topic("%LMQ%a").unwrap();
    append(&store, "orders", "%LMQ%d", "four").unwrap();
    assert_eq!(store.find_queue("orders", 0).map(|queue| queue.max_offset()), Some(3));
}

#[test]
fn without_light_queues_the_properties_mean_nothing() {
    let bench = Bench::new();
    let store = bench.open();
    append(&store, "orders", "%LMQ%a", "one").unwrap();
    drop(store);
    let store = bench.open();
    assert!(store.find_queue("%LMQ%a", 0).is_none());
    assert!(store.light_queue("%LMQ%a").is_none());
}
