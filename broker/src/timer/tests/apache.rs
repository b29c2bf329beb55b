//! Directories that go from Apache to us and back.

use std::{collections::BTreeSet, fs};

use super::*;

/// After the last thing that Apache did in the golden directories.
const LATER: i64 = 1_795_247_810_000;

fn numbers(line: &str, keys: &[&str]) -> Vec<i64> {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    keys.iter().map(|key| line[*key].as_i64().unwrap()).collect()
}

/// Log offsets of what Apache's wheel still had to deliver.
fn pending_of_apache(variant: &str, from_ms: i64) -> BTreeSet<i64> {
    let path = format!("{}/../golden/store/{variant}/expected/timerlog.jsonl", env!("CARGO_MANIFEST_DIR"));
    let units = fs::read_to_string(path).unwrap();
    let units = units.lines().filter(|line| line.contains("\"unit\""));
    let units = units.map(|unit| numbers(unit, &["enqueueTime", "delay", "physicalOffset"]));
    units.filter(|unit| unit[0] + unit[1] >= from_ms).map(|unit| unit[2]).collect()
}

fn pending_of_ours(broker: &TestBroker) -> BTreeSet<i64> {
    let queue = broker.core.timers.queue();
    let state = broker.core.timers.state.lock();
    state.index.pending().map(|key| queue.entry(key.at).unwrap().physical_offset.cast_signed()).collect()
}

#[tokio::test]
async fn a_directory_of_apache_opens_with_every_pending_timer() {
    for (variant, read_ms) in [("clean", 1_795_247_772_000), ("killed", 1_795_247_803_000)] {
        let broker = TestBroker::of_apache(variant, LATER);
        step(&broker);
        let expected = pending_of_apache(variant, read_ms);
        assert!(expected.len() >= 26, "{}", expected.len());
        assert!(pending_of_ours(&broker).is_superset(&expected), "{variant}");
        assert_eq!(pending(&broker), expected.len(), "{variant}");
        broker.advance(3 * 24 * 3600 * SECOND);
        step(&broker);
        assert_eq!(pending(&broker), 0);
        let broker = broker.crashed();
        step(&broker);
        assert_eq!(pending(&broker), 0, "and it is known that they were delivered");
    }
}

#[tokio::test]
async fn a_clean_stop_leaves_apache_every_pending_timer_and_the_next_start_takes_them_back() {
    let (broker, peer) = broker();
    let day = 24 * 3_600_000_i64;
    let handle = timed(&broker, &peer, "a", 10_000).await;
    timed(&broker, &peer, "b", 10_400).await;
    timed(&broker, &peer, "done", 500).await;
    timed(&broker, &peer, "rolls", 3 * day - 1).await;
    let asked = tenonmq_protocol::header::RecallMessage {
        producer_group: None,
        topic: "orders",
        recall_handle: &handle,
        broker_name: None,
    };
    assert_eq!(broker.ask(&peer, &asked).await.code, 0);
    broker.advance(SECOND);
    step(&broker);
    let folder = broker.folder().to_owned();
    let broker = broker.restarted_after(|| {
        let log = fs::read(folder.join("timerlog").join(format!("{:020}", 0))).unwrap();
        assert_eq!(log.len(), 104_857_600);
        let number = |at: usize| i64::from_be_bytes(log[at..at + 8].try_into().unwrap());
        let word = |at: usize| i32::from_be_bytes(log[at..at + 4].try_into().unwrap());
        // 10,000 is a whole second: one step down. The deletion has the same slot as what it deletes.
        let slots: Vec<_> = (0..4).map(|n| number(n * 52 + 16) + i64::from(word(n * 52 + 24)) - START_MS).collect();
        assert_eq!(slots, [9_000, 10_000, 2 * day, 9_000]);
        assert_eq!((0..4).map(|n| word(n * 52 + 12)).collect::<Vec<_>>(), [1, 1, 3, 5]);
        assert_eq!((0..4).map(|n| number(n * 52 + 4)).collect::<Vec<_>>(), [-1, -1, -1, 0], "chains of a slot");
        assert_eq!(word(4 * 52), 0, "nothing more");
        let wheel = fs::File::open(folder.join("timerwheel")).unwrap();
        assert_eq!(wheel.metadata().unwrap().len(), 38_707_200);
        let second = (START_MS + 9_000) / 1000;
        let mut slot = [0; 28];
        let at = second.rem_euclid(1_209_600).unsigned_abs() * 32;
        std::os::unix::fs::FileExt::read_exact_at(&wheel, &mut slot, at).unwrap();
        let expected = [second.to_be_bytes(), 0_i64.to_be_bytes(), 156_i64.to_be_bytes()].concat();
        assert_eq!((&slot[..24], &slot[24..]), (&expected[..], &[0; 4][..]), "one timer less one deletion");
        let check = fs::read(folder.join("config").join("timercheck")).unwrap();
        let field = |at: usize| i64::from_be_bytes(check[at..at + 8].try_into().unwrap());
        assert_eq!([field(0), field(8), field(16), field(24)], [START_MS + 1_000, 208, 5, 5]);
    });
    step(&broker);
    assert_eq!(pending(&broker), 4);
    assert!(!broker.folder().join("timerwheel").exists());
    broker.advance(3 * 24 * 3600 * SECOND);
    step(&broker);
    assert_eq!(keys(&broker), ["done", "b", "rolls"]);
}
