//! When a message with a time of delivery is seen, and what it looks like.

use tenonmq_protocol::{code::RequestCode, message::BatchElement};
use tokio::sync::watch;

use super::*;
use crate::{core::names::HALF_TOPIC, filter::Filter, timer::keep_firing};

#[tokio::test]
async fn thread_8022_a_timer_message_is_visible_at_its_millisecond_and_not_one_before() {
    let (broker, peer) = broker();
    let deliver = (START_MS + 2_345).to_string();
    for wish in [("TIMER_DELAY_MS", "2345"), ("TIMER_DELIVER_MS", &deliver)] {
        assert_eq!(send(&broker, &peer, &[wish]).await.code, 0);
    }
    assert_eq!((step(&broker), delivered(&broker)), (Next::At(START_MS + 2_345), 0));
    broker.advance(2_344 * MILLI);
    assert_eq!((step(&broker), delivered(&broker)), (Next::At(START_MS + 2_345), 0));
    broker.advance(MILLI);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 2));
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 2));
}

#[tokio::test]
async fn mxsm_9154_whole_seconds_are_neither_early_nor_a_second_late() {
    let (broker, peer) = broker();
    assert_eq!(send(&broker, &peer, &[("TIMER_DELAY_SEC", "3")]).await.code, 0);
    broker.advance(3 * SECOND - MILLI);
    assert_eq!((step(&broker), delivered(&broker)), (Next::At(START_MS + 3_000), 0));
    broker.advance(MILLI);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 1));
}

#[tokio::test]
async fn the_first_of_seconds_milliseconds_and_time_counts_and_a_level_before_all_of_them() {
    let (broker, peer) = broker();
    let deliver = (START_MS + 9_000).to_string();
    let (sec, ms, at) = (("TIMER_DELAY_SEC", "1"), ("TIMER_DELAY_MS", "5000"), ("TIMER_DELIVER_MS", &*deliver));
    send(&broker, &peer, &[at, ms, sec]).await;
    assert_eq!(step(&broker), Next::At(START_MS + 1_000));
    broker.advance(SECOND);
    assert_eq!(step(&broker), Next::Idle);
    send(&broker, &peer, &[at, ms]).await;
    assert_eq!(step(&broker), Next::At(START_MS + 6_000));
    assert_eq!(send(&broker, &peer, &[("DELAY", "1"), at, ms, sec]).await.code, 0);
    assert_eq!(records(&broker, "SCHEDULE_TOPIC_XXXX", 0).len(), 1);
}

#[tokio::test]
async fn thread_5646_a_time_in_the_past_is_visible_at_once_and_has_no_handle() {
    let (broker, peer) = broker();
    let past = (START_MS - 1).to_string();
    for wish in [("TIMER_DELIVER_MS", &*past), ("TIMER_DELAY_MS", "0"), ("TIMER_DELAY_SEC", "-5")] {
        let answer = send(&broker, &peer, &[wish]).await;
        assert_eq!((answer.code, handle(&answer)), (0, None));
    }
    assert_eq!((delivered(&broker), waiting(&broker).len()), (3, 0));
}

#[tokio::test]
async fn thread_2289_a_time_beyond_the_limit_is_refused_and_the_limit_can_be_forty_days() {
    let (broker, peer) = broker();
    let limit = 259_200_000_i64;
    assert_eq!(send(&broker, &peer, &[("TIMER_DELAY_MS", &limit.to_string())]).await.code, 0);
    let refused = send(&broker, &peer, &[("TIMER_DELAY_MS", &(limit + 1).to_string())]).await;
    assert_eq!(refused.code, 13);
    let remark = refused.remark.unwrap();
    assert!(remark.contains("259200000ms") && remark.contains("TIMER_DELAY_MS is \"259200001\""), "{remark}");
    broker.core.config.apply("timerMaxDelaySec=3456000").unwrap();
    assert_eq!(send(&broker, &peer, &[("TIMER_DELAY_SEC", "3456000")]).await.code, 0);
    step(&broker);
    assert_eq!(pending(&broker), 2);
    let broker = broker.crashed();
    broker.advance(40 * 24 * 3600 * SECOND - MILLI);
    step(&broker);
    assert_eq!(delivered(&broker), 1);
    broker.advance(MILLI);
    step(&broker);
    assert_eq!(delivered(&broker), 2);
}

#[tokio::test]
async fn a_wish_that_is_no_number_is_refused_and_nothing_is_stored() {
    let (broker, peer) = broker();
    for name in ["TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"] {
        let refused = send(&broker, &peer, &[(name, "soon")]).await;
        let remark = refused.remark.unwrap();
        assert!(refused.code == 13 && remark.contains(&format!("{name} is \"soon\"")), "{remark}");
    }
    assert_eq!((delivered(&broker), waiting(&broker).len()), (0, 0));
    assert_eq!(send(&broker, &peer, &[("TIMER_DELAY_SEC", &i64::MAX.to_string())]).await.code, 13);
}

#[tokio::test]
async fn thread_5207_without_a_timer_a_time_is_refused_instead_of_being_ignored() {
    let broker = TestBroker::with(&[("timerWheelEnable", "false")]);
    broker.topic("orders", 2);
    let peer = Peer::new(1);
    let refused = send(&broker, &peer, &[("TIMER_DELAY_SEC", "1")]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.remark.unwrap().contains("timerWheelEnable"));
    assert_eq!(send(&broker, &peer, &[]).await.code, 0);
}

#[tokio::test]
async fn a_message_is_stored_as_apache_stores_it_and_its_copy_keeps_what_the_sender_gave() {
    let (broker, peer) = broker();
    send(&broker, &peer, &[("TAGS", "a"), ("KEYS", "k1"), ("UNIQ_KEY", "FD01"), ("TIMER_DELAY_MS", "1500")]).await;
    let stored = waiting(&broker);
    let stored = RecordView::parse(&stored[0]).unwrap();
    let out = START_MS + 1_000;
    assert_eq!((stored.topic(), stored.queue_id()), (TIMER_TOPIC, 0));
    assert_eq!(property(&stored, "TIMER_OUT_MS"), Some(&*out.to_string()));
    assert_eq!((property(&stored, "REAL_TOPIC"), property(&stored, "REAL_QID")), (Some("orders"), Some("1")));
    broker.advance(1_500 * MILLI);
    step(&broker);
    let copies = records(&broker, "orders", 1);
    let copy = RecordView::parse(&copies[0]).unwrap();
    assert_eq!((copy.body(), copy.born_timestamp()), (&b"order 42"[..], START_MS - 7));
    let stamps = [("TIMER_ENQUEUE_MS", START_MS.to_string()), ("TIMER_DEQUEUE_MS", (START_MS + 1_500).to_string())];
    for (name, value) in stamps {
        assert_eq!(property(&copy, name), Some(&*value));
    }
    for name in ["TAGS", "KEYS", "UNIQ_KEY", "TIMER_DELAY_MS", "TIMER_OUT_MS", "REAL_TOPIC", "REAL_QID"] {
        assert_eq!(property(&copy, name), property(&stored, name), "{name}");
    }
    let entry = broker.core.store.find_queue("orders", 1).unwrap().entry(0).unwrap();
    assert_eq!(entry.tags_code, i64::from(b'a'), "consumers filter by the tag");
}

#[tokio::test]
async fn thread_6533_a_burst_in_one_second_is_delivered_in_order_and_whole() {
    let (broker, peer) = broker();
    for n in 0..5_000_i64 {
        timed(&broker, &peer, &n.to_string(), 3_000 - n % 7).await;
    }
    broker.advance(3 * SECOND);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 5_000));
    let mut expected: Vec<i64> = (0..5_000).collect();
    expected.sort_by_key(|n| (3_000 - n % 7, *n));
    assert_eq!(keys(&broker), expected.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[tokio::test]
async fn thread_6566_a_turn_is_bounded_so_that_others_have_theirs() {
    let (broker, peer) = broker();
    for n in 0..5_000 {
        timed(&broker, &peer, &n.to_string(), 1_000).await;
    }
    broker.advance(SECOND);
    let mut scheduler = Scheduler::new(Arc::clone(&broker.core));
    let mut turns = 0;
    while scheduler.step() == Next::Now {
        turns += 1;
        send(&broker, &peer, &[("UNIQ_KEY", "between")]).await;
    }
    assert!(turns >= 2);
    assert_eq!(delivered(&broker), 5_000 + turns);
}

#[tokio::test]
async fn apis_83_a_delay_counts_from_the_broker_s_clock_whatever_the_client_s_says() {
    let (broker, peer) = broker();
    let body = Command::with_header(&SendMessage {
        born_timestamp: START_MS - 3_600_000, // an hour slow
        ..message("TIMER_DELAY_MS\u{1}700\u{2}")
    });
    assert_eq!(broker.call(&peer, body.with_body("order")).await.code, 0);
    assert_eq!(step(&broker), Next::At(START_MS + 700));
}

#[tokio::test]
async fn a_waiting_pull_is_woken_by_the_delivery_and_the_sleeping_scheduler_by_a_send() {
    let (broker, peer) = broker();
    let (stop, stopped) = watch::channel(false);
    let firing = tokio::spawn(keep_firing(Arc::clone(&broker.core), stopped));
    let queue = broker.core.store.queue("orders", 1);
    let waits = broker.core.waiters.register(&queue, 0, Filter::ALL);
    timed(&broker, &peer, "FD01", 300).await;
    let mut woken = Box::pin(waits);
    for _ in 0..1_000 {
        if futures_util::poll!(woken.as_mut()).is_ready() {
            break;
        }
        broker.advance(MILLI);
        tokio::task::yield_now().await;
        tokio::time::sleep(MILLI).await; // lets the scheduler's own thread work
    }
    assert_eq!(delivered(&broker), 1);
    stop.send(true).unwrap();
    firing.await.unwrap();
}

#[tokio::test]
async fn a_batch_has_no_time_of_delivery() {
    let (broker, peer) = broker();
    let mut body = Vec::new();
    BatchElement { flag: 0, body: b"one", properties: b"" }.encode_into(&mut body).unwrap();
    let header = SendMessage { batch: true, ..message("TIMER_DELAY_SEC\u{1}1\u{2}") };
    let mut command = Command::with_header(&header).with_body(body);
    command.code = RequestCode::SEND_BATCH_MESSAGE.0;
    assert_eq!(broker.call(&peer, command).await.code, 13);
    assert_eq!(delivered(&broker), 0);
}

fn commit(half_offset: i64) -> Command {
    Command::request(RequestCode::END_TRANSACTION)
        .with_field("producerGroup", "shop")
        .with_field("tranStateTableOffset", 0)
        .with_field("commitLogOffset", half_offset)
        .with_field("commitOrRollback", 8)
        .with_field("fromTransactionCheck", false)
        .with_field("msgId", "FD01")
}

#[tokio::test]
async fn thread_546_the_delay_of_a_transactional_message_begins_with_its_commit_and_happens_once() {
    let (broker, peer) = broker();
    let half = [("TRAN_MSG", "true"), ("PGROUP", "shop"), ("UNIQ_KEY", "FD01"), ("TIMER_DELAY_MS", "1500")];
    let answer = send(&broker, &peer, &half).await;
    assert_eq!((answer.code, handle(&answer)), (0, None));
    let offset = RecordView::parse(&records(&broker, HALF_TOPIC, 0)[0]).unwrap().physical_offset();
    broker.advance(2 * SECOND);
    assert_eq!((step(&broker), waiting(&broker).len()), (Next::Idle, 0));
    assert_eq!(broker.call(&peer, commit(offset)).await.code, 0);
    assert_eq!((step(&broker), delivered(&broker)), (Next::At(START_MS + 3_500), 0));
    let stored = waiting(&broker);
    let stored = RecordView::parse(&stored[0]).unwrap();
    assert_eq!((stored.sys_flag().0, stored.prepared_transaction_offset()), (8, offset));
    assert_eq!((property(&stored, "TRAN_MSG"), property(&stored, "REAL_TOPIC")), (None, Some("orders")));
    assert_eq!(broker.call(&peer, commit(offset)).await.code, 0, "a repeat succeeds");
    let broker = broker.crashed();
    assert_eq!(broker.call(&peer, commit(offset)).await.code, 0, "after a crash too");
    assert_eq!(waiting(&broker).len(), 1);
    broker.advance(1_500 * MILLI);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 1));
    assert_eq!(broker.crashed().core.transactions.pending(), 0);
}

#[tokio::test]
async fn a_transactional_message_whose_time_has_passed_is_visible_at_its_commit() {
    let (broker, peer) = broker();
    let deliver = (START_MS + 1_500).to_string();
    let half = [("TRAN_MSG", "true"), ("PGROUP", "shop"), ("UNIQ_KEY", "FD01"), ("TIMER_DELIVER_MS", &deliver)];
    assert_eq!(send(&broker, &peer, &half).await.code, 0);
    let offset = RecordView::parse(&records(&broker, HALF_TOPIC, 0)[0]).unwrap().physical_offset();
    broker.advance(2 * SECOND);
    assert_eq!(broker.call(&peer, commit(offset)).await.code, 0);
    assert_eq!((delivered(&broker), waiting(&broker).len()), (1, 0));
}

#[tokio::test]
async fn thread_6356_beyond_the_range_of_apache_s_wheel_a_timer_comes_at_its_millisecond_and_once() {
    let (broker, peer) = broker();
    broker.core.config.apply("timerMaxDelaySec=3456000").unwrap();
    let day = 24 * 3_600_000_i64;
    let wheel = 7 * day; // seconds of seven days are what the wheel has slots for
    for (key, delay) in [("a", wheel - 1), ("b", wheel), ("c", 2 * wheel + 1), ("d", 40 * day)] {
        timed(&broker, &peer, key, delay).await;
    }
    let mut broker = broker;
    for (n, delay) in [wheel - 1, wheel, 2 * wheel + 1, 40 * day].into_iter().enumerate() {
        let left = START_MS + delay - broker.core.clock.now_ms();
        broker.advance(Duration::from_millis((left - 1).unsigned_abs()));
        step(&broker);
        assert_eq!(delivered(&broker), n);
        broker.advance(MILLI);
        step(&broker);
        assert_eq!(delivered(&broker), n + 1);
        broker = broker.crashed();
    }
}

#[tokio::test]
async fn thread_1540_a_delayed_transaction_leaves_the_half_topic_once_and_is_not_checked_again() {
    let (broker, peer) = broker();
    for wish in [("TIMER_DELAY_SEC", "2"), ("DELAY", "1")] {
        let half = [("TRAN_MSG", "true"), ("PGROUP", "shop"), ("UNIQ_KEY", "FD01"), wish];
        assert_eq!(send(&broker, &peer, &half).await.code, 0);
    }
    let halves = records(&broker, HALF_TOPIC, 0);
    assert_eq!((halves.len(), waiting(&broker).len(), records(&broker, "SCHEDULE_TOPIC_XXXX", 0).len()), (2, 0, 0));
    for (queue_offset, half) in halves.iter().enumerate() {
        let offset = RecordView::parse(half).unwrap().physical_offset();
        let commit = commit(offset).with_field("tranStateTableOffset", queue_offset);
        assert_eq!(broker.call(&peer, commit).await.code, 0);
    }
    assert!(broker.core.transactions.unresolved(None, 10).is_empty());
    broker.advance(10 * SECOND);
    step(&broker);
    assert_eq!((delivered(&broker), records(&broker, HALF_TOPIC, 0).len()), (1, 2));
}

#[tokio::test]
async fn rabbitmq_178_a_timer_is_confirmed_like_any_message_and_only_when_it_is_in_the_log() {
    let (broker, peer) = broker();
    let answer = send(&broker, &peer, &[("UNIQ_KEY", "FD01"), ("TIMER_DELAY_MS", "5000")]).await;
    let receipt = answer.response_header::<SendReceipt<'_>>().unwrap();
    assert_eq!((answer.code, receipt.queue_id, receipt.queue_offset), (0, 1, 0));
    let id = receipt.message_id.to_owned();
    let stored = waiting(&broker);
    let stored = RecordView::parse(&stored[0]).unwrap();
    assert!(id.ends_with(&format!("{:016X}", stored.physical_offset())), "{id}");
    broker.core.store.set_permit(tenonmq_storage::Permit { role: tenonmq_storage::Role::Slave, epoch: 1 });
    assert_ne!(send(&broker, &peer, &[("TIMER_DELAY_MS", "5000")]).await.code, 0);
    assert_eq!(waiting(&broker).len(), 1);
}

#[tokio::test]
async fn more_timers_than_may_wait_are_refused_and_taking_back_goes_on() {
    let (broker, peer) = broker();
    broker.core.config.apply("timerPendingMax=2").unwrap();
    let handle = timed(&broker, &peer, "FD01", 1_000).await;
    timed(&broker, &peer, "FD02", 2_000).await;
    let refused = send(&broker, &peer, &[("TIMER_DELAY_MS", "1000")]).await;
    assert!(refused.code == 1 && refused.remark.unwrap().contains("timerPendingMax"));
    let asked = tenonmq_protocol::header::RecallMessage {
        producer_group: None,
        topic: "orders",
        recall_handle: &handle,
        broker_name: None,
    };
    assert_eq!(broker.ask(&peer, &asked).await.code, 0);
    broker.advance(3 * SECOND);
    step(&broker);
    timed(&broker, &peer, "FD03", 1_000).await;
    assert_eq!(keys(&broker), ["FD02"]);
}
