use std::sync::atomic::Ordering;

use tenonmq_protocol::{code::RequestCode, message::RecordView};

use super::{
    super::{EndRefused, Ended, Verdict::*, operator::ByHandError, state::Answer},
    bench::*,
};

#[test]
fn an_undecided_message_is_asked_about_when_the_timeout_is_over_and_then_every_interval() {
    let mut bench = Bench::started();
    bench.half("order 42");
    bench.advance(6 * SECOND - 1);
    assert_eq!(bench.check(), []);
    bench.advance(1);
    assert_eq!(bench.check(), [(0, 1)]);
    bench.advance(30 * SECOND - 1);
    assert_eq!(bench.check(), []);
    bench.advance(1);
    assert_eq!(bench.check(), [(0, 2)]);
}

#[test]
fn a_check_appends_nothing_to_the_half_topic() {
    let mut bench = Bench::started();
    bench.half("order 42");
    for _ in 0..10 {
        bench.advance(30 * SECOND);
        bench.check();
    }
    assert_eq!(bench.halves(), 1);
}

#[test]
fn a_question_names_the_half_message_and_carries_it_as_a_message_of_its_real_topic() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.advance(6 * SECOND);
    while bench.transactions().check(&*bench.around) == super::super::state::Next::Now {}
    let question = bench.around.asked.lock().remove(0);
    let command = question.command();
    assert_eq!(command.code, RequestCode::CHECK_TRANSACTION_STATE.0);
    assert!(command.is_oneway());
    assert_eq!(command.field("topic"), Some("RMQ_SYS_TRANS_HALF_TOPIC"));
    assert_eq!(command.field("tranStateTableOffset"), Some("0"));
    assert_eq!(command.field("commitLogOffset"), Some(half.log_offset.to_string().as_str()));
    assert_eq!(command.field("msgId"), Some("FD0001"));
    assert_eq!(command.field("transactionId"), Some("FD0001"));
    assert_eq!(command.field("offsetMsgId"), Some("7F00000100002A9F0000000000000000"));
    assert_eq!(command.field("bname"), Some("broker-a"));
    let record = RecordView::parse(&command.body).unwrap();
    assert_eq!((record.topic(), record.queue_id(), record.len()), ("paid", 2, command.body.len()));
    assert_eq!(record.body(), b"order 42");
    assert_eq!(record.properties().get("TRANSACTION_CHECK_TIMES"), Some("1"));
    assert_eq!(record.properties().get("PGROUP"), Some("orders"));
}

#[test]
fn after_the_last_check_the_message_is_parked_where_people_find_it() {
    let mut bench = Bench::started();
    bench.half("order 42");
    bench.advance(6 * SECOND);
    let mut asked = 0;
    while bench.parked().is_empty() {
        asked += bench.check().len();
        bench.advance(30 * SECOND);
    }
    assert_eq!(asked, 15);
    assert_eq!(bench.parked(), ["order 42"]);
    assert_eq!(bench.ops(), ["0,"]);
    assert!(bench.visible().is_empty());
    let parked = bench.records("TRANS_CHECK_MAX_TIME_TOPIC", 0).remove(0);
    let parked = RecordView::parse(&parked).unwrap();
    assert_eq!(parked.properties().get("TRANSACTION_CHECK_TIMES"), Some("15"));
    assert_eq!(parked.properties().get("REAL_TOPIC"), Some("paid"));
    assert_eq!(bench.audit()[0]["action"], "park: checked as often as allowed");
}

#[test]
fn thread_8158_a_commit_after_the_message_was_parked_publishes_nothing() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.config.apply("transactionCheckMax=1").unwrap();
    bench.advance(6 * SECOND);
    bench.check();
    bench.advance(30 * SECOND);
    bench.check();
    assert_eq!(bench.parked().len(), 1);
    assert!(matches!(bench.answer(half, Committed), Err(EndRefused::Contradiction(Parked))));
    assert!(bench.visible().is_empty());
}

#[test]
fn thread_9320_an_immunity_longer_than_all_checks_delays_the_first_and_writes_nothing() {
    let mut bench = Bench::started();
    bench.half_with("order 42", "CHECK_IMMUNITY_TIME_IN_SECONDS\x013600\x02");
    for _ in 0..120 {
        bench.advance(30 * SECOND - 1);
        assert_eq!(bench.check(), []);
    }
    bench.advance(120);
    assert_eq!(bench.check(), [(0, 1)]);
    assert_eq!(bench.halves(), 1);
}

#[test]
fn thread_6737_an_answer_ends_the_checks() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.advance(6 * SECOND);
    assert_eq!(bench.check(), [(0, 1)]);
    bench.answer(half, RolledBack).unwrap();
    for _ in 0..10 {
        bench.advance(30 * SECOND);
        assert_eq!(bench.check(), []);
    }
}

#[test]
fn thread_7933_a_message_committed_just_before_its_check_is_not_asked_about() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.advance(6 * SECOND - 1);
    bench.end(half, Committed).unwrap();
    bench.advance(1);
    assert_eq!(bench.check(), []);
}

#[test]
fn thread_8316_nobody_online_costs_no_check_and_who_comes_online_is_asked_at_once() {
    let mut bench = Bench::started();
    bench.around.set_online(&[]);
    bench.half("order 42");
    for _ in 0..100 {
        bench.advance(30 * SECOND);
        assert_eq!(bench.check(), []);
    }
    bench.around.set_online(&["orders"]);
    bench.transactions().producer_online("orders");
    assert_eq!(bench.check(), [(0, 1)]);
}

#[test]
fn thread_1694_a_busy_channel_costs_no_check() {
    let mut bench = Bench::started();
    bench.half("order 42");
    bench.around.deaf.store(true, Ordering::Relaxed);
    bench.advance(6 * SECOND);
    assert_eq!(bench.check(), []);
    bench.around.deaf.store(false, Ordering::Relaxed);
    bench.advance(SECOND);
    assert_eq!(bench.check(), [(0, 1)]);
}

#[test]
fn a_message_older_than_the_log_keeps_is_not_given_up_while_nobody_can_be_asked() {
    let mut bench = Bench::started();
    bench.around.set_online(&[]);
    bench.half("order 42");
    for _ in 0..10 {
        bench.advance(72 * HOUR);
        assert_eq!(bench.check(), []);
    }
    assert!(bench.parked().is_empty());
    bench.around.set_online(&["orders"]);
    bench.transactions().producer_online("orders");
    assert_eq!(bench.check(), [(0, 1)]);
}

#[test]
fn unresolved_transactions_can_be_listed_with_all_that_matters() {
    let mut bench = Bench::started();
    bench.half("order-42");
    let decided = bench.half("order-43");
    bench.end(decided, Committed).unwrap();
    bench.half("order-44");
    bench.advance(6 * SECOND);
    bench.check();
    bench.transactions().unknown(0, 0, true);
    let list = bench.transactions().unresolved(None, 10);
    assert_eq!(list.len(), 2);
    let first = &list[0];
    assert_eq!((first.age_ms, first.keys.as_deref(), &*first.state.group), (6 * SECOND, Some("order-42"), "orders"));
    assert_eq!((first.state.checks, first.state.last_answer), (1, Answer::Unknown));
    assert_eq!(first.state.asked_whom.as_deref(), Some("10.0.0.7:4711"));
    assert_eq!(list[1].state.last_answer, Answer::None);
    assert_eq!(bench.transactions().unresolved(Some(0), 10).len(), 1);
    assert_eq!(bench.transactions().pending_by_group(), [("orders".to_owned(), 2)]);
}

#[test]
fn an_operator_commits_or_rolls_back_by_hand_and_leaves_a_record() {
    let mut bench = Bench::started();
    let (first, second) = (bench.half("order-42"), bench.half("order-43"));
    let transactions = bench.transactions();
    let by_hand = |half: Sent, verdict| transactions.decide_by_hand(&*bench.around, half.half_offset, verdict, "ann");
    assert_eq!(by_hand(first, Committed).unwrap(), Ended::Decided);
    assert_eq!(by_hand(second, RolledBack).unwrap(), Ended::Decided);
    assert!(matches!(by_hand(second, Committed), Err(ByHandError::NotPending(1))));
    assert_eq!(bench.visible(), ["order-42"]);
    let audit = bench.audit();
    assert_eq!(audit.len(), 2);
    assert_eq!(
        (&audit[0]["by"], &audit[0]["action"], &audit[0]["result"]),
        (&"ann".into(), &"commit".into(), &"done".into())
    );
    assert_eq!(audit[1]["uniqueKey"], "FD0002");
}

#[test]
fn an_operator_gets_a_check_at_once() {
    let mut bench = Bench::started();
    bench.half("order-42");
    bench.transactions().check_by_hand(0, "ann").unwrap();
    assert_eq!(bench.check(), [(0, 1)]);
    assert!(bench.transactions().check_by_hand(1, "ann").is_err());
}

#[test]
fn thread_598_a_parked_message_is_checked_again_when_resumed() {
    let (bench, id) = Bench::with_parked("order 42");
    assert!(bench.transactions().resume("7F00000100002A9F00000000000FFFFF", "ann").is_err());
    assert!(bench.transactions().resume("nonsense", "ann").is_err());
    bench.transactions().resume(&id, "ann").unwrap();
    bench.advance(6 * SECOND);
    assert_eq!(bench.check(), [(1, 1)]);
    let asked = bench.transactions().find(1).unwrap();
    let sent = Sent { half_offset: 1, log_offset: asked.state.log_offset.cast_signed() };
    bench.answer(sent, Committed).unwrap();
    assert_eq!(bench.visible(), ["order 42"]);
}

#[test]
fn counts_of_undecided_messages_are_written_for_apaches_tools() {
    let mut bench = Bench::started();
    bench.half("a");
    bench.half("b");
    bench.transactions().persist();
    let text = std::fs::read_to_string(bench.root().join("config/transactionMetrics")).unwrap();
    let start = r#"{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1800000000000},"transactionCount":{"paid":{"count":2,"timeStamp":1800000000000}}}"#;
    assert_eq!(text, start);
}
