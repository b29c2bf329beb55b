//! Directories that Apache's broker wrote.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    super::{
        Ended, SafeOffsets,
        Verdict::*,
        history::{self, CopyKind, Fate, Transaction},
    },
    bench::*,
};

fn golden(variant: &str) -> Bench {
    let from = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store")).join(variant).join("data");
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&from, folder.path());
    let mut bench = Bench::over(folder);
    bench.around.set_online(&["PG_tran"]);
    bench.saved(Some(SafeOffsets { half: 12, op: 2 }));
    bench.clock.set(1_795_247_790_000); // half a minute after Apache's last check
    bench.start();
    bench
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn expected(variant: &str) -> Vec<Value> {
    let path = format!("{}/../golden/store/{variant}/expected/transactions.jsonl", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn as_expected(transaction: &Transaction) -> Value {
    let state = match transaction.fate {
        Fate::Committed => "committed",
        Fate::RolledBack => "rolled-back",
        Fate::Exhausted => "exhausted",
        Fate::Pending => "pending",
    };
    let member = |member: &history::Member| {
        let copy = match member.kind {
            CopyKind::Original => "original",
            CopyKind::Check => "check",
            CopyKind::Immunity => "immunity",
            CopyKind::Carried => "carried",
        };
        json!({"queueOffset": member.queue_offset, "physicalOffset": member.log_offset, "copy": copy})
    };
    json!({
        "keys": transaction.keys,
        "uniqKey": transaction.unique_key,
        "producerGroup": transaction.group,
        "realTopic": transaction.topic,
        "realQueueId": transaction.queue_id,
        "state": state,
        "checkTimes": transaction.check_times,
        "immunitySeconds": transaction.immunity_seconds.as_deref().and_then(|seconds| seconds.parse::<i64>().ok()),
        "half": transaction.half.iter().map(member).collect::<Vec<_>>(),
        "opQueueOffset": transaction.op_offset,
        "final": transaction.visible.map(|(queue, log)| json!({"queueOffset": queue, "physicalOffset": log})),
    })
}

#[test]
fn the_history_of_apaches_transactions_is_told_exactly() {
    for variant in ["clean", "killed"] {
        let bench = golden(variant);
        let told: Vec<_> = history::transactions(bench.store()).unwrap().iter().map(as_expected).collect();
        assert_eq!(told, expected(variant), "{variant}");
    }
}

#[test]
fn what_apache_left_undecided_is_undecided_here() {
    for variant in ["clean", "killed"] {
        let bench = golden(variant);
        let pending: Vec<_> = bench
            .transactions()
            .unresolved(None, 9)
            .into_iter()
            .map(|found| {
                (found.state.offset, found.state.log_offset, found.keys.unwrap_or_default(), found.state.checks)
            })
            .collect();
        let expected = [(12, 285_476, "pending".to_owned(), 4), (13, 285_918, "immunity".to_owned(), 0)];
        assert_eq!(pending, expected, "{variant}");
    }
}

#[test]
fn the_whole_history_gives_the_same_as_the_saved_offsets() {
    for variant in ["clean", "killed"] {
        let mut bench = golden(variant);
        bench.kill();
        bench.forget_own_files();
        bench.saved(None);
        bench.start();
        let pending: Vec<_> = bench.transactions().unresolved(None, 9).iter().map(|found| found.state.offset).collect();
        assert_eq!(pending, [12, 13], "{variant}");
        let counts: Vec<_> = bench.transactions().unresolved(None, 9).iter().map(|found| found.state.checks).collect();
        assert_eq!(counts, [4, 0], "{variant}: copies made during the immunity are no checks");
    }
}

#[test]
fn a_decision_that_names_the_first_copy_decides_the_newest() {
    let bench = golden("clean");
    let original = Sent { half_offset: 2, log_offset: 269_492 };
    let decided = bench.end_as(original, Committed, |end| super::super::End { group: "PG_tran", ..end }).unwrap();
    assert_eq!(decided, Ended::Decided);
    assert_eq!(bench.ops().last().map(String::as_str), Some("2,12,"));
    assert_eq!(bench.transactions().pending(), 1);
    let newest = Sent { half_offset: 12, log_offset: 285_476 };
    let again = bench.end_as(newest, Committed, |end| super::super::End { group: "PG_tran", ..end }).unwrap();
    assert_eq!(again, Ended::Repeated);
}

#[test]
fn a_question_about_apaches_message_names_its_newest_copy() {
    let bench = golden("killed");
    assert_eq!(bench.check(), [(12, 5)], "the immunity of the other one is an hour");
}

#[test]
fn a_repeat_of_what_apache_decided_is_a_repeat() {
    let bench = golden("clean");
    let committed = Sent { half_offset: 0, log_offset: 268_264 };
    let end = |verdict| bench.end_as(committed, verdict, |end| super::super::End { group: "PG_tran", ..end });
    assert_eq!(end(Committed).unwrap(), Ended::Repeated);
    assert!(end(RolledBack).is_err());
}
