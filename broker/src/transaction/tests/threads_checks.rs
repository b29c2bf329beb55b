//! Complaints about checks that never come, come too late, or are counted and not sent.

use std::sync::atomic::Ordering;

use super::{super::Verdict::*, bench::*};

/// Questions until the message is parked, and how many milliseconds that took.
fn until_parked(bench: &Bench) -> (Vec<(i64, u32)>, i64) {
    let (mut asked, mut passed) = (Vec::new(), 0);
    loop {
        asked.extend(bench.check());
        if !bench.parked().is_empty() {
            return (asked, passed);
        }
        assert!(passed < 24 * HOUR, "never parked; asked {asked:?}");
        bench.advance(10 * SECOND);
        passed += 10 * SECOND;
    }
}

fn all_checks(count: u32) -> Vec<(i64, u32)> {
    (1..=count).map(|attempt| (0, attempt)).collect()
}

#[test]
fn thread_544_messages_of_one_millisecond_with_an_immunity_of_their_own_are_all_checked() {
    let mut bench = Bench::started();
    for n in 0..5 {
        bench.half_with(&n.to_string(), "CHECK_IMMUNITY_TIME_IN_SECONDS\x0110\x02");
    }
    bench.advance(10 * SECOND - 1);
    assert_eq!(bench.check(), []);
    bench.advance(1);
    assert_eq!(bench.check(), [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]);
}

#[test]
fn thread_615_an_immunity_takes_away_none_of_the_checks() {
    let mut bench = Bench::started();
    bench.config.apply("transactionCheckMax=3").unwrap();
    bench.half_with("order 42", "CHECK_IMMUNITY_TIME_IN_SECONDS\x013600\x02");
    for _ in 0..119 {
        bench.advance(30 * SECOND);
        assert_eq!(bench.check(), []);
        assert_eq!(bench.transactions().find(0).unwrap().state.checks, 0);
    }
    bench.advance(30 * SECOND);
    assert_eq!(until_parked(&bench), (all_checks(3), 90 * SECOND));
}

#[test]
fn thread_8311_a_long_immunity_ends_with_every_check_after_a_restart_too() {
    let mut bench = Bench::started();
    bench.half_with("order 42", "CHECK_IMMUNITY_TIME_IN_SECONDS\x01600\x02");
    bench.advance(500 * SECOND);
    assert_eq!(bench.check(), []);
    bench.kill();
    bench.start();
    bench.advance(100 * SECOND - 1);
    assert_eq!(bench.check(), []);
    bench.advance(1);
    assert_eq!(until_parked(&bench).0, all_checks(15));
}

#[test]
fn thread_8311_an_immunity_that_outlasts_the_log_ends_in_time_for_every_check() {
    for restart in [false, true] {
        let mut bench = Bench::started();
        bench.half_with("order 42", "CHECK_IMMUNITY_TIME_IN_SECONDS\x01999999999\x02");
        if restart {
            bench.kill();
            bench.start();
        }
        bench.advance(72 * HOUR - 15 * 30 * SECOND - 1);
        assert_eq!(bench.check(), []);
        bench.advance(1);
        assert_eq!(until_parked(&bench), (all_checks(15), 15 * 30 * SECOND));
        assert_eq!(bench.audit()[0]["action"], "park: checked as often as allowed");
    }
}

#[test]
fn thread_8311_a_decision_behind_hundreds_of_others_keeps_a_message_from_being_parked() {
    let mut bench = Bench::started();
    bench.config.apply("transactionCheckMax=1").unwrap();
    let half = bench.half("order 42");
    bench.advance(6 * SECOND);
    assert_eq!(bench.check(), [(0, 1)]);
    for n in 0..600 {
        let other = bench.half(&n.to_string());
        bench.end(other, RolledBack).unwrap();
    }
    bench.end(half, Committed).unwrap();
    bench.kill();
    bench.forget_own_files();
    bench.start();
    bench.advance(HOUR);
    assert_eq!(bench.check(), []);
    assert!(bench.parked().is_empty());
    assert_eq!(bench.visible(), ["order 42"]);
}

#[test]
fn thread_8311_the_last_check_waits_for_its_answer_like_any_other() {
    let mut bench = Bench::started();
    bench.config.apply("transactionCheckMax=2").unwrap();
    let half = bench.half("order 42");
    bench.advance(6 * SECOND);
    assert_eq!(bench.check(), [(0, 1)]);
    bench.advance(30 * SECOND);
    assert_eq!(bench.check(), [(0, 2)]);
    bench.advance(30 * SECOND - 1);
    assert_eq!(bench.check(), []);
    bench.answer(half, Committed).unwrap();
    bench.advance(HOUR);
    bench.check();
    assert!(bench.parked().is_empty());
    assert_eq!(bench.visible(), ["order 42"]);
}

#[test]
fn thread_1694_a_message_whose_producer_was_busy_is_asked_about_when_it_is_free_and_as_often_as_any() {
    let mut bench = Bench::started();
    bench.half("order 42");
    bench.around.deaf.store(true, Ordering::Relaxed);
    for _ in 0..3600 {
        bench.advance(SECOND);
        assert_eq!(bench.check(), []);
    }
    assert_eq!(bench.transactions().find(0).unwrap().state.checks, 0);
    bench.around.deaf.store(false, Ordering::Relaxed);
    bench.advance(SECOND);
    assert_eq!(until_parked(&bench).0, all_checks(15));
}

#[test]
fn thread_1789_an_attempt_is_a_question_that_a_producer_took() {
    let mut bench = Bench::started();
    bench.half("order 42");
    let mut taken = 0;
    for round in 0..28 {
        bench.around.deaf.store(round % 3 == 1, Ordering::Relaxed);
        bench.around.set_online(if round % 3 == 2 { &[] } else { &["orders"] });
        bench.advance(30 * SECOND);
        taken += bench.check().len();
        let state = bench.transactions().find(0).unwrap().state;
        assert_eq!(usize::from(state.checks), taken, "round {round}");
    }
    assert_eq!(taken, 10);
    assert!(bench.parked().is_empty());
}

#[test]
fn thread_6737_the_count_rises_with_the_questions_and_ends_with_the_answer() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.advance(6 * SECOND);
    for attempt in 1..=7 {
        assert_eq!(bench.check(), [(0, attempt)]);
        assert_eq!(bench.check(), [], "asked once a round, however often the checker runs");
        assert_eq!(u32::from(bench.transactions().find(0).unwrap().state.checks), attempt);
        bench.advance(30 * SECOND);
    }
    bench.answer(half, RolledBack).unwrap();
    bench.restart();
    bench.advance(HOUR);
    assert_eq!(bench.check(), []);
}

#[test]
fn thread_7415_timeout_interval_and_maximum_act_as_they_are_set() {
    let mut bench = Bench::started();
    bench.config.apply("transactionTimeOut=2000\ntransactionCheckInterval=10000\ntransactionCheckMax=2").unwrap();
    bench.half("order 42");
    for (wait, asked) in [(1_999, &[][..]), (1, &[(0, 1)]), (9_999, &[]), (1, &[(0, 2)]), (9_999, &[])] {
        bench.advance(wait);
        assert_eq!(bench.check(), asked);
    }
    assert!(bench.parked().is_empty());
    bench.advance(1);
    assert_eq!(bench.check(), []);
    assert_eq!(bench.parked(), ["order 42"]);
}

#[test]
fn thread_500_the_defaults_are_the_documented_ones_and_what_is_shown_is_what_is_done() {
    let mut bench = Bench::started();
    let shown = bench.config.get_all();
    for (key, value) in
        [("transactionCheckMax", "15"), ("transactionTimeOut", "6000"), ("transactionCheckInterval", "30000")]
    {
        assert_eq!(shown.get(key).map(|shown| &**shown), Some(value), "{key}");
    }
    bench.half("order 42");
    bench.advance(6 * SECOND);
    assert_eq!(until_parked(&bench), (all_checks(15), 15 * 30 * SECOND));
}

#[test]
fn thread_474_a_committed_message_is_visible_before_any_time_has_passed() {
    let mut bench = Bench::started();
    for n in 0..10 {
        let half = bench.half(&n.to_string());
        bench.end(half, Committed).unwrap();
        assert_eq!(bench.visible().len(), n + 1);
        assert_eq!(bench.around.woken.lock().len(), n + 1);
    }
    assert_eq!(tenonmq_storage::Clock::now_ms(&*bench.clock), NOON);
}
