//! Delayed messages against a broker without sockets, whose time the test moves.

use std::{fs, sync::Arc, time::Duration};

use bytes::Bytes;
use tenonmq_protocol::{
    Command,
    code::RequestCode,
    header::{SendMessage, SendReceipt},
    message::{Assigned, RecordView, properties::find},
};
use tokio::sync::watch;

use super::{
    delivery::Delayed,
    scheduler::{Next, Turn},
    *,
};
use crate::{
    core::names::{HALF_TOPIC, SCHEDULE_TOPIC},
    filter::Filter,
    remoting::testing::{Peer, START_MS, TestBroker},
};

const SECOND: Duration = Duration::from_secs(1);

fn broker() -> (TestBroker, Peer) {
    let broker = TestBroker::new();
    broker.topic("orders", 2);
    (broker, Peer::new(1))
}

fn message(properties: &str) -> SendMessage<'_> {
    SendMessage {
        producer_group: "shop",
        topic: "orders",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 1,
        born_timestamp: START_MS - 7,
        properties,
        ..SendMessage::default()
    }
}

async fn send(broker: &TestBroker, peer: &Peer, properties: &str) -> Command {
    broker.call(peer, Command::with_header(&message(properties)).with_body("order 42")).await
}

async fn delayed(broker: &TestBroker, peer: &Peer, level: i32) {
    let answer = send(broker, peer, &format!("DELAY\u{1}{level}\u{2}TAGS\u{1}a\u{2}")).await;
    assert_eq!((answer.code, answer.remark), (0, None));
}

fn records(broker: &TestBroker, topic: &str, queue_id: i32) -> Vec<Bytes> {
    let Some(queue) = broker.core.store.find_queue(topic, queue_id) else { return Vec::new() };
    queue.entries(queue.min_offset()).map(|at| broker.core.store.read_entry(&at.entry).unwrap()).collect()
}

fn delivered(broker: &TestBroker) -> usize {
    records(broker, "orders", 1).len()
}

fn step(broker: &TestBroker) -> Next {
    let mut scheduler = Scheduler::new(Arc::clone(&broker.core));
    loop {
        match scheduler.step() {
            Next::Now => {}
            next => return next,
        }
    }
}

fn property<'a>(record: &RecordView<'a>, name: &str) -> Option<&'a str> {
    find(record.properties_text(), name)
}

#[tokio::test]
async fn a_message_with_a_delay_level_is_visible_when_its_time_has_come_and_not_a_millisecond_before() {
    let (broker, peer) = broker();
    delayed(&broker, &peer, 2).await;
    assert_eq!((step(&broker), delivered(&broker)), (Next::At(START_MS + 5_000), 0));
    broker.advance(5 * SECOND - Duration::from_millis(1));
    assert_eq!((step(&broker), delivered(&broker)), (Next::At(START_MS + 5_000), 0));
    broker.advance(Duration::from_millis(1));
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 1));
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 1));
}

#[tokio::test]
async fn the_sender_is_told_the_real_queue_and_the_place_where_the_message_waits() {
    let (broker, peer) = broker();
    delayed(&broker, &peer, 3).await;
    let answer = send(&broker, &peer, "DELAY\u{1}3\u{2}").await;
    let receipt = answer.response_header::<SendReceipt<'_>>().unwrap();
    assert_eq!((receipt.queue_id, receipt.queue_offset), (1, 1));
    let waiting = &records(&broker, SCHEDULE_TOPIC, 2)[1];
    assert_eq!(RecordView::parse(waiting).unwrap().message_id().to_string(), receipt.message_id);
}

#[tokio::test]
async fn a_level_beyond_the_highest_is_the_highest() {
    let (broker, peer) = broker();
    delayed(&broker, &peer, 99).await;
    assert_eq!(step(&broker), Next::At(START_MS + 7_200_000));
    let waiting = &records(&broker, SCHEDULE_TOPIC, 17)[0];
    assert_eq!(property(&RecordView::parse(waiting).unwrap(), "DELAY"), Some("18"));
}

#[tokio::test]
async fn the_visible_copy_keeps_what_the_sender_gave() {
    let (broker, peer) = broker();
    let text = "DELAY\u{1}1\u{2}TAGS\u{1}a\u{2}TIMER_DELAY_SEC\u{1}60\u{2}UNIQ_KEY\u{1}FD01\u{2}";
    assert_eq!(send(&broker, &peer, text).await.code, 0);
    broker.advance(SECOND);
    step(&broker);
    let copies = records(&broker, "orders", 1);
    let copy = RecordView::parse(&copies[0]).unwrap();
    let waiting = records(&broker, SCHEDULE_TOPIC, 0);
    let waiting = RecordView::parse(&waiting[0]).unwrap();
    assert_eq!((copy.topic(), copy.queue_id(), copy.body()), ("orders", 1, &b"order 42"[..]));
    assert_eq!((copy.born_timestamp(), copy.store_timestamp()), (START_MS - 7, START_MS + 1_000));
    assert_eq!(copy.properties_text(), waiting.properties_text());
    assert_eq!((property(&copy, "REAL_TOPIC"), property(&copy, "REAL_QID")), (Some("orders"), Some("1")));
    assert_eq!((property(&copy, "DELAY"), property(&copy, "TIMER_DELAY_SEC")), (Some("1"), None));
    let entry = broker.core.store.find_queue("orders", 1).unwrap().entry(0).unwrap();
    assert_eq!(entry.tags_code, i64::from(b'a'), "consumers filter by the tag");
}

#[tokio::test]
async fn levels_do_not_wait_for_each_other() {
    let (broker, peer) = broker();
    for level in [5, 2, 1, 3] {
        delayed(&broker, &peer, level).await;
    }
    for (at_s, expected, next) in [(1, 1, 5_000), (5, 2, 10_000), (10, 3, 60_000)] {
        let now_s = (broker.core.clock.now_ms() - START_MS) / 1_000;
        broker.advance(Duration::from_secs(at_s - now_s.unsigned_abs()));
        assert_eq!((step(&broker), delivered(&broker)), (Next::At(START_MS + next), expected));
    }
}

#[tokio::test]
async fn more_messages_than_one_turn_takes_are_all_delivered() {
    let (broker, peer) = broker();
    for _ in 0..600 {
        delayed(&broker, &peer, 1).await;
    }
    broker.advance(SECOND);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 600));
}

#[tokio::test]
async fn no_message_waits_longer_than_its_level_though_it_was_stored_under_a_clock_that_was_ahead() {
    let (broker, _) = broker();
    let text = "DELAY\u{1}1\u{2}REAL_TOPIC\u{1}orders\u{2}REAL_QID\u{1}1\u{2}";
    broker.store_with(SCHEDULE_TOPIC, 0, b"x", text, 3_600_000);
    let mut scheduler = Scheduler::new(Arc::clone(&broker.core));
    assert_eq!(scheduler.step(), Next::At(START_MS + 1_000));
    broker.advance(SECOND);
    assert_eq!((scheduler.step(), delivered(&broker)), (Next::Idle, 1));
}

#[tokio::test]
async fn a_message_that_is_stored_while_a_turn_goes_on_keeps_its_time() {
    let (broker, peer) = broker();
    let began = broker.core.clock.now_ms();
    broker.advance(SECOND); // the turn has lost the processor
    delayed(&broker, &peer, 2).await;
    let level = &broker.core.delays.levels[1];
    let entry = level.queue.entry(0).unwrap();
    assert_eq!(Turn::default().due(&broker.core, level, 0, &entry, began), began + 1_000 + 5_000);
}

#[tokio::test]
async fn a_delayed_message_for_the_half_topic_is_left_out() {
    let (broker, peer) = broker();
    let waiting = broker.core.store.queue(SCHEDULE_TOPIC, 0);
    let text = format!("DELAY\u{1}1\u{2}REAL_TOPIC\u{1}{HALF_TOPIC}\u{2}REAL_QID\u{1}0\u{2}");
    broker.store_with(SCHEDULE_TOPIC, 0, b"x", &text, 1_000);
    delayed(&broker, &peer, 1).await;
    broker.advance(SECOND);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 1));
    assert_eq!(waiting.max_offset(), 2);
    assert_eq!(records(&broker, HALF_TOPIC, 0).len(), 0);
}

#[tokio::test]
async fn the_scheduler_sleeps_until_a_message_is_due_and_wakes_for_one_that_comes_meanwhile() {
    let (broker, peer) = broker();
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(keep_delivering(Arc::clone(&broker.core), stopped));
    let queue = broker.core.store.queue("orders", 1);
    delayed(&broker, &peer, 4).await;
    for (level, expected) in [(2, 1), (1, 2)] {
        delayed(&broker, &peer, level).await;
        let arrival = broker.core.waiters.register(&queue, expected - 1, Filter::ALL);
        assert_eq!(queue.max_offset(), expected - 1);
        broker.advance(5 * SECOND);
        arrival.await;
        assert_eq!(queue.max_offset(), expected);
    }
    stop.send_replace(true);
    running.await.unwrap();
}

#[tokio::test]
async fn what_was_delivered_before_a_stop_is_not_delivered_after_it() {
    let (broker, peer) = broker();
    delayed(&broker, &peer, 1).await;
    delayed(&broker, &peer, 2).await;
    broker.advance(SECOND);
    step(&broker);
    let broker = broker.restarted();
    assert_eq!((step(&broker), delivered(&broker)), (Next::At(START_MS + 5_000), 1));
    broker.advance(10 * SECOND);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 2));
}

#[tokio::test]
async fn what_was_delivered_before_a_crash_is_found_in_its_real_queue() {
    let (broker, peer) = broker();
    for level in [1, 1, 2, 3] {
        delayed(&broker, &peer, level).await;
    }
    broker.advance(5 * SECOND);
    step(&broker);
    assert_eq!(delivered(&broker), 3);
    delayed(&broker, &peer, 1).await;
    let broker = broker.crashed();
    broker.advance(SECOND);
    assert_eq!(step(&broker), Next::At(START_MS + 10_000));
    assert_eq!(delivered(&broker), 4, "three found, one due since");
}

#[tokio::test]
async fn a_message_that_was_due_but_not_delivered_before_a_crash_is_delivered_after_it() {
    let (broker, peer) = broker();
    delayed(&broker, &peer, 1).await;
    broker.advance(60 * SECOND);
    let broker = broker.crashed();
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 1));
}

#[tokio::test]
async fn of_messages_that_are_alike_one_that_was_delivered_before_the_crash_stands_for_no_other() {
    let (broker, peer) = broker();
    for _ in 0..257 {
        delayed(&broker, &peer, 1).await;
    }
    broker.advance(SECOND);
    assert_eq!(Scheduler::new(Arc::clone(&broker.core)).step(), Next::Now);
    assert_eq!(delivered(&broker), 256, "a turn");
    broker.core.delays.save(&broker.core.store, broker.core.clock.now_ms()).unwrap();
    let broker = broker.crashed();
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 257));
    let broker = broker.crashed();
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 257));
}

#[tokio::test]
async fn a_copy_of_a_message_that_came_later_is_not_taken_for_one_of_a_message_that_was_delivered_before_the_saving() {
    let (broker, peer) = broker();
    for _ in 0..2 {
        delayed(&broker, &peer, 1).await;
        broker.advance(SECOND);
        step(&broker);
        broker.core.delays.save(&broker.core.store, broker.core.clock.now_ms()).unwrap();
    }
    for _ in 0..2 {
        delayed(&broker, &peer, 1).await;
        broker.advance(SECOND);
        step(&broker);
    }
    let broker = broker.crashed();
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 4));
}

#[tokio::test]
async fn where_the_log_ended_is_found_whichever_of_two_tables_a_crash_leaves_and_missed_by_nobody() {
    for (file, expected) in [("delayOffset.json.bak", 4), ("delayOffset.json", 4)] {
        let (broker, peer) = broker();
        for saves in [true, true, false, false] {
            delayed(&broker, &peer, 1).await;
            broker.advance(SECOND);
            step(&broker);
            if saves {
                broker.core.delays.save(&broker.core.store, broker.core.clock.now_ms()).unwrap();
            }
        }
        let config = broker.folder().join("config");
        let broker = broker.crashed_after(|| {
            let content = fs::read(config.join(file)).unwrap();
            fs::write(config.join("delayOffset.json"), content).unwrap();
        });
        assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, expected), "{file}");
    }
    let (broker, peer) = broker();
    delayed(&broker, &peer, 1).await;
    broker.advance(SECOND);
    step(&broker);
    broker.core.delays.save(&broker.core.store, broker.core.clock.now_ms()).unwrap();
    delayed(&broker, &peer, 1).await;
    let own = broker.folder().join("tenonmq/delay-ends");
    let broker = broker.crashed_after(|| fs::write(own, "[{").unwrap());
    broker.advance(SECOND);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 2), "a damaged file says nothing");
}

#[tokio::test]
async fn how_far_the_levels_are_is_saved_as_apache_does() {
    let (broker, peer) = broker();
    delayed(&broker, &peer, 1).await;
    delayed(&broker, &peer, 18).await;
    broker.advance(SECOND);
    step(&broker);
    broker.core.delays.save(&broker.core.store, broker.core.clock.now_ms()).unwrap();
    let saved = fs::read_to_string(broker.folder().join("config/delayOffset.json")).unwrap();
    let saved: String = saved.split_whitespace().collect();
    assert_eq!(
        saved,
        "{\"dataVersion\":{\"counter\":0,\"stateVersion\":0,\"timestamp\":0},\"offsetTable\":{1:1,18:0}}"
    );
}

#[tokio::test]
async fn how_far_the_levels_are_is_not_saved_before_what_was_delivered_is_on_the_disk() {
    let (broker, peer) = broker();
    delayed(&broker, &peer, 1).await;
    broker.advance(SECOND);
    step(&broker);
    let delivered = broker.core.store.watermarks();
    assert!(delivered.flushed < delivered.appended, "nothing has flushed the log yet: {delivered:?}");
    broker.core.delays.save(&broker.core.store, broker.core.clock.now_ms()).unwrap();
    assert!(broker.core.store.watermarks().flushed >= delivered.appended);
}

#[tokio::test]
async fn the_version_of_the_offsets_takes_a_step_every_two_hundred_deliveries() {
    let (broker, peer) = broker();
    for _ in 0..401 {
        delayed(&broker, &peer, 1).await;
    }
    broker.advance(SECOND);
    step(&broker);
    let version = broker.core.delays.body(START_MS + 9).data_version;
    assert_eq!((version.counter, version.timestamp), (2, START_MS + 9));
}

#[tokio::test]
async fn saved_offsets_outside_the_queue_are_moved_into_it() {
    let (broker, peer) = broker();
    delayed(&broker, &peer, 1).await;
    broker.advance(SECOND);
    step(&broker);
    let folder = broker.folder().join("config/delayOffset.json");
    let broker = broker.restarted_after(|| {
        let text =
            "{\"dataVersion\":{\"counter\":5,\"stateVersion\":0,\"timestamp\":1},\"offsetTable\":{1:17,2:-4,77:3}}";
        fs::write(folder, text).unwrap();
    });
    let body = broker.core.delays.body(START_MS);
    assert_eq!(body.offset_table.into_iter().collect::<Vec<_>>(), [(1, 1), (77, 3)]);
    assert_eq!(body.data_version.counter, 5);
    delayed(&broker, &peer, 1).await;
    broker.advance(2 * SECOND);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 2));
}

#[tokio::test]
async fn a_message_that_asks_for_a_time_is_refused_when_timers_are_switched_off() {
    let broker = TestBroker::with(&[("timerWheelEnable", "false")]);
    broker.topic("orders", 2);
    let peer = Peer::new(1);
    let later = START_MS + 60_000;
    for text in [
        "TIMER_DELAY_SEC\u{1}60\u{2}".to_owned(),
        "TIMER_DELAY_MS\u{1}60000\u{2}".to_owned(),
        format!("TIMER_DELIVER_MS\u{1}{later}\u{2}"),
        format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}shop\u{2}TIMER_DELIVER_MS\u{1}{later}\u{2}"),
    ] {
        let answer = send(&broker, &peer, &text).await;
        let remark = "accurate timer message is not enabled, timerWheelEnable is false";
        assert_eq!((answer.code, answer.remark.as_deref()), (1, Some(remark)), "{text:?}");
    }
    assert_eq!(broker.core.store.watermarks().appended, 0);
}

#[tokio::test]
async fn a_message_whose_time_has_passed_is_an_ordinary_one() {
    let (broker, peer) = broker();
    for text in [format!("TIMER_DELIVER_MS\u{1}{START_MS}\u{2}"), "TIMER_DELAY_SEC\u{1}0\u{2}".to_owned()] {
        assert_eq!(send(&broker, &peer, &text).await.code, 0, "{text:?}");
    }
    assert_eq!(delivered(&broker), 2);
}

#[tokio::test]
async fn a_time_or_level_that_makes_no_sense_is_refused() {
    let (broker, peer) = broker();
    for (text, code) in [
        ("TIMER_DELAY_SEC\u{1}soon\u{2}", 13),
        ("TIMER_DELAY_SEC\u{1}259201\u{2}", 13),
        ("TIMER_DELIVER_MS\u{1}1\u{2}TIMER_DEL_UNIQKEY\u{1}x\u{2}", 13),
        ("DELAY\u{1}soon\u{2}", 1),
    ] {
        assert_eq!(send(&broker, &peer, text).await.code, code, "{text:?}");
    }
    for text in ["DELAY\u{1}0\u{2}", "DELAY\u{1}-1\u{2}"] {
        assert_eq!(send(&broker, &peer, text).await.code, 0, "{text:?}");
    }
    assert_eq!(delivered(&broker), 2);
}

fn commit(log_offset: i64) -> Command {
    Command::request(RequestCode::END_TRANSACTION)
        .with_field("producerGroup", "shop")
        .with_field("tranStateTableOffset", 0)
        .with_field("commitLogOffset", log_offset)
        .with_field("commitOrRollback", 8)
        .with_field("fromTransactionCheck", false)
        .with_field("msgId", "FD01")
}

#[tokio::test]
async fn a_repeated_commit_of_a_delayed_message_succeeds_and_adds_nothing_whatever_happened_in_between() {
    let (broker, peer) = broker();
    let text = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}shop\u{2}UNIQ_KEY\u{1}FD01\u{2}DELAY\u{1}1\u{2}";
    assert_eq!(send(&broker, &peer, text).await.code, 0);
    assert_eq!(broker.call(&peer, commit(0)).await.code, 0);
    let broker = broker.restarted();
    assert_eq!(broker.call(&peer, commit(0)).await.code, 0);
    let broker = broker.crashed();
    assert_eq!(broker.call(&peer, commit(0)).await.code, 0);
    broker.advance(SECOND);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 1));
    let broker = broker.crashed();
    assert_eq!(broker.call(&peer, commit(0)).await.code, 0);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 1));
}

#[tokio::test]
async fn thread_9923_the_delay_of_a_transactional_message_begins_when_it_is_committed() {
    let (broker, peer) = broker();
    let text = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}shop\u{2}UNIQ_KEY\u{1}FD01\u{2}DELAY\u{1}1\u{2}";
    assert_eq!(send(&broker, &peer, text).await.code, 0);
    let half = &records(&broker, HALF_TOPIC, 0)[0];
    let half_offset = RecordView::parse(half).unwrap().physical_offset();
    broker.advance(2 * SECOND);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 0));
    assert_eq!(broker.call(&peer, commit(half_offset)).await.code, 0);
    assert_eq!((step(&broker), delivered(&broker)), (Next::At(START_MS + 3_000), 0));
    let waiting = records(&broker, SCHEDULE_TOPIC, 0);
    let waiting = RecordView::parse(&waiting[0]).unwrap();
    assert_eq!((waiting.sys_flag().0, waiting.prepared_transaction_offset()), (8, half_offset));
    assert_eq!((property(&waiting, "TRAN_MSG"), property(&waiting, "REAL_TOPIC")), (None, Some("orders")));
    broker.advance(SECOND);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 1));
}

#[tokio::test]
async fn a_retried_copy_of_a_committed_message_does_not_decide_the_first_half_message_of_the_log() {
    let (broker, peer) = broker();
    let half = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}shop\u{2}UNIQ_KEY\u{1}FD01\u{2}";
    assert_eq!(send(&broker, &peer, half).await.code, 0);
    let other = Command::with_header(&SendMessage { sys_flag: 8, ..message("UNIQ_KEY\u{1}FD02\u{2}") });
    assert_eq!(broker.call(&peer, other.with_body("other")).await.code, 0);
    assert_eq!(broker.core.transactions.pending(), 1);
    assert_eq!(broker.crashed().core.transactions.pending(), 1);
}

/// The record that Apache wrote at a log offset of the `clean` directory.
fn golden(offset: usize) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store/clean/data/commitlog");
    let file = fs::read(format!("{folder}/{:020}", offset / 131_072 * 131_072)).unwrap();
    RecordView::parse(&file[offset % 131_072..]).unwrap().bytes().to_vec()
}

#[test]
fn a_delivered_message_is_byte_for_byte_what_apache_stores() {
    for (waiting, delivered) in [(256_731, 276_937), (274_086, 277_242), (271_579, 279_272)] {
        let (waiting, delivered) = (golden(waiting), golden(delivered));
        let like = RecordView::parse(&delivered).unwrap();
        let delayed = Delayed::of(RecordView::parse(&waiting).unwrap()).unwrap();
        let record = delayed.record();
        let at = Assigned {
            queue_offset: like.queue_offset(),
            physical_offset: like.physical_offset(),
            store_timestamp: like.store_timestamp(),
        };
        let mut bytes = vec![0; record.encoded_len()];
        record.encode(&mut bytes, at);
        assert_eq!(bytes, delivered);
    }
}
