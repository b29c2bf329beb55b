//! Prefetch: how much a worker has in hand.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tenonmq_client::{ConsumeFrom, ConsumeOutcome, Message, PushConsumer, ReceivedMessage};
use tokio::time::sleep;

use crate::habit::{Habit, Place, until};

pub(crate) const TOPIC: &str = "rabbit_prefetch";
const MESSAGES: usize = 24;

/// Messages in hand: now, at most, and how many are done.
#[derive(Default)]
struct Hands {
    now: AtomicUsize,
    most: AtomicUsize,
    done: AtomicUsize,
}

pub(crate) async fn show(place: &Place) -> Result<Vec<Habit>, Box<dyn Error>> {
    let producer = place.producer("rabbit_prefetch").await?;
    for number in 0..MESSAGES {
        producer.send(Message::new(TOPIC, format!("order {number}"))).await?;
    }
    let hands = Arc::new(Hands::default());
    let worker = Arc::clone(&hands);
    let consumer = PushConsumer::builder(place.name_server.as_str())
        .group("rabbit_prefetch_workers")
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::Earliest)
        .concurrency(2)
        .total_flow_control(4, 1 << 20)
        .pull_batch(2)
        .listener(move |_: ReceivedMessage| {
            let hands = Arc::clone(&worker);
            async move {
                let now = hands.now.fetch_add(1, Ordering::SeqCst) + 1;
                hands.most.fetch_max(now, Ordering::SeqCst);
                sleep(Duration::from_millis(20)).await;
                hands.now.fetch_sub(1, Ordering::SeqCst);
                hands.done.fetch_add(1, Ordering::SeqCst);
                ConsumeOutcome::Done
            }
        })
        .connect()
        .await?;
    let is_done = until(|| async { Ok(hands.done.load(Ordering::SeqCst) >= MESSAGES) }).await?;
    consumer.shutdown().await;
    let (done, most) = (hands.done.load(Ordering::SeqCst), hands.most.load(Ordering::SeqCst));
    Ok(vec![Habit {
        in_rabbit: "basicQos(2)",
        here: "concurrency(2): messages at work; flow_control: fetched and unfinished; pop: the number in receive",
        happened: format!("{done} handled, at most {most} at a time"),
        is_well: is_done && most <= 2,
    }])
}
