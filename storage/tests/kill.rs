//! A process that is killed in the middle of its appends loses nothing that it was told is stored.
//!
//! The test starts itself once more as the victim, which prints each message after its append, and kills it.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use common::{quiet, record, small};
use tenonmq_storage::{AppendClass, Store, StoreConfig};

/// Where the victim works; not set for the test itself.
const VICTIM: &str = "TENONMQ_KILL_TEST_ROOT";

fn config(root: &std::path::Path) -> StoreConfig {
    StoreConfig { segment_size: 65_536, ..small(root) }
}

fn be_the_victim(root: &str) {
    let store = Store::open(config(root.as_ref()), quiet()).expect("the store opens");
    let mut out = std::io::stdout();
    for n in store.queue("T", 0).max_offset().. {
        let body = n.to_string();
        let queue = store.queue("T", 0);
        store.append(&queue, &record("T", 0, body.as_bytes()), 97, AppendClass::Send).expect("an append");
        if writeln!(out, "stored {n}").is_err() {
            return;
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_it_was_told_is_stored() {
    if let Ok(root) = std::env::var(VICTIM) {
        be_the_victim(&root);
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut told = 0_i64;
    for round in 1..=5 {
        let mut victim = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "a_killed_process_loses_nothing_it_was_told_is_stored", "--nocapture"])
            .env(VICTIM, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the victim starts");
        let lines = BufReader::new(victim.stdout.take().expect("its output")).lines();
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("stored ") {
                told = n.parse::<i64>().expect("a number") + 1;
            }
            if told >= round * 700 {
                break;
            }
        }
        victim.kill().expect("the victim dies");
        victim.wait().expect("the victim is gone");
        let store = Store::open(config(dir.path()), quiet()).expect("the store opens");
        assert!(store.recovery().records <= 2, "{:?}", store.recovery());
        let queue = store.queue("T", 0);
        assert!(queue.max_offset() >= told, "{} of {told}", queue.max_offset());
        for n in 0..queue.max_offset() {
            let entry = queue.entry(n).expect("an entry");
            let body = store.peek(&entry, |record| record.body().to_vec());
            assert_eq!((body, entry.tags_code), (Some(n.to_string().into_bytes()), 97));
        }
        drop((queue, store)); // killed as well, in effect: no clean stop
    }
}
