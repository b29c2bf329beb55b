//! Those who lease messages and acknowledge most of them.

use std::time::Duration;

use rand::{Rng, rngs::StdRng};
use tenonmq_client::{PoppedMessage, SimpleConsumer};
use tokio::time::Instant;

use super::{Failure, Scene, Task, ledger::name_in, names};

/// How long a lease lasts; what is received is settled at once.
const LEASE: Duration = Duration::from_secs(3);
const AWAY: Duration = Duration::from_millis(20);

pub(super) fn start(scene: &Scene) -> Vec<Task> {
    let start = |number: u64| {
        let scene = scene.clone();
        tokio::spawn(async move { lease(&scene, scene.choices(400 + number)).await })
    };
    (0..2).map(start).collect()
}

async fn lease(scene: &Scene, mut choices: StdRng) -> Result<(), Failure> {
    let builder = SimpleConsumer::builder(scene.client.clone()).group(names::LEASERS);
    let builder = builder.subscribe(names::LEASED, "*").consume_from_earliest();
    let builder = builder.await_duration(Duration::from_millis(200));
    let consumer = loop {
        match builder.clone().connect().await {
            Ok(consumer) => break consumer,
            Err(error) if error.is_retryable() => tokio::time::sleep(AWAY).await,
            Err(error) => return Err(error.into()),
        }
    };
    while !scene.over.is_cancelled() {
        let asked = Instant::now();
        match consumer.receive(16, LEASE).await {
            Ok(messages) => settle(scene, &consumer, messages, asked, &mut choices).await,
            Err(error) if error.is_retryable() => tokio::time::sleep(AWAY).await,
            Err(error) => return Err(format!("a leaser can never succeed: {error}").into()),
        }
    }
    consumer.shutdown().await;
    Ok(())
}

async fn settle(
    scene: &Scene,
    consumer: &SimpleConsumer,
    messages: Vec<PoppedMessage>,
    asked: Instant,
    choices: &mut StdRng,
) {
    let name = |message: &PoppedMessage| name_in(message.body()).unwrap_or("?").to_owned();
    for message in &messages {
        scene.ledger.leased(&name(message), asked);
    }
    if choices.random_bool(0.3) {
        messages.iter().for_each(|message| scene.ledger.acknowledges(&name(message)));
        if consumer.ack_batch(&messages).await.is_ok() {
            messages.iter().for_each(|message| scene.ledger.acknowledged(&name(message)));
        }
        return;
    }
    for mut message in messages {
        if choices.random_bool(0.1) {
            if choices.random_bool(0.5) {
                drop(consumer.change_invisible(&mut message, Duration::from_millis(500)).await); // or it comes later
            }
            continue;
        }
        scene.ledger.acknowledges(&name(&message));
        if consumer.ack(&message).await.is_ok() {
            scene.ledger.acknowledged(&name(&message));
        }
    }
}
