//! Taking timers back.

use tenonmq_protocol::{
    body::timer_desk::{ListTimers, RecallTimers, ShowTimer},
    code::ResponseCode,
    header::{RecallHandle, RecallMessage, RecallResult},
};

use tenonmq_storage::fs::{FaultyFs, Op};

use super::*;

async fn recall(broker: &TestBroker, peer: &Peer, handle: &str) -> Command {
    let asked =
        RecallMessage { producer_group: Some("shop"), topic: "orders", recall_handle: handle, broker_name: None };
    broker.ask(peer, &asked).await
}

#[tokio::test]
async fn a_recalled_timer_never_comes_and_its_neighbour_does() {
    let (broker, peer) = broker();
    let taken = timed(&broker, &peer, "FD01", 5_000).await;
    timed(&broker, &peer, "FD02", 5_000).await;
    step(&broker);
    let answer = recall(&broker, &peer, &taken).await;
    assert_eq!(answer.code, 0);
    let result = answer.response_header::<RecallResult<'_>>().unwrap();
    assert_eq!((result.message_id, result.region), ("FD01", Some("DefaultRegion")));
    broker.advance(10 * SECOND);
    assert_eq!((step(&broker), keys(&broker)), (Next::Idle, vec!["FD02".to_owned()]));
    assert_eq!(pending(&broker), 0);
    assert!(broker.core.timers.counts().timing_count.values().all(|count| count.count == 0));
}

#[tokio::test]
async fn a_recall_counts_until_the_second_of_the_message_and_whether_or_not_the_message_was_taken_in() {
    let (broker, peer) = broker();
    let handle = timed(&broker, &peer, "FD01", 2_900).await; // its second is 2,000
    broker.advance(2_000 * MILLI);
    assert_eq!(recall(&broker, &peer, &handle).await.code, 0);
    broker.advance(SECOND);
    step(&broker);
    assert_eq!(delivered(&broker), 0);
    let late = timed(&broker, &peer, "FD02", 2_900).await;
    broker.advance(2_500 * MILLI);
    let refused = recall(&broker, &peer, &late).await;
    assert_eq!((refused.code, refused.remark.as_deref()), (604, Some("recall failed, timestamp invalid")));
}

#[tokio::test]
async fn a_recall_is_not_said_to_be_done_when_its_flush_failed() {
    let disk = Arc::new(FaultyFs::lazy());
    let broker = TestBroker::on(Arc::clone(&disk), &[("flushDiskType", "SYNC_FLUSH")]);
    broker.topic("orders", 2);
    allow_recall(&broker);
    let peer = Peer::new(1);
    let handle = timed(&broker, &peer, "FD01", 5_000).await;
    disk.fail(Op::Sync, std::io::ErrorKind::Other);
    let answer = recall(&broker, &peer, &handle).await;
    assert_eq!(answer.code, ResponseCode::SERVICE_NOT_AVAILABLE.0);
    assert!(answer.remark.is_some_and(|remark| remark.contains("flush")));
}

#[tokio::test]
async fn a_recall_survives_a_crash_and_a_restart() {
    for crash in [true, false] {
        let (broker, peer) = broker();
        let handle = timed(&broker, &peer, "FD01", 5_000).await;
        timed(&broker, &peer, "FD02", 5_500).await;
        step(&broker);
        assert_eq!(recall(&broker, &peer, &handle).await.code, 0);
        let broker = if crash { broker.crashed() } else { broker.restarted() };
        broker.advance(10 * SECOND);
        step(&broker);
        assert_eq!(keys(&broker), ["FD02"]);
    }
}

#[tokio::test]
async fn a_message_of_the_same_key_and_another_second_is_not_taken_back() {
    let (broker, peer) = broker();
    let first = timed(&broker, &peer, "FD01", 5_000).await;
    timed(&broker, &peer, "FD01", 7_000).await;
    assert_eq!(recall(&broker, &peer, &first).await.code, 0);
    broker.advance(10 * SECOND);
    step(&broker);
    assert_eq!(delivered(&broker), 1);
}

#[tokio::test]
async fn a_producer_may_take_its_message_back_by_sending_one_that_deletes_it() {
    let (broker, peer) = broker();
    let deliver = (START_MS + 5_000).to_string();
    send(&broker, &peer, &[("UNIQ_KEY", "FD01"), ("TIMER_DELIVER_MS", &deliver)]).await;
    let delete = [("UNIQ_KEY", "FD09"), ("TIMER_DELIVER_MS", &*deliver), ("TIMER_DEL_UNIQKEY", "orders+FD01")];
    assert_eq!(send(&broker, &peer, &delete).await.code, 0);
    broker.advance(10 * SECOND);
    assert_eq!((step(&broker), delivered(&broker)), (Next::Idle, 0));
    assert_eq!(send(&broker, &peer, &delete).await.code, 13, "in the past there is nothing to take back");
}

#[tokio::test]
async fn handles_that_do_not_fit_are_refused_with_apache_s_codes() {
    let (broker, peer) = broker();
    let good = timed(&broker, &peer, "FD01", 5_000).await;
    let with = |change: fn(&mut RecallHandle)| {
        let mut handle = RecallHandle::parse(&good).unwrap();
        change(&mut handle);
        handle.to_string()
    };
    let bad = [
        "nonsense".to_owned(),
        with(|handle| handle.topic = "other".into()),
        with(|handle| handle.broker_name = "other".into()),
        with(|handle| handle.deliver_timestamp = START_MS),
        with(|handle| handle.deliver_timestamp = START_MS + 259_200_000),
        with(|handle| handle.deliver_timestamp = i64::MIN),
    ];
    for handle in &bad {
        let refused = recall(&broker, &peer, handle).await;
        assert_eq!(refused.code, 604, "{handle}");
        assert!(refused.remark.is_some());
    }
    assert_eq!(waiting(&broker).len(), 1);
    let asked = RecallMessage { producer_group: None, topic: "nowhere", recall_handle: &good, broker_name: None };
    assert_eq!(broker.ask(&peer, &asked).await.code, 17);
    broker.core.config.apply("recallMessageEnable=false").unwrap();
    assert_eq!(recall(&broker, &peer, &good).await.code, 16);
}

#[tokio::test]
async fn a_retry_gets_no_handle() {
    let (broker, peer) = broker();
    broker.topic("%RETRY%billing", 1);
    broker.core.groups.find_or_create("billing").unwrap();
    let text = text(&[("TIMER_DELAY_SEC", "5"), ("UNIQ_KEY", "FD01")]);
    let header = SendMessage { topic: "%RETRY%billing", queue_id: 0, ..message(&text) };
    let answer = broker.call(&peer, Command::with_header(&header).with_body("x")).await;
    assert_eq!((answer.code, handle(&answer), waiting(&broker).len()), (0, None, 1));
}

#[tokio::test]
async fn what_waits_is_listed_in_the_order_of_its_times_and_taken_back_by_business_key() {
    let (broker, peer) = broker();
    let first = timed(&broker, &peer, "FD01", 9_000).await;
    for (key, words, delay) in [("FD02", "o-1 o-2", "8000"), ("FD03", "o-2", "7000"), ("FD04", "o-22", "6000")] {
        send(&broker, &peer, &[("UNIQ_KEY", key), ("KEYS", words), ("TIMER_DELAY_MS", delay)]).await;
    }
    assert_eq!(recall(&broker, &peer, &first).await.code, 0);
    let list = broker.desk(&peer, &ListTimers::default()).await.unwrap();
    let listed = |list: &[tenonmq_protocol::body::timer_desk::PendingTimer]| {
        list.iter().map(|timer| timer.unique_key.clone().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&list.timers), ["FD04", "FD03", "FD02"], "what was recalled is not shown");
    assert_eq!((list.timers[0].due_ms, list.timers[0].topic.as_str()), (START_MS + 6_000, "orders"));
    let nothing = ListTimers { topic: Some("other".into()), ..ListTimers::default() };
    assert!(broker.desk(&peer, &nothing).await.unwrap().timers.is_empty());
    let mut asked = RecallTimers { topic: "orders".into(), key: "o-2".into(), dry_run: true, handle: None };
    let would = broker.desk(&peer, &asked).await.unwrap().recalled;
    assert_eq!(listed(&would), ["FD03", "FD02"]);
    asked.dry_run = false;
    assert_eq!(broker.desk(&peer, &asked).await.unwrap().recalled, would);
    assert!(broker.desk(&peer, &asked).await.unwrap().recalled.is_empty(), "once");
    broker.advance(10 * SECOND);
    step(&broker);
    assert_eq!(keys(&broker), ["FD04"]);
    asked.key = String::new();
    let (code, remark) = broker.desk(&peer, &asked).await.unwrap_err();
    assert!(code == 29 && remark.contains("key"), "{remark}");
}

#[tokio::test]
async fn one_timer_is_shown_whole_and_taken_back_by_its_handle_at_the_desk_whatever_is_configured() {
    let (broker, peer) = broker();
    broker.core.config.apply("recallMessageEnable=false").unwrap();
    let taken = timed(&broker, &peer, "FD01", 5_000).await;
    timed(&broker, &peer, "FD02", 5_000).await;
    let shown = broker.desk(&peer, &ShowTimer { queue_offset: 0 }).await.unwrap();
    assert_eq!((shown.recall_handle.as_ref(), shown.recalled, shown.takes_back.as_ref()), (Some(&taken), false, None));
    assert_eq!((shown.timer.due_ms, shown.body_length, shown.queue_id), (START_MS + 5_000, 8, 1));
    assert_eq!(shown.properties["TIMER_DELAY_MS"], "5000");
    let asked = RecallTimers { handle: Some(taken), ..RecallTimers::default() };
    let answer = broker.desk(&peer, &asked).await.unwrap();
    assert_eq!(answer.recalled, [shown.timer]);
    assert!(broker.desk(&peer, &ShowTimer { queue_offset: 0 }).await.unwrap().recalled);
    let deletion = broker.desk(&peer, &ShowTimer { queue_offset: 2 }).await.unwrap();
    assert_eq!(deletion.takes_back.as_deref(), Some("orders+FD01"));
    broker.advance(10 * SECOND);
    step(&broker);
    assert_eq!(keys(&broker), ["FD02"]);
    for queue_offset in [0, 3, -1, i64::MAX] {
        let (code, remark) = broker.desk(&peer, &ShowTimer { queue_offset }).await.unwrap_err();
        assert!(code == 22 && remark.contains("queueOffset"), "{remark}");
    }
    let asked = RecallTimers { handle: Some("nonsense".into()), ..RecallTimers::default() };
    let (code, remark) = broker.desk(&peer, &asked).await.unwrap_err();
    assert!(code == 604 && remark.contains("handle"), "{remark}");
}

#[tokio::test]
async fn what_is_due_already_is_not_said_to_be_taken_back() {
    let (broker, peer) = broker();
    timed(&broker, &peer, "FD01", 1_000).await;
    broker.advance(SECOND);
    let asked = RecallTimers { topic: "orders".into(), key: "FD01".into(), ..RecallTimers::default() };
    let answer = broker.desk(&peer, &asked).await.unwrap();
    assert_eq!((answer.recalled.len(), answer.too_late.len()), (0, 1));
    step(&broker);
    assert_eq!(keys(&broker), ["FD01"]);
}
