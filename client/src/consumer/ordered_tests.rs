//! Ordered consumers against a fake broker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tenonmq_protocol::{
    RequestCode, ResponseCode,
    header::{NotifyConsumerIdsChanged, SendBack},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    ConsumeFrom, ConsumeOutcome, Failure, MessageListener, PushConsumer, PushConsumerBuilder, QueueState,
    ReceivedMessage,
    testing::{FakeBroker, Say, refuse},
};

const SHORT: Duration = Duration::from_millis(1);

fn ordered(fake: &FakeBroker) -> PushConsumerBuilder {
    PushConsumer::builder(fake.address())
        .group("G")
        .subscribe("T", "*")
        .consume_from(ConsumeFrom::Earliest)
        .rebalance_interval(Duration::from_millis(20))
        .suspend_time(SHORT)
        .ordered()
}

fn text(message: &ReceivedMessage) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

fn changed() -> tenonmq_protocol::Command {
    tenonmq_protocol::Command::with_header(&NotifyConsumerIdsChanged { consumer_group: "G" }).oneway()
}

/// A listener whose every call waits until the test lets it go.
fn held() -> (impl MessageListener, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let (begun, begins) = mpsc::unbounded_channel();
    let listener = move |_: ReceivedMessage| {
        let begun = begun.clone();
        async move {
            let (go, gone) = oneshot::channel();
            drop(begun.send(go));
            drop(gone.await);
            ConsumeOutcome::Done
        }
    };
    (listener, begins)
}

#[tokio::test]
async fn a_failed_message_is_tried_again_before_the_next_one() {
    let fake = FakeBroker::start(1).await;
    for body in ["a", "b", "c"] {
        fake.put("T", 0, body, &[]);
    }
    let (tell, mut told) = mpsc::unbounded_channel();
    let listener = move |message: ReceivedMessage| {
        let again = text(&message) == "b" && message.reconsume_times() < 2;
        drop(tell.send((text(&message), message.reconsume_times())));
        std::future::ready(if again { ConsumeOutcome::Retry } else { ConsumeOutcome::Done })
    };
    let consumer = ordered(&fake).listener(listener).connect().await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(told.recv().await.unwrap());
    }
    let seen: Vec<(&str, i32)> = seen.iter().map(|(body, times)| (body.as_str(), *times)).collect();
    assert_eq!(seen, [("a", 0), ("b", 0), ("b", 1), ("b", 2), ("c", 0)]);
    consumer.shutdown().await;
    assert_eq!(fake.offset("T", 0), Some(3));
    assert_eq!(fake.lock_owner("T", 0), None);
    assert!(fake.seen(RequestCode::CONSUMER_SEND_MSG_BACK).is_empty());
}

#[tokio::test]
async fn after_its_last_try_a_message_goes_to_the_dead_letters_and_the_next_one_comes() {
    let fake = FakeBroker::start(1).await;
    fake.put("T", 0, "bad", &[("UNIQ_KEY", "u1")]);
    fake.put("T", 0, "good", &[]);
    let (tell, mut told) = mpsc::unbounded_channel();
    let listener = move |message: ReceivedMessage| {
        drop(tell.send(text(&message)));
        let failure = Failure::new("Schema", "version 7");
        let outcome = if text(&message) == "bad" { ConsumeOutcome::Failed(failure) } else { ConsumeOutcome::Done };
        std::future::ready(outcome)
    };
    let consumer = ordered(&fake).max_reconsume_times(2).listener(listener).connect().await.unwrap();
    for expected in ["bad", "bad", "bad", "good"] {
        assert_eq!(told.recv().await.unwrap(), expected);
    }
    let back = fake.seen(RequestCode::CONSUMER_SEND_MSG_BACK);
    let back: SendBack<'_> = back[0].request_header().unwrap();
    assert_eq!((back.delay_level, back.origin_message_id), (-1, Some("u1")));
    assert_eq!((back.cause_class, back.cause_digest), (Some("Schema"), Some("version 7")));
    consumer.shutdown().await;
    assert_eq!(fake.offset("T", 0), Some(2));
}

#[tokio::test]
async fn a_queue_whose_lock_is_somebody_elses_is_not_taken_until_it_is_free() {
    let fake = FakeBroker::start(2).await;
    fake.set_lock("T", 1, Some("other"));
    fake.put("T", 0, "free", &[]);
    fake.put("T", 1, "locked", &[]);
    let (tell, mut told) = mpsc::unbounded_channel();
    let listener = move |message: ReceivedMessage| {
        drop(tell.send(text(&message)));
        std::future::ready(ConsumeOutcome::Done)
    };
    let consumer = ordered(&fake).listener(listener).connect().await.unwrap();
    assert_eq!(told.recv().await.unwrap(), "free");
    let state = |id| consumer.progress().into_iter().find(|q| q.queue.topic == "T" && q.queue.queue_id == id).unwrap();
    assert!(matches!(state(1).state, QueueState::NotTaken(_)), "{:?}", state(1));
    fake.set_lock("T", 1, None);
    assert_eq!(told.recv().await.unwrap(), "locked");
    assert_eq!(fake.lock_owner("T", 1).as_deref(), Some(consumer.client_id()));
}

#[tokio::test]
async fn what_was_handled_while_the_lock_was_lost_is_not_committed() {
    let fake = FakeBroker::start(1).await;
    fake.put("T", 0, "a", &[]);
    fake.put("T", 0, "b", &[]);
    let (listener, mut begins) = held();
    let consumer = ordered(&fake).listener(listener).connect().await.unwrap();
    let go = begins.recv().await.unwrap();
    fake.set_lock("T", 0, Some("other"));
    super::lock::renew(consumer.member()).await;
    assert!(!consumer.assignment().iter().any(|queue| queue.topic == "T"));
    go.send(()).unwrap();
    // the next owner sets what it did; this member must not touch it
    fake.until(|fake| fake.seen(RequestCode::LOCK_BATCH_MQ).len() > 3).await;
    consumer.commit().await;
    assert_eq!(fake.offset("T", 0), None);
    assert!(begins.try_recv().is_err(), "nothing more of a lost queue is handled");
}

#[tokio::test]
async fn a_queue_is_given_up_after_its_handler_ended_and_its_offset_is_saved() {
    let fake = FakeBroker::start(1).await;
    fake.put("T", 0, "a", &[]);
    let (listener, mut begins) = held();
    let consumer = ordered(&fake).rebalance_interval(Duration::from_secs(3600)).listener(listener);
    let consumer = consumer.connect().await.unwrap();
    let go = begins.recv().await.unwrap();
    fake.add_member("0 sorts first"); // it gets the only queue
    fake.tell(&changed());
    fake.until(|_| !consumer.assignment().iter().any(|queue| queue.topic == "T")).await;
    assert_eq!(fake.lock_owner("T", 0).as_deref(), Some(consumer.client_id()), "still handling");
    go.send(()).unwrap();
    fake.until(|fake| fake.lock_owner("T", 0).is_none()).await;
    assert_eq!(fake.offset("T", 0), Some(1));
    let codes: Vec<i32> = fake.all().iter().map(|command| command.code).collect();
    let place = |code: RequestCode| codes.iter().rposition(|&c| c == code.0);
    assert!(place(RequestCode::UPDATE_CONSUMER_OFFSET) < place(RequestCode::UNLOCK_BATCH_MQ));
}

#[tokio::test]
async fn one_handler_at_a_time_runs_for_a_queue_and_several_for_several() {
    let fake = FakeBroker::start(2).await;
    for n in 0..10 {
        fake.put("T", 0, &format!("{n}"), &[]);
        fake.put("T", 1, &format!("{n}"), &[]);
    }
    let running = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (tell, mut told) = mpsc::unbounded_channel();
    let listener = move |message: ReceivedMessage| {
        let (running, tell) = (Arc::clone(&running), tell.clone());
        async move {
            let queue = message.queue().queue_id;
            let count = &running[queue as usize];
            let before = count.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            count.fetch_sub(1, Ordering::SeqCst);
            drop(tell.send((queue, text(&message), before)));
            ConsumeOutcome::Done
        }
    };
    let consumer = ordered(&fake).listener(listener).connect().await.unwrap();
    let mut next = [0, 0];
    for _ in 0..20 {
        let (queue, body, before) = told.recv().await.unwrap();
        assert_eq!((body, before), (next[queue as usize].to_string(), 0));
        next[queue as usize] += 1;
    }
    consumer.shutdown().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_given_up_keeps_its_place() {
    let fake = FakeBroker::start(1).await;
    fake.put("T", 0, "bad", &[]);
    let mut refusals = 3;
    fake.script(move |request| match RequestCode(request.code) {
        RequestCode::SEND_MESSAGE_V2 => refuse(ResponseCode::MESSAGE_ILLEGAL),
        RequestCode::CONSUMER_SEND_MSG_BACK if refusals > 0 => {
            refusals -= 1;
            refuse(ResponseCode::SYSTEM_ERROR)
        }
        _ => Say::Usual,
    });
    let listener = |_: ReceivedMessage| std::future::ready(ConsumeOutcome::DeadLetter);
    let consumer = ordered(&fake).listener(listener).connect().await.unwrap();
    fake.saw(RequestCode::CONSUMER_SEND_MSG_BACK, 4).await;
    consumer.shutdown().await;
    assert_eq!(fake.offset("T", 0), Some(1));
}
