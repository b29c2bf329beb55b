//! Complaints about messages that are checked after their end, published twice, or published against the verdict.

use std::sync::{
    Barrier,
    atomic::{AtomicUsize, Ordering},
};

use super::{
    super::{EndRefused, Ended, Verdict::*},
    bench::*,
};

/// No question in the next three hours.
fn is_quiet(bench: &Bench) -> bool {
    (0..360).all(|_| {
        bench.advance(30 * SECOND);
        bench.check().is_empty()
    })
}

fn is_refused(outcome: Result<Ended, EndRefused>) -> bool {
    matches!(outcome, Err(EndRefused::Contradiction(_)))
}

#[test]
fn thread_8158_a_late_commit_after_the_check_said_commit_publishes_nothing() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.advance(6 * SECOND);
    assert_eq!(bench.check(), [(0, 1)]);
    assert_eq!(bench.answer(half, Committed).unwrap(), Ended::Decided);
    assert_eq!(bench.end(half, Committed).unwrap(), Ended::Repeated);
    bench.kill();
    bench.start();
    assert_eq!(bench.end(half, Committed).unwrap(), Ended::Repeated);
    assert_eq!(bench.visible(), ["order 42"]);
}

#[test]
fn thread_8158_checks_end_with_the_verdict_although_some_were_answered_unknown_and_one_is_open() {
    let mut bench = Bench::started();
    let (first, second) = (bench.half("a"), bench.half("b"));
    bench.advance(6 * SECOND);
    for attempt in 1..=4 {
        assert_eq!(bench.check(), [(0, attempt), (1, attempt)]);
        bench.transactions().unknown(first.half_offset, first.log_offset, true);
        bench.advance(30 * SECOND);
    }
    bench.end(first, Committed).unwrap();
    bench.end(second, RolledBack).unwrap();
    assert!(is_quiet(&bench));
    assert_eq!(bench.visible(), ["a"]);
    assert!(bench.parked().is_empty());
}

#[test]
fn thread_2694_a_late_commit_after_the_check_said_rollback_is_refused_before_and_after_a_crash() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.advance(6 * SECOND);
    assert_eq!(bench.check(), [(0, 1)]);
    bench.answer(half, RolledBack).unwrap();
    bench.advance(35 * SECOND);
    assert!(is_refused(bench.end(half, Committed)));
    bench.kill();
    bench.start();
    assert!(is_refused(bench.end(half, Committed)));
    assert!(bench.visible().is_empty());
}

#[test]
fn thread_5574_of_equal_commits_at_the_same_time_one_publishes_and_all_succeed() {
    let mut bench = Bench::started();
    for round in 0..20 {
        let half = bench.half(&round.to_string());
        let decided = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let ended = bench.answer(half, Committed).expect("a repeat succeeds");
                    decided.fetch_add(usize::from(ended == Ended::Decided), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(decided.into_inner(), 1);
        assert_eq!(bench.visible().len(), round + 1);
    }
    assert_eq!(bench.ops().len(), 20);
}

#[test]
fn thread_7933_of_a_thousand_messages_none_is_checked_after_its_commit_or_published_twice() {
    let mut bench = Bench::started();
    let halves: Vec<_> = (0..1000).map(|n| bench.half(&n.to_string())).collect();
    bench.advance(6 * SECOND);
    let asked = bench.check();
    assert!(asked.len() > 100 && asked.len() < 1000, "{}", asked.len());
    for half in &halves {
        if asked.iter().any(|(offset, _)| *offset == half.half_offset) {
            bench.answer(*half, Committed).unwrap();
        }
        bench.end(*half, Committed).unwrap();
    }
    assert!(is_quiet(&bench));
    let visible = bench.visible();
    let mut different = visible.clone();
    different.sort();
    different.dedup();
    assert_eq!((visible.len(), different.len()), (1000, 1000));
    assert_eq!(bench.transactions().pending(), 0);
}

#[test]
fn thread_1517_only_the_undecided_half_of_many_is_ever_checked() {
    let mut bench = Bench::started();
    let halves: Vec<_> = (0..100).map(|n| bench.half(&n.to_string())).collect();
    for half in halves.iter().filter(|half| half.half_offset % 2 == 1) {
        bench.end(*half, if half.half_offset % 4 == 1 { Committed } else { RolledBack }).unwrap();
    }
    bench.advance(6 * SECOND);
    for attempt in 1..=3 {
        let even: Vec<_> = (0..100).step_by(2).map(|offset| (offset, attempt)).collect();
        assert_eq!(bench.check(), even);
        bench.advance(30 * SECOND);
    }
    for half in halves.iter().filter(|half| half.half_offset % 2 == 0) {
        bench.answer(*half, RolledBack).unwrap();
    }
    assert!(is_quiet(&bench));
}

#[test]
fn thread_2117_a_broker_that_died_before_it_saved_anything_checks_nothing_that_is_decided() {
    let mut bench = Bench::started();
    let halves: Vec<_> = (0..300).map(|n| bench.half(&n.to_string())).collect();
    for half in &halves {
        bench.end(*half, if half.half_offset % 3 == 0 { Committed } else { RolledBack }).unwrap();
    }
    for _ in 0..3 {
        bench.kill();
        bench.forget_own_files();
        bench.saved(None);
        bench.start();
        assert!(is_quiet(&bench));
    }
    assert_eq!((bench.visible().len(), bench.ops().len()), (100, 300));
}

#[test]
fn thread_spring_598_a_commit_ends_the_checks_whenever_it_comes() {
    for checks_before in [0, 1, 2, 14] {
        for from_check in [false, true] {
            let mut bench = Bench::started();
            let half = bench.half("order 42");
            bench.advance(6 * SECOND);
            for _ in 0..checks_before {
                assert_eq!(bench.check().len(), 1);
                bench.advance(30 * SECOND);
            }
            let end = if from_check { bench.answer(half, Committed) } else { bench.end(half, Committed) };
            assert_eq!(end.unwrap(), Ended::Decided);
            assert!(is_quiet(&bench), "{checks_before} {from_check}");
            bench.restart();
            assert!(is_quiet(&bench), "{checks_before} {from_check}");
            assert_eq!(bench.visible(), ["order 42"]);
        }
    }
}

#[test]
fn thread_9909_a_message_that_its_client_sent_twice_is_published_once() {
    for answers_first in [None, Some(0), Some(1)] {
        let mut bench = Bench::started();
        let first = bench.half("order 42");
        bench.advance(SECOND);
        let second = bench.resend("order 42");
        let twins = [first, second];
        if answers_first.is_none() {
            bench.end(second, Committed).unwrap(); // the client knows only the second
        }
        bench.advance(6 * SECOND);
        assert_eq!(bench.check()[0], (0, 1));
        let (one, other) = if answers_first == Some(1) { (1, 0) } else { (0, 1) };
        if answers_first.is_some() {
            assert_eq!(bench.answer(twins[one], Committed).unwrap(), Ended::Decided);
        }
        let late = if answers_first.is_some() { twins[other] } else { first };
        assert_eq!(bench.answer(late, Committed).unwrap(), Ended::Repeated);
        assert!(is_quiet(&bench));
        bench.kill();
        bench.start();
        assert!(is_quiet(&bench));
        for twin in twins {
            assert_eq!(bench.answer(twin, Committed).unwrap(), Ended::Repeated);
        }
        assert_eq!(bench.visible(), ["order 42"], "{answers_first:?}");
        assert_eq!(bench.audit()[0]["action"], "drop: sent twice by its client, published once");
    }
}

#[test]
fn thread_9909_a_message_that_was_sent_twice_is_published_once_when_both_are_answered_at_the_same_moment() {
    for _ in 0..20 {
        let mut bench = Bench::started();
        let twins = [bench.half("order 42"), bench.resend("order 42")];
        bench.advance(6 * SECOND);
        bench.check();
        let together = Barrier::new(2);
        std::thread::scope(|scope| {
            for twin in twins {
                let (bench, together) = (&bench, &together);
                scope.spawn(move || {
                    together.wait();
                    bench.answer(twin, Committed).unwrap();
                });
            }
        });
        assert_eq!(bench.transactions().pending(), 0);
        assert_eq!(bench.visible(), ["order 42"]);
    }
}

#[test]
fn thread_9909_what_is_not_the_same_send_is_published_all_the_same() {
    for (wait, body) in [(2 * MINUTE, "order 42"), (SECOND, "order 43")] {
        let mut bench = Bench::started();
        let first = bench.half("order 42");
        bench.advance(wait);
        let second = bench.resend(body);
        bench.end(second, Committed).unwrap();
        bench.advance(6 * SECOND);
        bench.check();
        bench.index();
        assert_eq!(bench.answer(first, Committed).unwrap(), Ended::Decided);
        assert_eq!(bench.visible(), [body, "order 42"]);
    }
    let mut bench = Bench::started();
    let twins = [bench.half("order 42"), bench.resend("order 42")];
    for twin in twins {
        assert_eq!(bench.end(twin, Committed).unwrap(), Ended::Decided, "its producer knows of both");
        bench.index();
    }
    assert_eq!(bench.visible().len(), 2);
}
