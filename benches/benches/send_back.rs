//! A message sent back inside the broker, without sockets: to the retry topic by way of its delay level, and to the dead
//! letters; beside the plain append that it should cost.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tenonmq_benches::Embedded;
use tenonmq_broker::{
    core::Core,
    retry::send_back,
    send::{self, Incoming},
};
use tenonmq_protocol::header::{SendBack, SendMessage};

const PROPERTIES: &str = "TAGS\u{1}paid\u{2}KEYS\u{1}order-42\u{2}UNIQ_KEY\u{1}7F0000010B6D4E50A2B92D3C0A7F0001\u{2}";
/// Log offsets of different messages, taken in turn: a consumer sends each back once.
const MESSAGES: usize = 4096;

fn store(core: &Core, body: &[u8]) -> i64 {
    let header = SendMessage {
        producer_group: "shop",
        topic: "BenchmarkTest",
        default_topic: "TBW102",
        queue_id: 0,
        properties: PROPERTIES,
        ..SendMessage::default()
    };
    let incoming = Incoming { header: &header, body, born_host: ([127, 0, 0, 1], 1).into(), version: 479 };
    send::send(core, incoming).expect("the message is stored").message_ids[0].offset
}

fn send_backs(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let broker = Embedded::start(directory.path(), &[]);
    let core = broker.core();
    let body = vec![b'x'; 1024];
    let offsets: Vec<i64> = (0..MESSAGES).map(|_| store(&core, &body)).collect();
    let mut group = criterion.benchmark_group("send back, 1 KiB");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a plain send", |bench| bench.iter(|| store(&core, &body)));
    for (name, group_name, delay_level) in [("to retry", "billing", 0), ("to the dead letters", "audit", -1)] {
        let mut turn = offsets.iter().cycle();
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let asked = SendBack {
                    commit_log_offset: *turn.next().expect("it never ends"),
                    group: group_name,
                    delay_level,
                    origin_message_id: None,
                    origin_topic: Some("BenchmarkTest"),
                    unit_mode: false,
                    max_reconsume_times: Some(16),
                    broker_name: None,
                    cause_class: None,
                    cause_digest: None,
                    cause_host: None,
                };
                send_back::send_back(&core, &asked, 479).expect("the message is taken back")
            });
        });
    }
    group.finish();
    drop(core);
    broker.stop();
}

criterion_group!(benches, send_backs);
criterion_main!(benches);
