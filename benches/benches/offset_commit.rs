//! What one commit of a consumer offset costs inside the table, with and without the journal.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::{path::Path, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tenonmq_broker::{config, offset::Offsets};
use tenonmq_storage::{
    ConfigFile,
    fs::{FileSystem, RealFs},
};

const SETTINGS: config::Offsets = config::Offsets {
    flush_interval: Duration::from_secs(5),
    server_side_reset: true,
    version_step: 500,
    history_bytes: 1 << 24,
    max: 2_000_000,
};
const QUEUES: i32 = 100_000;

fn open(root: &Path) -> Offsets {
    let fs: Arc<dyn FileSystem> = Arc::new(RealFs);
    let file = ConfigFile::new(Arc::clone(&fs), root, "consumerOffset.json");
    Offsets::open(file, &SETTINGS, &fs, root.join("journal")).expect("an empty directory")
}

fn commit(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut group = criterion.benchmark_group("offset commit");
    group.throughput(Throughput::Elements(1));
    for (name, offsets) in [("memory alone", Offsets::default()), ("with journal", open(directory.path()))] {
        let mut offset = 0;
        group.bench_function(name, |bench| {
            bench.iter(|| {
                offset += 1;
                offsets.commit("billing", "paid", 3, offset)
            });
        });
    }
    group.finish();
}

fn commit_to_many(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let offsets = open(directory.path());
    let mut group = criterion.benchmark_group("offset commit");
    group.throughput(Throughput::Elements(1));
    let mut next = 0;
    group.bench_function("with journal, 100,000 queues in turn", |bench| {
        bench.iter(|| {
            next += 1;
            offsets.commit("billing", "paid", next % QUEUES, i64::from(next))
        });
    });
    group.finish();
}

criterion_group!(benches, commit, commit_to_many);
criterion_main!(benches);
