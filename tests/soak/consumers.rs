//! Those who process, and fail at random.
//!
//! Two members of one group share the plain, timed and paid topics; one of them vanishes now and then without a goodbye.
//! One reader takes the ordered topic queue by queue, tries what failed again before it goes on, and forgets now and
//! then what it has not committed. Two leasers settle message by message.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng, rngs::StdRng};
use tenonmq_client::{
    ConsumeFrom, ConsumeOutcome, Error, MessageQueue, PullConsumer, PushConsumer, ReceivedMessage, SimpleConsumer,
};

use crate::{
    Failure, Scene,
    ledger::{Disturbance, Fate, Kind},
    names,
    producers::{Task, What},
};

/// Deliveries after the first, before a message of the workers is a dead letter.
pub(crate) const MAX_RETRIES: u16 = 3;
/// How long a lease lasts; what is received is settled at once.
const LEASE: Duration = Duration::from_secs(6);
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) fn start(scene: &Scene) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (number, restarts) in [(1, false), (2, true)] {
        let scene = scene.clone();
        tasks.push(tokio::spawn(async move { work(scene, number, restarts).await }));
    }
    let ordered = scene.clone();
    tasks.push(tokio::spawn(async move { read_in_order(ordered).await }));
    let leasers: &[u64] = if scene.without.contains(&What::Leased) { &[] } else { &[11, 12] };
    for &number in leasers {
        let scene = scene.clone();
        tasks.push(tokio::spawn(async move { lease(scene, number).await }));
    }
    tasks
}

/// Whether a processing fails: one in ten, but two in three once it has failed, so that some become dead letters.
fn fails(choices: &mut StdRng, before: i32) -> bool {
    choices.random_bool(if before == 0 { 0.1 } else { 0.65 })
}

/// A member of the workers. With `restarts`, each of its lives ends without a goodbye.
async fn work(scene: Scene, number: u64, restarts: bool) -> Result<(), Failure> {
    let mut choices = scene.choices(number);
    loop {
        let since = Instant::now();
        let consumer = join(&scene, choices.random()).await?;
        scene.ledger.disturbed(Disturbance::Members, since); // it takes its queues while those who had them still process
        let until = Instant::now() + Duration::from_millis(choices.random_range(3_000..9_000));
        let mut owned = consumer.assignment();
        loop {
            tokio::time::sleep(Duration::from_millis(25)).await;
            let owns = consumer.assignment();
            if owns != owned {
                scene.ledger.disturbed(Disturbance::Members, Instant::now());
                owned = owns;
            }
            if scene.over.is_cancelled() {
                consumer.shutdown().await;
                return Ok(());
            }
            if restarts && !scene.calm.is_cancelled() && Instant::now() > until {
                break;
            }
        }
        let since = Instant::now();
        drop(consumer);
        tokio::time::sleep(Duration::from_millis(300)).await;
        scene.ledger.disturbed(Disturbance::Members, since);
    }
}

async fn join(scene: &Scene, seed: u64) -> Result<PushConsumer, Failure> {
    loop {
        let (choices, ledger) = (parking_lot::Mutex::new(scene.choices(seed)), Arc::clone(&scene.ledger));
        let builder = PushConsumer::builder(scene.name_server.as_str())
            .group(names::WORKERS)
            .subscribe(names::PLAIN, "*")
            .subscribe(names::TIMED, "*")
            .subscribe(names::PAID, "*")
            .consume_from(ConsumeFrom::Earliest)
            .max_reconsume_times(MAX_RETRIES)
            .commit_interval(COMMIT_INTERVAL)
            .rebalance_interval(Duration::from_secs(2))
            .long_poll(Duration::from_secs(5))
            .listener(move |message: ReceivedMessage| {
                let fate =
                    if fails(&mut choices.lock(), message.reconsume_times()) { Fate::Refused } else { Fate::Done };
                ledger.delivered(&name(&message), message.id(), fate);
                std::future::ready(if fate == Fate::Done { ConsumeOutcome::Done } else { ConsumeOutcome::Retry })
            });
        match builder.connect().await {
            Ok(consumer) => return Ok(consumer),
            Err(error) => not_now(error).await?,
        }
    }
}

/// The broker may just be away.
async fn not_now(error: Error) -> Result<(), Failure> {
    if !error.is_retryable() {
        return Err(format!("a consumer is refused: {error}").into());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(())
}

fn name(message: &ReceivedMessage) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// Reads the ordered topic from what is committed, and begins anew now and then.
async fn read_in_order(scene: Scene) -> Result<(), Failure> {
    let mut choices = scene.choices(3);
    // The least that the broker may ever answer again: a confirmed commit outlives a kill.
    let mut confirmed: Vec<(MessageQueue, i64)> = Vec::new();
    loop {
        let since = Instant::now();
        let builder = PullConsumer::builder(scene.name_server.as_str()).group(names::IN_ORDER);
        let consumer = match builder.long_poll(Duration::from_millis(100)).connect().await {
            Ok(consumer) => consumer,
            Err(error) => {
                not_now(error).await?;
                continue;
            }
        };
        if let Err(error) = resume(&scene, &consumer, &mut confirmed).await {
            not_now(error).await?;
            continue;
        }
        scene.ledger.disturbed(Disturbance::Members, since);
        let until = Instant::now() + Duration::from_millis(choices.random_range(2_000..8_000));
        while !scene.over.is_cancelled() && (scene.calm.is_cancelled() || Instant::now() < until) {
            for (queue, confirmed) in &mut confirmed {
                if let Err(error) = take_some(&scene, &consumer, queue, confirmed, &mut choices).await {
                    not_now(error).await?;
                }
            }
        }
        if scene.over.is_cancelled() {
            consumer.shutdown().await;
            return Ok(());
        }
    }
}

/// Goes to what is committed, and sees that no confirmed commit was lost.
async fn resume(scene: &Scene, consumer: &PullConsumer, confirmed: &mut Vec<(MessageQueue, i64)>) -> Result<(), Error> {
    if confirmed.is_empty() {
        confirmed.extend(consumer.queues(names::ORDERED).await?.into_iter().map(|queue| (queue, 0)));
    }
    consumer.assign(confirmed.iter().map(|(queue, _)| queue.clone()));
    for (queue, confirmed) in confirmed {
        let committed = consumer.committed(queue).await?.unwrap_or(0);
        if committed < *confirmed {
            scene.ledger.violation(format!("{queue:?}: offset {confirmed} was committed, and {committed} is there"));
        }
        consumer.seek(queue, committed);
    }
    Ok(())
}

/// Pulls once and processes what comes, each message until it succeeds; commits mostly.
async fn take_some(
    scene: &Scene,
    consumer: &PullConsumer,
    queue: &MessageQueue,
    confirmed: &mut i64,
    choices: &mut StdRng,
) -> Result<(), Error> {
    let pulled = consumer.pull(queue).await?;
    if pulled.messages.is_empty() {
        return Ok(());
    }
    for message in &pulled.messages {
        let mut tries = 0;
        while fails(choices, 0) {
            tries += 1;
            scene.ledger.delivered(&name(message), message.id(), Fate::Refused);
            if tries == MAX_RETRIES {
                break;
            }
        }
        scene.ledger.delivered(&name(message), message.id(), Fate::Done);
    }
    if choices.random_bool(0.8) || scene.calm.is_cancelled() {
        consumer.commit(queue, pulled.next_offset).await?;
        *confirmed = pulled.next_offset;
    }
    Ok(())
}

/// Receives a few, acknowledges most, gives some back early and lets some leases end.
async fn lease(scene: Scene, number: u64) -> Result<(), Failure> {
    let mut choices = scene.choices(number);
    loop {
        let builder = SimpleConsumer::builder(scene.name_server.as_str()).group(names::LEASERS);
        let builder = builder.subscribe(names::LEASED, "*").consume_from_earliest();
        let consumer = match builder.await_duration(Duration::from_secs(1)).connect().await {
            Ok(consumer) => consumer,
            Err(error) => {
                not_now(error).await?;
                continue;
            }
        };
        let until = Instant::now() + Duration::from_millis(choices.random_range(3_000..9_000));
        while !scene.over.is_cancelled() && (scene.calm.is_cancelled() || Instant::now() < until) {
            match consumer.receive(16, LEASE).await {
                Ok(messages) => settle(&scene, &consumer, messages, &mut choices).await,
                Err(error) => not_now(error).await?,
            }
        }
        if scene.over.is_cancelled() {
            consumer.shutdown().await;
            return Ok(());
        }
    }
}

async fn settle(
    scene: &Scene,
    consumer: &SimpleConsumer,
    messages: Vec<tenonmq_client::PoppedMessage>,
    choices: &mut StdRng,
) {
    for mut message in messages {
        if choices.random_bool(0.1) {
            scene.ledger.delivered(&name(&message), message.id(), Fate::Refused);
            if choices.random_bool(0.5) {
                drop(consumer.change_invisible(&mut message, Duration::from_secs(1)).await); // or it comes later
            }
            continue;
        }
        let delivery = scene.ledger.delivered(&name(&message), message.id(), Fate::Done);
        if consumer.ack(&message).await.is_ok() {
            scene.ledger.acknowledged(&name(&message), delivery);
        }
    }
}

/// Names and copies of all that lies in the group's dead-letter topic.
pub(crate) async fn dead_letters(name_server: &str, group: &str) -> Result<Vec<(String, String)>, Failure> {
    let topic = format!("%DLQ%{group}");
    let builder = PullConsumer::builder(name_server).group("undertakers").long_poll(Duration::ZERO);
    let consumer = builder.connect().await?;
    let mut letters = Vec::new();
    for queue in consumer.queues(&topic).await? {
        let end = consumer.max_offset(&queue).await?;
        consumer.assign([queue.clone()]);
        consumer.seek(&queue, 0);
        while consumer.position(&queue).is_some_and(|position| position < end) {
            let pulled = consumer.pull(&queue).await?;
            letters.extend(pulled.messages.iter().map(|message| (name(message), message.id())));
        }
    }
    consumer.shutdown().await;
    Ok(letters)
}

/// Whether messages of this kind are processed by the workers, who have a retry topic and dead letters.
pub(crate) fn is_for_workers(kind: Kind) -> bool {
    matches!(kind, Kind::Plain | Kind::Timed(_) | Kind::Paid)
}
