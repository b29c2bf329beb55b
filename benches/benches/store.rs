//! The log: appending a message, and reading messages back from the page cache.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tenonmq_protocol::message::{NewRecord, body_crc};
use tenonmq_storage::{AppendClass, Environment, FetchLimits, Store, StoreConfig};

fn append_and_fetch(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = StoreConfig { segment_size: 256 << 20, index_enabled: false, ..StoreConfig::new(directory.path()) };
    let store = Store::open(config, Environment::system()).expect("an empty directory opens");
    let queue = store.queue("paid", 0);
    let body = vec![b'x'; 1024];
    let host = ([127, 0, 0, 1], 10911).into();
    let record = NewRecord {
        topic: "paid",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body,
        properties: b"KEYS\x01order-42\x02",
        body_crc: body_crc(&body),
    };
    let mut group = criterion.benchmark_group("store, 1 KiB");
    group.throughput(Throughput::Elements(1));
    group.bench_function("append", |bench| {
        bench.iter(|| store.append(&queue, &record, 0, AppendClass::Send).expect("there is room"));
    });
    let mut from = queue.min_offset();
    group.throughput(Throughput::Elements(32));
    group.bench_function("fetch 32", |bench| {
        bench.iter(|| {
            let fetched = store.fetch(&queue, from, FetchLimits::new(32, u32::MAX), |_| true);
            from = if fetched.next_begin + 32 < fetched.max { fetched.next_begin } else { fetched.min };
            black_box(fetched.count)
        });
    });
    group.finish();
    store.shutdown().expect("the store closes");
}

criterion_group!(benches, append_and_fetch);
criterion_main!(benches);
