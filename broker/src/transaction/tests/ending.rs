use tenonmq_protocol::{
    code::ResponseCode,
    message::{Properties, RecordView},
};
use tenonmq_storage::{Permit, Role};

use super::{
    super::{End, EndRefused, Ended, Verdict::*},
    bench::*,
};

fn code(refused: Result<Ended, EndRefused>) -> (ResponseCode, String) {
    let refused = refused.expect_err("refused");
    (refused.code(), refused.to_string())
}

#[test]
fn a_half_message_stays_invisible_until_committed() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    assert!(bench.visible().is_empty());
    assert_eq!(bench.end(half, Committed).unwrap(), Ended::Decided);
    assert_eq!(bench.visible(), ["order 42"]);
    assert_eq!(bench.ops(), ["0,"]);
    assert_eq!(bench.transactions().pending(), 0);
}

#[test]
fn thread_474_a_commit_wakes_those_who_wait_on_the_real_queue_at_once() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.end(half, Committed).unwrap();
    assert_eq!(*bench.around.woken.lock(), [("paid".to_owned(), 0)]);
}

#[test]
fn a_rollback_leaves_only_an_op_record() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    assert_eq!(bench.end(half, RolledBack).unwrap(), Ended::Decided);
    assert!(bench.visible().is_empty());
    assert_eq!(bench.ops(), ["0,"]);
}

#[test]
fn the_visible_message_keeps_what_the_half_message_had_and_names_it() {
    let mut bench = Bench::started();
    let half = bench.half_with("order 42", "colour\x01red\x02");
    bench.end(half, Committed).unwrap();
    let half = bench.records("RMQ_SYS_TRANS_HALF_TOPIC", 0).remove(0);
    let visible = bench.records("paid", 2).remove(0);
    let (half, visible) = (RecordView::parse(&half).unwrap(), RecordView::parse(&visible).unwrap());
    assert_eq!(visible.properties_bytes(), half.properties_bytes());
    assert_eq!(visible.sys_flag().0, half.sys_flag().0 | 8);
    assert_eq!(visible.prepared_transaction_offset(), half.physical_offset());
    assert_eq!((visible.flag(), visible.queue_id()), (7, 2));
    assert_eq!((visible.born_timestamp(), visible.born_host()), (half.born_timestamp(), half.born_host()));
    let entry = bench.store().find_queue("paid", 2).and_then(|queue| queue.entry(0)).unwrap();
    assert_eq!(entry.tags_code, i64::from(b't'));
}

#[test]
fn the_op_record_stands_right_behind_the_visible_message() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.end(half, Committed).unwrap();
    let visible = bench.records("paid", 2).remove(0);
    let op = bench.records("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0).remove(0);
    let (visible, op) = (RecordView::parse(&visible).unwrap(), RecordView::parse(&op).unwrap());
    assert_eq!(visible.physical_offset() + visible.len() as i64, op.physical_offset());
    assert_eq!(op.properties_text(), "WAIT\x01true\x02TAGS\x01d\x02");
}

#[test]
fn thread_5574_a_repeated_commit_succeeds_and_publishes_nothing() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.end(half, Committed).unwrap();
    assert_eq!(bench.end(half, Committed).unwrap(), Ended::Repeated);
    assert_eq!(bench.visible().len(), 1);
    assert_eq!(bench.ops().len(), 1);
}

#[test]
fn thread_8158_a_commit_after_a_rollback_is_refused() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.end(half, RolledBack).unwrap();
    let (code, remark) = code(bench.end(half, Committed));
    assert_eq!(code, ResponseCode::ILLEGAL_OPERATION);
    assert_eq!(remark, "the transaction is rolled back already");
    assert!(bench.visible().is_empty());
}

#[test]
fn thread_8158_a_rollback_after_a_commit_is_refused() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.end(half, Committed).unwrap();
    assert!(matches!(bench.end(half, RolledBack), Err(EndRefused::Contradiction(Committed))));
}

#[test]
fn a_verdict_must_name_a_record_that_is_in_the_log() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    for log_offset in [-1, 1, 1 << 40] {
        let refused = code(bench.end_as(half, Committed, |end| End { log_offset, ..end }));
        assert_eq!(refused, (ResponseCode::SYSTEM_ERROR, "Find prepared transaction message failed".into()));
    }
}

#[test]
fn a_verdict_must_come_from_the_group_that_sent_the_message() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    let refused = code(bench.end_as(half, Committed, |end| End { group: "thieves", ..end }));
    assert_eq!(refused, (ResponseCode::SYSTEM_ERROR, "The producer group wrong".into()));
}

#[test]
fn a_verdict_must_name_the_place_in_the_half_queue() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    let refused = code(bench.end_as(half, Committed, |end| End { half_offset: 5, ..end }));
    assert_eq!(refused, (ResponseCode::SYSTEM_ERROR, "The transaction state table offset wrong".into()));
    assert_eq!(bench.transactions().pending(), 1);
}

#[test]
fn a_verdict_on_an_ordinary_message_is_refused() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.end(half, Committed).unwrap();
    let op = bench.records("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0).remove(0);
    let op = RecordView::parse(&op).unwrap();
    let named = Sent { half_offset: op.queue_offset(), log_offset: op.physical_offset() };
    let (code, _) = code(bench.end_as(named, Committed, |end| End { group: "", ..end }));
    assert_eq!(code, ResponseCode::SYSTEM_ERROR);
}

#[test]
fn a_slave_ends_no_transaction() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.store().set_permit(Permit { role: Role::Slave, epoch: 1 });
    assert_eq!(code(bench.end(half, Committed)).0, ResponseCode::SLAVE_NOT_AVAILABLE);
    bench.store().set_permit(Permit { role: Role::Master, epoch: 2 });
    assert_eq!(bench.end(half, Committed).unwrap(), Ended::Decided);
}

#[test]
fn after_the_wished_immunity_only_the_answer_to_a_check_counts() {
    let mut bench = Bench::started();
    let half = bench.half_with("order 42", "CHECK_IMMUNITY_TIME_IN_SECONDS\x0130\x02");
    bench.advance(30 * SECOND + 1);
    assert_eq!(code(bench.end(half, Committed)).0, ResponseCode::ILLEGAL_OPERATION);
    assert_eq!(bench.answer(half, Committed).unwrap(), Ended::Decided);
}

#[test]
fn within_the_wished_immunity_a_verdict_counts_and_a_short_wish_is_stretched_to_the_timeout() {
    let mut bench = Bench::started();
    let long = bench.half_with("a", "CHECK_IMMUNITY_TIME_IN_SECONDS\x0130\x02");
    let short = bench.half_with("b", "CHECK_IMMUNITY_TIME_IN_SECONDS\x011\x02");
    bench.advance(6 * SECOND);
    assert_eq!(bench.end(short, Committed).unwrap(), Ended::Decided);
    bench.advance(24 * SECOND);
    assert_eq!(bench.end(long, Committed).unwrap(), Ended::Decided);
}

#[test]
fn thread_9640_the_age_of_a_message_goes_by_the_brokers_clock() {
    let mut bench = Bench::started();
    let wish = "CHECK_IMMUNITY_TIME_IN_SECONDS\x0130\x02";
    let late = bench.half_born("its clock is a day late", wish, NOON - 24 * HOUR);
    let early = bench.half_born("its clock is a day early", wish, NOON + 24 * HOUR);
    assert_eq!(bench.end(late, Committed).unwrap(), Ended::Decided);
    bench.advance(30 * SECOND);
    assert_eq!(bench.check(), [(early.half_offset, 1)]);
}

#[test]
fn a_commit_to_a_topic_deleted_meanwhile_is_refused_and_the_message_stays() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.around.delete_topic("paid");
    assert_eq!(code(bench.end(half, Committed)).0, ResponseCode::TOPIC_NOT_EXIST);
    assert_eq!(bench.transactions().pending(), 1);
    assert_eq!(bench.end(half, RolledBack).unwrap(), Ended::Decided);
}

#[test]
fn thread_9064_commits_are_independent_of_what_is_pending_before_them() {
    let mut bench = Bench::started();
    let first = bench.half("0");
    for n in 1..200 {
        let half = bench.half(&n.to_string());
        bench.end(half, Committed).unwrap();
    }
    assert_eq!(bench.visible().len(), 199);
    assert_eq!(bench.transactions().unresolved(None, 10)[0].state.offset, first.half_offset);
}

#[test]
fn a_half_message_that_nobody_reported_can_be_ended_all_the_same() {
    let mut bench = Bench::started();
    let (appended, _) = bench.append_half("order 42", "", NOON);
    let sent = Sent { half_offset: appended.queue_offset, log_offset: appended.physical_offset.cast_signed() };
    assert_eq!(bench.end(sent, Committed).unwrap(), Ended::Decided);
    assert_eq!(bench.end(sent, Committed).unwrap(), Ended::Repeated);
    assert_eq!(bench.visible(), ["order 42"]);
}

#[test]
fn a_half_message_that_nobody_reported_is_found_by_the_periodic_work() {
    let mut bench = Bench::started();
    bench.append_half("order 42", "", NOON);
    bench.transactions().persist();
    bench.transactions().persist();
    assert_eq!(bench.transactions().pending(), 1);
}

#[test]
fn the_properties_of_the_visible_message_still_name_the_half_topic_s_properties() {
    let mut bench = Bench::started();
    let half = bench.half("order 42");
    bench.end(half, Committed).unwrap();
    let visible = bench.records("paid", 2).remove(0);
    let text = RecordView::parse(&visible).unwrap().properties_text().to_owned();
    let properties = Properties::parse(&text);
    assert_eq!(properties.get("REAL_TOPIC"), Some("paid"));
    assert_eq!(properties.get("REAL_QID"), Some("2"));
    assert_eq!(properties.get("TRAN_MSG"), Some("true"));
}
