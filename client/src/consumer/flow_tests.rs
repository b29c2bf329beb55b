//! Pausing, holding back and telling how far each queue has come, against a fake broker; and complaints about consumers.

use std::time::Duration;

use tenonmq_protocol::{
    Command, RequestCode, ResponseCode,
    header::{NotifyConsumerIdsChanged, SendBack, UpdateOffset},
};
use tokio::sync::mpsc;

use crate::{
    ConsumeFrom, ConsumeOutcome, Error, Failure, MessageQueue, PushConsumer, PushConsumerBuilder, QueueProgress,
    QueueState, ReceivedMessage, Scope,
    testing::{BROKER, FakeBroker, Say, refuse},
};

fn consumer(fake: &FakeBroker) -> PushConsumerBuilder {
    PushConsumer::builder(fake.address())
        .group("G")
        .subscribe("T", "*")
        .consume_from(ConsumeFrom::Earliest)
        .rebalance_interval(Duration::from_millis(20))
}

fn text(message: &ReceivedMessage) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// Reports what it is given, and says `outcome`.
fn telling(
    outcome: ConsumeOutcome,
) -> (impl Fn(ReceivedMessage) -> std::future::Ready<ConsumeOutcome>, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let listener = move |message: ReceivedMessage| {
        drop(tell.send(text(&message)));
        std::future::ready(outcome.clone())
    };
    (listener, told)
}

fn of(consumer: &PushConsumer, queue: i32) -> QueueProgress {
    let mut all = consumer.progress().into_iter();
    all.find(|progress| progress.queue == MessageQueue::new("T", BROKER, queue)).unwrap()
}

#[tokio::test]
async fn a_paused_queue_hands_nothing_over_while_the_others_go_on() {
    let fake = FakeBroker::start(2).await;
    let (listener, mut told) = telling(ConsumeOutcome::Done);
    let consumer = consumer(&fake).listener(listener).connect().await.unwrap();
    fake.saw(RequestCode::PULL_MESSAGE, 3).await;
    let queue = MessageQueue::new("T", BROKER, 0);
    consumer.pause(&queue);
    assert_eq!(consumer.paused(), [Scope::Queue(queue.clone())]);
    fake.put("T", 0, "held", &[]);
    fake.put("T", 1, "goes on", &[]);
    assert_eq!(told.recv().await.unwrap(), "goes on");
    fake.until(|_| of(&consumer, 0).cached_messages == 1).await; // by the pull that was open already
    assert_eq!(of(&consumer, 0).state, QueueState::Paused);
    assert!(told.try_recv().is_err());
    consumer.resume(&queue);
    assert_eq!(told.recv().await.unwrap(), "held");
    consumer.shutdown().await;
    assert_eq!((fake.offset("T", 0), fake.offset("T", 1)), (Some(1), Some(1)));
}

#[tokio::test]
async fn progress_tells_what_is_committed_pulled_and_left_and_why_a_queue_stands() {
    let fake = FakeBroker::start(1).await;
    let release = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let gate = std::sync::Arc::clone(&release);
    let listener = move |_: ReceivedMessage| {
        let gate = std::sync::Arc::clone(&gate);
        async move { gate.acquire().await.map(tokio::sync::SemaphorePermit::forget).into() }
    };
    let consumer = consumer(&fake).total_flow_control(3, 1 << 20).listener(listener).connect().await.unwrap();
    fake.until(|_| of(&consumer, 0).max == -1).await;
    assert_eq!(of(&consumer, 0).state, QueueState::Idle);
    for body in ["a", "b", "c"] {
        fake.put("T", 0, body, &[]);
    }
    fake.until(|_| of(&consumer, 0).state == QueueState::Full).await;
    release.add_permits(2);
    fake.until(|_| of(&consumer, 0).cached_messages == 1).await;
    let progress = of(&consumer, 0);
    assert_eq!((progress.pulled, progress.state), (3, QueueState::Busy));
    fake.script(|request| match RequestCode(request.code) {
        RequestCode::PULL_MESSAGE => refuse(ResponseCode::NO_PERMISSION),
        _ => Say::Usual,
    });
    release.add_permits(1);
    fake.put("T", 0, "d", &[]); // answers the pull that is open; the next one is refused
    fake.until(|_| matches!(of(&consumer, 0).state, QueueState::Failing(_))).await;
    release.add_permits(1);
    fake.until(|_| of(&consumer, 0).committed == Some(4)).await;
    assert_eq!((of(&consumer, 0).max, of(&consumer, 0).lag()), (4, 0));
}

#[tokio::test]
async fn the_cause_of_a_failure_goes_back_with_the_message() {
    let fake = FakeBroker::start(1).await;
    let failure = Failure::of(&std::io::Error::other("disk full\nand more")).retry_at_level(5);
    let (listener, _told) = telling(ConsumeOutcome::Failed(failure));
    let _consumer = consumer(&fake).max_reconsume_times(7).listener(listener).connect().await.unwrap();
    fake.put("T", 0, "m", &[]);
    let back = fake.saw(RequestCode::CONSUMER_SEND_MSG_BACK, 1).await;
    let back: SendBack<'_> = back[0].request_header().unwrap();
    assert_eq!((back.delay_level, back.max_reconsume_times), (5, Some(7)));
    let cause = (back.cause_class, back.cause_digest, back.cause_host);
    assert_eq!(cause, (Some("std::io::error::Error"), Some("disk full"), Some("127.0.0.1")));
}

#[tokio::test]
async fn a_panic_is_a_cause_too() {
    let fake = FakeBroker::start(1).await;
    let listener = |message: ReceivedMessage| {
        assert!(message.body().is_empty(), "cannot bear it (this panic is part of the test)");
        std::future::ready(ConsumeOutcome::Done)
    };
    let _consumer = consumer(&fake).listener(listener).connect().await.unwrap();
    fake.put("T", 0, "m", &[]);
    let back = fake.saw(RequestCode::CONSUMER_SEND_MSG_BACK, 1).await;
    let back: SendBack<'_> = back[0].request_header().unwrap();
    assert_eq!(back.cause_class, Some("panic"));
    assert!(back.cause_digest.is_some_and(|digest| digest.contains("cannot bear it")));
}

/// client-go#797, #976: the offset was saved before the failed message had been sent back, and both were lost with the
/// process.
#[tokio::test]
async fn thread_client_go_797_976_no_offset_passes_a_failed_message_before_it_was_sent_back() {
    let fake = FakeBroker::start(1).await;
    fake.script(|request| match RequestCode(request.code) {
        RequestCode::CONSUMER_SEND_MSG_BACK | RequestCode::SEND_MESSAGE_V2 => refuse(ResponseCode::MESSAGE_ILLEGAL),
        _ => Say::Usual,
    });
    let listener = |message: ReceivedMessage| {
        std::future::ready(if text(&message) == "bad" { ConsumeOutcome::Retry } else { ConsumeOutcome::Done })
    };
    let consumer = consumer(&fake).listener(listener).connect().await.unwrap();
    for body in ["good", "bad", "better"] {
        fake.put("T", 0, body, &[]);
    }
    fake.saw(RequestCode::SEND_MESSAGE_V2, 1).await;
    fake.until(|_| of(&consumer, 0).cached_messages == 1).await;
    consumer.shutdown().await;
    let commits = fake.seen(RequestCode::UPDATE_CONSUMER_OFFSET);
    let commits = commits.iter().map(|c| c.request_header::<UpdateOffset<'_>>().unwrap());
    assert!(commits.filter(|commit| commit.topic == "T").all(|commit| commit.commit_offset <= 1));
    assert_eq!(fake.offset("T", 0), Some(1));
}

/// #9830, #1918, client-go#1085, #313: a queue whose first offset could not be learned when it fell to a member was owned
/// by nobody from then on.
#[tokio::test]
async fn thread_9830_1918_a_queue_that_could_not_be_taken_is_taken_later() {
    let fake = FakeBroker::start(2).await;
    let mut refusals = 2;
    fake.script(move |request| match (RequestCode(request.code), request.field("queueId")) {
        (RequestCode::QUERY_CONSUMER_OFFSET, Some("1")) if refusals > 0 => {
            refusals -= 1;
            refuse(ResponseCode::SYSTEM_ERROR)
        }
        _ => Say::Usual,
    });
    fake.put("T", 1, "nobody's", &[]);
    let (listener, mut told) = telling(ConsumeOutcome::Done);
    let consumer = consumer(&fake).listener(listener).connect().await.unwrap();
    assert!(matches!(of(&consumer, 1).state, QueueState::NotTaken(_)), "it is shown, and why");
    assert_eq!(told.recv().await.unwrap(), "nobody's");
    assert_ne!(of(&consumer, 1).committed, None);
    consumer.shutdown().await;
}

/// client-go#1085, #313: after another member had come and gone, its queues stayed without an owner.
#[tokio::test]
async fn thread_client_go_1085_313_the_queues_of_a_member_that_left_are_taken_over() {
    let fake = FakeBroker::start(4).await;
    let (listener, mut told) = telling(ConsumeOutcome::Done);
    let consumer = consumer(&fake).rebalance_interval(Duration::from_secs(3600)).listener(listener);
    let consumer = consumer.connect().await.unwrap();
    let changed = Command::with_header(&NotifyConsumerIdsChanged { consumer_group: "G" }).oneway();
    let mine = || consumer.assignment().iter().filter(|queue| queue.topic == "T").count();
    for _ in 0..3 {
        fake.add_member("0 sorts first");
        fake.tell(&changed);
        fake.until(|_| mine() == 2).await;
        fake.remove_member("0 sorts first");
        fake.tell(&changed);
        fake.until(|_| mine() == 4).await;
    }
    for queue in 0..4 {
        fake.put("T", queue, "m", &[]);
    }
    for _ in 0..4 {
        assert_eq!(told.recv().await.unwrap(), "m");
    }
    consumer.shutdown().await;
}

/// clients#1323: a shutdown waited for polls that were open.
#[tokio::test]
async fn thread_clients_1323_a_shutdown_does_not_wait_for_open_polls() {
    let fake = FakeBroker::start(2).await;
    let (listener, _told) = telling(ConsumeOutcome::Done);
    let consumer = consumer(&fake).long_poll(Duration::from_secs(3600)).listener(listener).connect().await.unwrap();
    fake.saw(RequestCode::PULL_MESSAGE, 3).await;
    consumer.shutdown().await; // would take the hour
    assert_eq!(fake.seen(RequestCode::UNREGISTER_CLIENT).len(), 1);
}

/// #2836, #2954, #7717: members with different tags lost each other's messages, and nobody said so.
#[tokio::test]
async fn thread_2836_a_member_with_other_tags_may_be_kept_out_of_its_group() {
    let fake = FakeBroker::start(1).await;
    let theirs = r#"{"connectionSet":[{"clientAddr":"1.2.3.4:5","clientId":"other","language":"JAVA","version":479}],
        "subscriptionTable":{"T":{"topic":"T","subString":"b || a","expressionType":"TAG"}}}"#;
    fake.script(move |request| match RequestCode(request.code) {
        RequestCode::GET_CONSUMER_CONNECTION_LIST => {
            Say::This(Command::response(ResponseCode::SUCCESS, 0).with_body(theirs))
        }
        _ => Say::Usual,
    });
    let with = |filter: &str, strict: bool| {
        let builder = consumer(&fake).subscribe("T", filter);
        let builder = if strict { builder.strict_subscriptions() } else { builder };
        builder.listener(telling(ConsumeOutcome::Done).0).connect()
    };
    let refused = with("a || c", true).await;
    assert!(matches!(&refused, Err(Error::Config(text)) if text.contains("b || a")), "{:?}", refused.err());
    assert!(fake.seen(RequestCode::HEART_BEAT).is_empty() || fake.seen(RequestCode::PULL_MESSAGE).is_empty());
    assert!(with("a||b", true).await.is_ok(), "the same tags in another order");
    assert!(with("a || c", false).await.is_ok(), "only logged");
}

/// Of two commits under way a broker that serves them on two threads may keep the older.
#[tokio::test]
async fn a_saving_waits_for_the_one_before_it_and_carries_the_newest_offset() {
    let fake = FakeBroker::start(1).await;
    let (hold, mut held) = mpsc::unbounded_channel();
    fake.script(move |request| {
        let is_commit = request.code == RequestCode::UPDATE_CONSUMER_OFFSET.0 && request.field("topic") == Some("T");
        if is_commit && !hold.is_closed() && hold.send(request.opaque).is_ok() { Say::Nothing } else { Say::Usual }
    });
    let (listener, mut told) = telling(ConsumeOutcome::Done);
    let consumer =
        consumer(&fake).commit_interval(Duration::from_secs(3600)).listener(listener).connect().await.unwrap();
    fake.put("T", 0, "first", &[]);
    told.recv().await.unwrap();
    fake.until(|_| of(&consumer, 0).committed == Some(1)).await;
    let consumer = std::sync::Arc::new(consumer);
    let save = || {
        let consumer = std::sync::Arc::clone(&consumer);
        tokio::spawn(async move { consumer.commit().await })
    };
    let first = save();
    let opaque = held.recv().await.unwrap();
    held.close(); // only the first one is held back
    fake.put("T", 0, "second", &[]);
    told.recv().await.unwrap();
    fake.until(|_| of(&consumer, 0).committed == Some(2)).await;
    let second = save();
    // a request that is written after the second saving began: had that one sent something, it would be here too
    fake.put("T", 0, "third", &[]);
    told.recv().await.unwrap();
    let asks_behind_the_third =
        |pull: &Command| pull.field("topic") == Some("T") && pull.field("queueOffset") == Some("3");
    fake.until(|fake| fake.seen(RequestCode::PULL_MESSAGE).iter().any(asks_behind_the_third)).await;
    fake.until(|_| of(&consumer, 0).committed == Some(3)).await;
    let commits = |fake: &FakeBroker| {
        let all = fake.seen(RequestCode::UPDATE_CONSUMER_OFFSET);
        let of_topic = all.iter().map(|c| c.request_header::<UpdateOffset<'_>>().unwrap()).filter(|c| c.topic == "T");
        of_topic.map(|commit| commit.commit_offset).collect::<Vec<_>>()
    };
    assert_eq!(commits(&fake), [1]);
    fake.tell_last(&Command::response(ResponseCode::SUCCESS, opaque));
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(commits(&fake), [1, 3]);
    assert_eq!(fake.offset("T", 0), Some(3));
}
