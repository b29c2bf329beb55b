//! Complaints about a checker that floods the log, the producers or itself.

use std::{net::SocketAddr, sync::atomic::Ordering};

use tenonmq_protocol::message::{NewRecord, body_crc};
use tenonmq_storage::AppendClass;

use super::{
    super::{
        SafeOffsets,
        Verdict::*,
        records::{HALF_TOPIC, OP_TAGS_CODE, OpBody},
    },
    bench::*,
};

const HOST: ([u8; 4], u16) = ([127, 0, 0, 1], 10911);

/// What would be saved now.
fn safe_offsets(bench: &Bench) -> SafeOffsets {
    bench.store().flush().unwrap();
    bench.transactions().persist();
    bench.store().flush().unwrap();
    bench.transactions().persist().expect("everything is flushed")
}

/// A record in the half queue that is no half message.
fn append_nonsense(bench: &Bench, properties: &str) {
    let record = NewRecord {
        topic: HALF_TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: SocketAddr::from(HOST),
        store_host: SocketAddr::from(HOST),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"",
        properties: properties.as_bytes(),
        body_crc: body_crc(b""),
    };
    bench.store().append(bench.transactions().half_queue(), &record, 0, AppendClass::Send).unwrap();
}

#[test]
fn thread_1543_undecided_messages_add_nothing_to_the_log_while_nobody_decides() {
    let mut bench = Bench::started();
    for n in 0..200 {
        bench.half(&n.to_string());
    }
    let end = bench.store().watermarks().appended;
    bench.around.set_online(&[]);
    for _ in 0..6 * 60 {
        bench.advance(MINUTE);
        assert_eq!(bench.check(), []);
    }
    bench.around.set_online(&["orders"]);
    bench.around.deaf.store(true, Ordering::Relaxed);
    for _ in 0..6 * 60 {
        bench.advance(MINUTE);
        assert_eq!(bench.check(), []);
        bench.transactions().persist();
    }
    bench.around.deaf.store(false, Ordering::Relaxed);
    bench.config.apply("transactionChecksPerSecondPerGroup=0").unwrap();
    for _ in 0..14 {
        bench.advance(30 * SECOND);
        assert_eq!(bench.check().len(), 200);
    }
    assert_eq!(bench.store().watermarks().appended, end);
    assert_eq!(bench.halves(), 200);
}

#[test]
fn thread_1519_what_could_not_be_asked_is_asked_once_when_it_can() {
    let mut bench = Bench::started();
    let halves: Vec<_> = (0..600).map(|n| bench.half(&n.to_string())).collect();
    bench.around.deaf.store(true, Ordering::Relaxed);
    for _ in 0..100 {
        bench.advance(SECOND);
        assert_eq!(bench.check(), []);
    }
    bench.around.deaf.store(false, Ordering::Relaxed);
    let mut asked = Vec::new();
    loop {
        bench.advance(SECOND);
        let round = bench.check();
        if round.is_empty() {
            break;
        }
        for (offset, _) in &round {
            bench.answer(halves[usize::try_from(*offset).unwrap()], RolledBack).unwrap();
        }
        asked.extend(round);
    }
    asked.sort_unstable();
    assert_eq!(asked, (0..600).map(|offset| (offset, 1)).collect::<Vec<_>>());
}

#[test]
fn thread_9500_records_that_make_no_sense_hold_up_neither_the_checks_nor_the_offsets() {
    let mut bench = Bench::started();
    bench.around.set_online(&["orders", ""]);
    append_nonsense(&bench, "");
    let committed = bench.half("a");
    append_nonsense(&bench, "REAL_QID\x01x\x02PGROUP\x01orders\x02TRANSACTION_CHECK_TIMES\x01many\x02");
    let rolled_back = bench.half("b");
    for _ in 0..6 {
        bench.transactions().persist();
    }
    bench.advance(6 * SECOND);
    let asked = bench.check();
    assert!(asked.contains(&(1, 1)) && asked.contains(&(3, 1)), "{asked:?}");
    bench.answer(committed, Committed).unwrap();
    bench.answer(rolled_back, RolledBack).unwrap();
    for _ in 0..20 {
        bench.advance(30 * SECOND);
        bench.check();
    }
    assert_eq!(bench.transactions().pending(), 0);
    assert_eq!((bench.visible(), bench.parked().len()), (vec!["a".to_owned()], 2));
    assert_eq!(safe_offsets(&bench), SafeOffsets { half: 4, op: 4 });
}

#[test]
fn thread_9500_a_verdict_that_cannot_be_carried_out_holds_up_no_other() {
    let mut bench = Bench::started();
    let halves: Vec<_> = (0..10).map(|n| bench.half(&n.to_string())).collect();
    bench.around.delete_topic("paid");
    bench.advance(6 * SECOND);
    assert_eq!(bench.check().len(), 10);
    for half in &halves[..9] {
        assert!(bench.answer(*half, Committed).is_err());
    }
    bench.answer(halves[9], RolledBack).unwrap();
    bench.advance(30 * SECOND);
    assert_eq!(bench.check(), (0..9).map(|offset| (offset, 2)).collect::<Vec<_>>());
}

#[test]
fn thread_7240_a_batched_op_record_is_not_passed_before_all_that_it_names() {
    let mut bench = Bench::started();
    let halves: Vec<_> = (0..6).map(|n| bench.half(&n.to_string())).collect();
    let op = bench.store().queue("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0);
    let batch = OpBody::of(&[1, 3, 5]); // as Apache's broker writes them
    bench.store().append(&op, &batch.record(SocketAddr::from(HOST), NOON), OP_TAGS_CODE, AppendClass::Settle).unwrap();
    bench.kill();
    bench.forget_own_files();
    bench.start();
    assert_eq!(bench.pending(), [0, 2, 4]);
    assert_eq!(safe_offsets(&bench), SafeOffsets { half: 0, op: 0 });
    bench.end(halves[0], Committed).unwrap();
    let safe = safe_offsets(&bench);
    assert_eq!((safe.half, safe.op), (2, 0), "the batch names 3 and 5");
    bench.kill();
    bench.forget_own_files();
    bench.saved(Some(safe));
    bench.start();
    assert_eq!(bench.pending(), [2, 4]);
    bench.advance(6 * SECOND);
    assert_eq!(bench.check(), [(2, 1), (4, 1)]);
}

#[test]
fn thread_1722_a_delayed_half_message_goes_round_no_circle_while_it_is_undecided() {
    let mut bench = Bench::started();
    bench.half_with("order 42", "DELAY\x013\x02");
    bench.advance(6 * SECOND);
    for attempt in 1..=15 {
        assert_eq!(bench.check(), [(0, attempt)]);
        assert_eq!((bench.halves(), bench.bodies("SCHEDULE_TOPIC_XXXX", 2).len()), (1, 0));
        bench.advance(30 * SECOND);
    }
    assert_eq!(bench.check(), []);
    assert_eq!(bench.parked(), ["order 42"]);
    assert_eq!((bench.halves(), bench.bodies("SCHEDULE_TOPIC_XXXX", 2).len()), (1, 0));
}
