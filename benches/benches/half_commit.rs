//! A whole transaction inside the broker, without sockets: the half message and its commit.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tenonmq_benches::Embedded;
use tenonmq_broker::{
    send::{self, Incoming},
    transaction::{End, Verdict},
};
use tenonmq_protocol::header::SendMessage;

fn half_and_commit(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let broker = Embedded::start(directory.path(), &[]);
    let core = broker.core();
    let body = vec![b'x'; 1024];
    let header = SendMessage {
        producer_group: "orders",
        topic: "BenchmarkTest",
        default_topic: "TBW102",
        queue_id: 0,
        properties: "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}orders\u{2}UNIQ_KEY\u{1}7F0000010B6D4E50A2B92D3C0A7F0001\u{2}",
        ..SendMessage::default()
    };
    let mut group = criterion.benchmark_group("transaction, 1 KiB");
    group.throughput(Throughput::Elements(1));
    group.bench_function("half and commit", |bench| {
        bench.iter(|| {
            let incoming =
                Incoming { header: &header, body: &body, born_host: ([127, 0, 0, 1], 1).into(), version: 479 };
            let receipt = send::send(&core, incoming).expect("the half message is stored");
            let end = End {
                group: "orders",
                half_offset: receipt.queue_offset,
                log_offset: receipt.message_ids[0].offset,
                verdict: Verdict::Committed,
                from_check: false,
            };
            core.transactions.end(&*core, &end).expect("the commit is taken")
        });
    });
    group.finish();
    drop(core);
    broker.stop();
}

criterion_group!(benches, half_and_commit);
criterion_main!(benches);
