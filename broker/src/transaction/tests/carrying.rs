//! Undecided messages whose log files go.

use std::{io, sync::Arc};

use tenonmq_protocol::message::RecordView;
use tenonmq_storage::fs::{FaultyFs, Op, Space};

use super::{
    super::{
        EndRefused, Ended,
        Verdict::*,
        history::{self, CopyKind, Fate},
    },
    bench::*,
};

const DAY: i64 = 24 * HOUR;

/// One undecided message in a log whose first file was removed.
fn carried() -> (Bench, Sent) {
    let mut bench = Bench::started();
    let sent = bench.half("order 42");
    bench.advance(6 * SECOND);
    assert_eq!(bench.check(), [(0, 1)]);
    bench.around.set_online(&[]);
    bench.advance(4 * DAY);
    bench.roll();
    bench.let_files_go();
    (bench, sent)
}

fn texts(bench: &Bench) -> Vec<String> {
    bench
        .records("RMQ_SYS_TRANS_HALF_TOPIC", 0)
        .iter()
        .map(|bytes| RecordView::parse(bytes).unwrap().properties_text().to_owned())
        .collect()
}

#[test]
fn an_undecided_message_outlives_its_log_file_with_its_age_and_its_checks() {
    let (bench, sent) = carried();
    assert!(bench.store().read(sent.log_offset.unsigned_abs()).is_none(), "the first record is gone");
    let found = bench.transactions().unresolved(None, 9);
    let known: Vec<_> = found.iter().map(|one| (one.state.offset, one.state.checks, one.state.carried_from)).collect();
    assert_eq!(known, [(1, 1, Some(0))]);
    assert_eq!((found[0].state.stored_at, found[0].state.asked_at), (NOON, Some(NOON + 6 * SECOND)));
    assert_eq!(bench.ops(), ["0,"]);
    assert!(bench.parked().is_empty(), "nobody was online: that is no reason to give up");
    bench.around.set_online(&["orders"]);
    bench.transactions().producer_online("orders");
    bench.advance(10 * SECOND);
    assert_eq!(bench.check(), [(1, 2)], "the second check of fifteen");
}

#[test]
fn a_producer_that_knows_the_first_place_only_decides_what_was_carried_forward() {
    for verdict in [Committed, RolledBack] {
        for restarts in [false, true] {
            let (mut bench, sent) = carried();
            if restarts {
                bench.kill();
                bench.forget_own_files();
                bench.start();
            }
            let visible = usize::from(verdict == Committed);
            assert_eq!(bench.end(sent, verdict).unwrap(), Ended::Decided);
            assert_eq!(bench.end(sent, verdict).unwrap_err().to_string(), EndRefused::NotFound.to_string());
            assert_eq!((bench.visible().len(), bench.ops().last().unwrap().as_str()), (visible, "1,"));
            assert_eq!(bench.transactions().pending(), 0);
            bench.restart();
            assert_eq!(bench.transactions().pending(), 0);
        }
    }
}

#[test]
fn a_stranger_does_not_decide_what_was_carried_forward() {
    let (bench, sent) = carried();
    let other = Sent { log_offset: sent.log_offset + 1, ..sent };
    assert!(matches!(bench.end(other, Committed), Err(EndRefused::NotFound)));
    let as_other = bench.end_as(sent, Committed, |end| super::super::End { group: "bills", ..end });
    assert!(matches!(as_other, Err(EndRefused::WrongGroup)));
    assert_eq!(bench.transactions().pending(), 1);
}

#[test]
fn what_consumers_see_of_a_carried_message_is_what_was_sent() {
    let (bench, sent) = carried();
    bench.end(sent, Committed).unwrap();
    let record = bench.records("paid", 2).remove(0);
    let record = RecordView::parse(&record).unwrap();
    assert_eq!((record.body(), record.born_timestamp(), record.flag()), (&b"order 42"[..], NOON, 7));
    let properties = record.properties();
    assert_eq!(properties.get("UNIQ_KEY"), Some("FD0001"));
    assert_eq!(properties.get("TENON_CARRIED"), None);
}

#[test]
fn a_copy_is_linked_to_the_first_record_as_apache_links_its_copies() {
    let (mut bench, _) = carried();
    bench.roll();
    bench.let_files_go();
    let text = texts(&bench).remove(0);
    for part in ["UNIQ_KEY\x01FD0001\x02", "TRAN_PREPARED_QUEUE_OFFSET\x010\x02", "TRANSACTION_CHECK_TIMES\x011\x02"] {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
    assert_eq!(bench.pending(), [2]);
    assert_eq!(bench.ops(), ["1,"], "each old place is named in its own op record; the first has gone with its file");
}

#[test]
fn both_records_of_a_carried_message_are_one_transaction_while_both_are_there() {
    let mut bench = Bench::started();
    let sent = bench.half("order 42");
    bench.advance(4 * DAY);
    bench.roll();
    bench.look_after();
    bench.expire();
    bench.look_after();
    assert_eq!(bench.halves(), 2);
    let told = |bench: &Bench| {
        let told = history::transactions(bench.store()).unwrap();
        assert_eq!(told.len(), 1);
        let kinds: Vec<_> = told[0].half.iter().map(|member| member.kind).collect();
        assert_eq!(kinds, [CopyKind::Original, CopyKind::Carried]);
        told[0].fate
    };
    assert_eq!(told(&bench), Fate::Pending);
    for _ in 0..2 {
        bench.kill();
        bench.forget_own_files();
        bench.saved(None);
        bench.start();
        assert_eq!(bench.pending(), [1], "the whole history gives the same");
    }
    assert_eq!(bench.end(sent, Committed).unwrap(), Ended::Decided);
    assert_eq!(bench.end(sent, Committed).unwrap(), Ended::Repeated);
    assert!(matches!(bench.end(sent, RolledBack), Err(EndRefused::Contradiction(Committed))));
    assert_eq!(bench.visible(), ["order 42"]);
    assert_eq!(told(&bench), Fate::Committed);
}

#[test]
fn a_crash_between_copy_and_op_record_leaves_one_message() {
    let mut bench = Bench::started();
    let sent = bench.half("order 42");
    bench.advance(4 * DAY);
    bench.roll();
    bench.look_after();
    bench.expire();
    bench.look_after();
    let op = bench.store().find_queue("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0).and_then(|queue| queue.entry(0)).unwrap();
    bench.store().cut(op.physical_offset).unwrap();
    bench.kill();
    bench.forget_own_files();
    bench.saved(None);
    bench.start();
    assert_eq!(bench.pending(), [1]);
    assert_eq!(bench.ops(), ["0,"], "the next start writes what was lost");
    bench.end(sent, Committed).unwrap();
    let op = bench.store().find_queue("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0).and_then(|queue| queue.entry(1)).unwrap();
    bench.store().cut(op.physical_offset).unwrap();
    bench.kill();
    bench.start();
    assert!(bench.pending().is_empty(), "it was published under its first place");
    assert_eq!(bench.visible(), ["order 42"]);
}

#[test]
fn a_message_is_carried_forward_until_somebody_decides() {
    let (mut bench, sent) = carried();
    for round in 0..12 {
        bench.advance(4 * DAY);
        bench.roll();
        bench.let_files_go();
        if round % 3 == 0 {
            bench.restart();
        }
        let found = bench.transactions().unresolved(None, 9);
        assert_eq!((found.len(), found[0].state.stored_at, found[0].state.carried_from), (1, NOON, Some(0)));
    }
    assert_eq!(bench.end(sent, Committed).unwrap(), Ended::Decided);
    assert_eq!(bench.visible(), ["order 42"]);
}

#[test]
fn an_idle_broker_appends_nothing_for_what_it_holds() {
    let (mut bench, _) = carried();
    let end = bench.store().watermarks().appended;
    for _ in 0..100 {
        bench.advance(MINUTE);
        bench.check();
        bench.look_after();
    }
    assert_eq!(bench.store().watermarks().appended, end);
}

#[test]
fn a_message_that_was_sent_twice_is_published_once_even_after_one_of_them_was_carried_forward() {
    let mut bench = Bench::started();
    let lost = bench.half("order 42");
    let sent = bench.resend("order 42");
    bench.end(sent, Committed).unwrap();
    bench.index();
    bench.around.set_online(&[]);
    bench.roll();
    bench.look_after();
    bench.expire();
    bench.look_after();
    bench.index();
    assert_eq!(bench.pending(), [2]);
    assert_eq!(bench.answer(lost, Committed).unwrap(), Ended::Repeated);
    assert_eq!((bench.visible().len(), bench.transactions().pending()), (1, 0));
}

#[test]
fn many_messages_are_carried_forward_in_bounded_steps() {
    let mut bench = Bench::started();
    for n in 0..600 {
        bench.half(&n.to_string());
    }
    bench.roll();
    bench.look_after();
    bench.expire();
    let before = bench.store().stats().appended_records;
    assert!(bench.transactions().carry(&*bench.around));
    assert_eq!(bench.store().stats().appended_records, before + 2 * 256);
    bench.look_after();
    bench.expire();
    assert!(bench.store().read(0).is_none());
    assert_eq!(bench.transactions().pending(), 600);
}

#[test]
fn operators_who_want_it_get_what_is_too_old_among_the_exhausted() {
    let mut bench = Bench::started();
    bench.config.apply("transactionGiveUpAfterHours=72").unwrap();
    bench.around.set_online(&[]);
    bench.half("order 42");
    bench.advance(72 * HOUR);
    bench.check();
    assert!(bench.parked().is_empty());
    bench.advance(SECOND);
    bench.check();
    assert_eq!(bench.parked(), ["order 42"]);
}

#[test]
fn a_full_disk_gets_its_space_back_at_once_and_no_undecided_message_is_lost() {
    let fs = Arc::new(FaultyFs::new());
    let mut bench = Bench::new();
    bench.fs = fs.clone();
    bench.start();
    let sent: Vec<_> = (0..20).map(|n| bench.half(&n.to_string())).collect();
    bench.roll();
    bench.look_after();
    fs.fail(Op::Preallocate, io::ErrorKind::StorageFull);
    fill(&bench);
    fs.set_space(Some(Space { total: 100, available: 4 })); // above diskSpaceCleanForciblyRatio: files go whatever their age
    let files = bench.store().stats().segments;
    bench.advance(20 * SECOND);
    bench.store().maintain();
    assert_eq!(bench.store().stats().segments, files, "it waits until the messages are carried forward");
    bench.transactions().carry(&*bench.around);
    assert_eq!(bench.transactions().pending(), 20);
    assert!(bench.end(sent[7], Committed).is_err(), "the log takes no decision either");
    bench.advance(20 * SECOND);
    bench.store().maintain();
    assert!(bench.store().stats().segments < files, "and does not wait for room that only its own removal makes");
    assert!(bench.store().read(0).is_none());
    fs.heal(Op::Preallocate);
    fs.set_space(None);
    while bench.end(sent[7], Committed).is_err() {
        bench.advance(2 * SECOND);
        bench.transactions().carry(&*bench.around);
        std::thread::yield_now();
    }
    bench.look_after();
    bench.kill();
    bench.start();
    assert_eq!(bench.transactions().pending(), 19);
    assert_eq!(bench.end(sent[8], Committed).unwrap(), Ended::Decided);
    assert_eq!(bench.visible(), ["7", "8"]);
}

/// Appends until the log takes nothing any more, not even what settles open work.
fn fill(bench: &Bench) {
    let half = bench.records("RMQ_SYS_TRANS_HALF_TOPIC", 0).remove(0);
    let half = super::super::records::HalfRecord::parse(&half).unwrap();
    let queue = bench.store().queue("noise", 0);
    let mut record = half.committed();
    (record.topic, record.queue_id, record.sys_flag) = ("noise", 0, 0);
    while bench.store().append(&queue, &record, 0, tenonmq_storage::AppendClass::Settle).is_ok() {}
}
