use std::{io::ErrorKind, sync::Arc};

use tenonmq_storage::fs::{Fault, FaultyFs, Op, Strike, Trouble};

use super::{
    super::{EndRefused, Ended, SafeOffsets, Verdict::*, records::HalfRecord},
    bench::*,
};

#[test]
fn thread_2117_a_restart_checks_nothing_that_is_decided_and_forgets_no_count() {
    let mut bench = Bench::started();
    let (pending, decided) = (bench.half("a"), bench.half("b"));
    bench.end(decided, Committed).unwrap();
    bench.advance(6 * SECOND);
    assert_eq!(bench.check(), [(pending.half_offset, 1)]);
    bench.restart();
    assert_eq!(bench.transactions().pending(), 1);
    assert_eq!(bench.check(), []);
    bench.advance(30 * SECOND);
    assert_eq!(bench.check(), [(pending.half_offset, 2)]);
}

#[test]
fn a_killed_broker_knows_what_was_undecided_and_how_often_it_asked() {
    let mut bench = Bench::started();
    let halves: Vec<_> = (0..30).map(|n| bench.half(&n.to_string())).collect();
    for half in halves.iter().skip(1).step_by(2) {
        bench.end(*half, RolledBack).unwrap();
    }
    bench.advance(6 * SECOND);
    assert_eq!(bench.check().len(), 15);
    bench.kill();
    bench.start();
    let pending: Vec<_> = bench
        .transactions()
        .unresolved(None, 100)
        .iter()
        .map(|found| (found.state.offset, found.state.checks))
        .collect();
    assert_eq!(pending, (0..30).step_by(2).map(|offset| (offset, 1)).collect::<Vec<_>>());
}

#[test]
fn a_repeat_is_known_as_a_repeat_after_a_restart() {
    let mut bench = Bench::started();
    let (committed, rolled_back) = (bench.half("a"), bench.half("b"));
    bench.end(committed, Committed).unwrap();
    bench.end(rolled_back, RolledBack).unwrap();
    bench.restart();
    assert_eq!(bench.end(committed, Committed).unwrap(), Ended::Repeated);
    assert!(matches!(bench.end(committed, RolledBack), Err(EndRefused::Contradiction(Committed))));
    assert_eq!(bench.end(rolled_back, RolledBack).unwrap(), Ended::Repeated);
    assert!(matches!(bench.end(rolled_back, Committed), Err(EndRefused::Contradiction(RolledBack))));
    assert_eq!(bench.visible(), ["a"]);
    assert_eq!(bench.ops().len(), 2);
}

#[test]
fn a_commit_whose_op_record_was_lost_in_a_crash_is_not_published_again() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    let undecided = bench.half("order 43");
    bench.end(half, Committed).unwrap();
    let op = bench.store().find_queue("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0).and_then(|queue| queue.entry(0)).unwrap();
    bench.store().cut(op.physical_offset).unwrap();
    assert!(bench.ops().is_empty());
    bench.kill();
    bench.start();
    assert_eq!(bench.ops(), ["0,"], "the next start writes what was lost");
    assert_eq!(bench.transactions().unresolved(None, 9).len(), 1);
    assert_eq!(bench.end(half, Committed).unwrap(), Ended::Repeated);
    assert_eq!(bench.end(undecided, Committed).unwrap(), Ended::Decided);
    assert_eq!(bench.visible(), ["order 42", "order 43"]);
}

#[test]
fn a_parked_message_whose_op_record_was_lost_in_a_crash_is_not_parked_again() {
    let mut bench = Bench::started();
    bench.config.apply("transactionCheckMax=1").unwrap();
    let half = bench.half("order 42");
    bench.advance(6 * SECOND);
    bench.check();
    bench.advance(30 * SECOND);
    bench.check();
    let op = bench.store().find_queue("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0).and_then(|queue| queue.entry(0)).unwrap();
    bench.store().cut(op.physical_offset).unwrap();
    bench.kill();
    bench.start();
    assert_eq!(bench.transactions().pending(), 0);
    assert_eq!(bench.parked().len(), 1);
    assert!(matches!(bench.end(half, Committed), Err(EndRefused::Contradiction(Parked))));
}

#[test]
fn a_resumed_message_is_undecided_after_a_restart_although_its_first_life_ended() {
    let (mut bench, id) = Bench::with_parked("order 42");
    bench.transactions().resume(&id, "ann").unwrap();
    bench.saved(None);
    bench.kill();
    bench.start();
    let pending: Vec<_> = bench.transactions().unresolved(None, 9).iter().map(|found| found.state.offset).collect();
    assert_eq!(pending, [1]);
}

#[test]
fn a_resumed_message_that_was_rolled_back_is_not_exhausted_again_after_a_restart() {
    let (mut bench, id) = Bench::with_parked("order 42");
    bench.transactions().resume(&id, "ann").unwrap();
    bench.transactions().decide_by_hand(&*bench.around, 1, RolledBack, "ann").unwrap();
    let fates = |bench: &Bench| -> Vec<_> {
        let halves = bench.records("RMQ_SYS_TRANS_HALF_TOPIC", 0);
        halves.iter().map(|half| bench.transactions().fate(&HalfRecord::parse(half).unwrap())).collect()
    };
    assert_eq!(fates(&bench), [Err(Parked), Err(RolledBack)]);
    for _ in 0..2 {
        bench.restart();
        assert_eq!(fates(&bench), [Err(Parked), Err(RolledBack)]);
        bench.kill();
        bench.forget_own_files();
        bench.start();
        assert_eq!(fates(&bench), [Err(Parked), Err(RolledBack)]);
    }
}

#[test]
fn a_half_message_is_not_taken_for_parked_because_the_same_send_was_parked_once() {
    let mut bench = Bench::started();
    bench.config.apply("transactionCheckMax=1").unwrap();
    bench.half("order 42");
    bench.advance(6 * SECOND);
    bench.check();
    bench.resend("order 42");
    bench.advance(30 * SECOND);
    bench.check();
    assert_eq!((bench.parked().len(), bench.pending()), (1, vec![1]));
    bench.kill();
    bench.start();
    assert_eq!(bench.pending(), [1]);
}

#[test]
fn what_is_told_of_a_lost_message_is_not_told_of_the_next_one_at_its_place() {
    let mut bench = Bench::started();
    let lost = bench.half("lost");
    bench.end(lost, Committed).unwrap();
    bench.restart();
    bench.stop();
    // the machine lost the whole log, but not these files
    bench.saved(None);
    std::fs::remove_dir_all(bench.root().join("commitlog")).unwrap();
    bench.start();
    assert_eq!(bench.transactions().pending(), 0);
    let fresh = bench.half("next");
    assert_eq!((fresh.half_offset, fresh.log_offset), (lost.half_offset, lost.log_offset));
    bench.kill();
    bench.start();
    assert_eq!(bench.pending(), [0]);
}

#[test]
fn what_is_decided_behind_a_message_that_nobody_reported_stays_decided() {
    let mut bench = Bench::started();
    bench.append_half("its sender's thread sleeps", "", NOON);
    let half = bench.half("order 42");
    bench.end(half, Committed).unwrap();
    bench.restart();
    assert_eq!(bench.pending(), [0]);
}

#[test]
fn whichever_call_of_a_start_fails_no_half_message_is_forgotten() {
    let mut bench = Bench::new();
    let fs = Arc::new(FaultyFs::lazy());
    bench.fs = fs.clone();
    bench.start();
    for n in 0..220 {
        let half = bench.half(&n.to_string()); // 50 entries in a file, of which a start looks at the last three
        if n % 50 > 3 {
            bench.end(half, Committed).unwrap();
        }
    }
    let undecided = bench.pending();
    bench.kill();
    // one call of any kind fails; or three opens in a row, as many as are tried
    for opens in [false, true] {
        let mut calls = u64::MAX;
        for at in 0.. {
            if at >= calls {
                break;
            }
            let _ = std::fs::remove_file(bench.root().join("tenonmq/transaction-pending")); // else it reads the end of the queue
            let before = fs.total_calls();
            if opens {
                fs.fail_with(Op::Open, Fault { after: at, times: 3, kind: ErrorKind::Other });
            } else {
                fs.strike(Some(Strike { at: before + at, trouble: Trouble::OneError }));
            }
            let started = bench.try_start();
            fs.strike(None);
            fs.heal(Op::Open);
            calls = fs.total_calls() - before;
            match started {
                Ok(()) => assert_eq!(bench.pending(), undecided, "call {at}"),
                Err(_) => calls = u64::MAX, // it failed early
            }
            bench.kill();
        }
    }
}

#[test]
fn saved_offsets_never_pass_an_undecided_message() {
    let mut bench = Bench::started();
    let first = bench.half("first");
    for n in 0..20 {
        let half = bench.half(&n.to_string());
        bench.end(half, Committed).unwrap();
    }
    assert_eq!(bench.transactions().persist(), None, "a moment must be flushed before it counts");
    bench.store().flush().unwrap();
    assert_eq!(bench.transactions().persist(), Some(SafeOffsets { half: 0, op: 0 }));
    bench.end(first, Committed).unwrap();
    bench.store().flush().unwrap();
    bench.transactions().persist();
    bench.store().flush().unwrap();
    assert_eq!(bench.transactions().persist(), Some(SafeOffsets { half: 21, op: 21 }));
}

#[test]
fn what_is_saved_at_a_stop_is_enough_for_the_next_start() {
    let mut bench = Bench::started();
    let halves: Vec<_> = (0..10).map(|n| bench.half(&n.to_string())).collect();
    for half in halves.iter().filter(|half| ![3, 7].contains(&half.half_offset)) {
        bench.end(*half, Committed).unwrap();
    }
    bench.restart();
    let pending = |bench: &Bench| -> Vec<i64> {
        bench.transactions().unresolved(None, 9).iter().map(|found| found.state.offset).collect()
    };
    assert_eq!(pending(&bench), [3, 7]);
    bench.end(halves[3], RolledBack).unwrap();
    bench.restart();
    assert_eq!(pending(&bench), [7]);
    assert_eq!(bench.visible().len(), 8);
}

#[test]
fn offsets_that_are_ahead_of_the_data_do_no_harm() {
    let mut bench = Bench::started();
    bench.half("a");
    bench.kill();
    bench.saved(Some(SafeOffsets { half: 1_000, op: 1_000 }));
    bench.start();
    assert_eq!(bench.transactions().pending(), 0);
    let half = bench.half("b");
    assert_eq!(half.half_offset, 1);
    assert_eq!(bench.end(half, Committed).unwrap(), Ended::Decided);
}

#[test]
fn with_and_without_our_own_files_a_start_finds_the_same_undecided() {
    let mut bench = Bench::started();
    let mut open: Vec<Sent> = Vec::new();
    let mut random = 0x2545_f491_4f6c_dd1d_u64; // a fixed seed of a xorshift generator
    for round in 0..12 {
        for n in 0..40 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            match random % 5 {
                0 | 1 => open.push(bench.half(&n.to_string())),
                2 | 3 if !open.is_empty() => {
                    let half = open.remove((random >> 8) as usize % open.len());
                    let verdict = if random & 16 == 0 { Committed } else { RolledBack };
                    bench.end(half, verdict).unwrap();
                }
                _ => {
                    bench.advance(SECOND);
                    bench.check();
                    if let Some(offsets) = bench.transactions().persist() {
                        bench.saved(Some(offsets));
                    }
                }
            }
        }
        let expected: Vec<i64> = open.iter().map(|half| half.half_offset).collect();
        if round % 2 == 0 {
            bench.stop();
        } else {
            bench.kill();
        }
        if round % 3 == 0 {
            bench.forget_own_files();
        }
        bench.start();
        assert_eq!(bench.pending(), expected, "round {round}");
    }
}

#[test]
fn what_apache_saved_beyond_our_list_counts() {
    let mut bench = Bench::started();
    let halves: Vec<_> = (0..4).map(|n| bench.half(&n.to_string())).collect();
    bench.stop();
    bench.saved(Some(SafeOffsets { half: 2, op: 0 })); // Apache gave up the first two, which leaves no op record
    bench.start();
    assert_eq!(bench.pending(), [2, 3]);
    assert_eq!(bench.end(halves[3], Committed).unwrap(), Ended::Decided);
}

#[test]
fn a_damaged_list_is_not_believed() {
    let mut bench = Bench::started();
    bench.half("a");
    bench.stop();
    std::fs::write(bench.root().join("tenonmq/transaction-pending"), b"nonsense").unwrap();
    std::fs::write(bench.root().join("tenonmq/transaction-checks"), b"nonsense").unwrap();
    bench.start();
    assert_eq!(bench.pending(), [0]);
}

#[test]
fn check_counts_survive_two_restarts() {
    let mut bench = Bench::started();
    bench.half("a");
    bench.advance(6 * SECOND);
    bench.check();
    bench.restart();
    bench.restart();
    let found = bench.transactions().find(0).unwrap();
    assert_eq!((found.state.checks, found.state.asked_at), (1, Some(NOON + 6 * SECOND)));
    assert_eq!(found.state.due_at, NOON + 36 * SECOND);
}

#[test]
fn what_is_open_can_be_settled_while_the_disk_is_too_full_for_sends() {
    let mut bench = Bench::started();
    let (first, second) = (bench.half("a"), bench.half("b"));
    bench.stop();
    bench.refuse_percent = 0;
    bench.start();
    bench.store().maintain();
    assert!(bench.store().writable().is_err());
    assert_eq!(bench.end(first, Committed).unwrap(), Ended::Decided);
    assert_eq!(bench.end(second, RolledBack).unwrap(), Ended::Decided);
    assert_eq!(bench.visible(), ["a"]);
}
