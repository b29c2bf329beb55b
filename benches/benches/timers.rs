//! What a pending timer costs, and how late timers fire: a million that wait, and then 50,000 that are due every second
//! for ten seconds, sent through the broker's own send path without sockets.
//!
//! `cargo bench -p tenonmq-benches --bench timers`

use std::time::Duration;

use hdrhistogram::Histogram;
use tenonmq_benches::Embedded;
use tenonmq_broker::{
    core::{Core, clock::Clock},
    send::{self, Incoming},
};
use tenonmq_protocol::{header::SendMessage, message::properties::find};

const WAITING: u64 = 1_000_000;
const PER_SECOND: i64 = 50_000;
const SECONDS: i64 = 10;

fn send_at(core: &Core, topic: &str, n: u64, deliver_ms: i64, body: &[u8]) {
    let properties = format!(
        "TAGS\u{1}a\u{2}KEYS\u{1}order-{n}\u{2}WAIT\u{1}true\u{2}UNIQ_KEY\u{1}7F0000010B6D4E50A2B92D3C{n:08X}\u{2}TIMER_DELIVER_MS\u{1}{deliver_ms}\u{2}"
    );
    let header = SendMessage {
        producer_group: "orders",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: (n % 4) as i32,
        properties: &properties,
        ..SendMessage::default()
    };
    let incoming = Incoming { header: &header, body, born_host: ([127, 0, 0, 1], 1).into(), version: 479 };
    send::send(core, incoming).expect("the message is stored");
}

/// Memory of this process that is not a mapping of a file, in bytes.
fn private_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a line RssAnon");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn main() {
    let directory = tempfile::tempdir_in(".").expect("a temporary directory");
    let broker = Embedded::start(directory.path(), &[("messageIndexEnable", "false")]);
    let core = broker.core();
    let clock = Clock::system();
    let pending = || core.timers.progress(clock.now_ms()).pending as u64;

    let before = private_bytes();
    let far = clock.now_ms() + 24 * 3_600_000;
    for n in 0..WAITING {
        send_at(&core, "waiting", n, far + (n * 7_919 % 86_400_000) as i64, b"order");
    }
    wait_until(|| pending() == WAITING);
    let each = (private_bytes().saturating_sub(before)) as f64 / WAITING as f64;
    println!("{WAITING} pending timers: {each:.1} bytes of memory each");

    let body = [b'x'; 1024];
    let start = clock.now_ms() + 30_000;
    for n in 0..PER_SECOND * SECONDS {
        send_at(&core, "firing", n.unsigned_abs(), start + n * 1000 / PER_SECOND, &body);
    }
    assert!(clock.now_ms() < start, "sending took longer than the time before the first is due");
    wait_until(|| pending() == WAITING && clock.now_ms() > start);
    let mut late = Histogram::<u64>::new(3).expect("a histogram");
    for queue_id in 0..4 {
        let queue = core.store.find_queue("firing", queue_id).expect("a queue");
        for at in queue.entries(0) {
            let lateness = core.store.peek(&at.entry, |record| {
                let due = find(record.properties_text(), "TIMER_DELIVER_MS").and_then(|due| due.parse::<i64>().ok());
                record.store_timestamp() - due.expect("a time of delivery")
            });
            let lateness = lateness.expect("the record is there");
            assert!(lateness >= 0, "early by {} ms", -lateness);
            late.record(lateness.unsigned_abs()).expect("a value in range");
        }
    }
    assert_eq!(late.len(), (PER_SECOND * SECONDS).unsigned_abs(), "each once");
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| late.value_at_quantile(quantile));
    println!(
        "{PER_SECOND} due a second: late by {p50} ms (median), {p99} ms (p99), {p999} ms (p99.9), {} ms at most",
        late.max()
    );
    drop(core);
    broker.stop();
}
