//! Publisher confirms: the answer to a send says that the broker has the message, and how safely.

use std::{error::Error, time::Duration};

use tenonmq_client::{Message, Producer, SendStatus};
use tenonmq_examples::Broker;
use tenonmq_outbox::{Outbox, Outgoing, Schedule, Status};

use crate::habit::{Habit, Place, until};

pub(crate) const TOPIC: &str = "rabbit_confirm";

pub(crate) async fn show(place: &Place, broker: &mut Option<Broker>) -> Result<Vec<Habit>, Box<dyn Error>> {
    let producer = Producer::builder(place.name_server.as_str())
        .group("rabbit_confirm")
        .send_timeout(Duration::from_millis(500))
        .retries(0)
        .connect()
        .await?;
    let mut confirmed = 0;
    for number in 0..3 {
        let receipt =
            producer.send(Message::new(TOPIC, format!("order {number}")).key(format!("order-{number}"))).await?;
        confirmed += usize::from(matches!(receipt.status, SendStatus::Ok | SendStatus::NoReplica));
    }
    let confirm = Habit {
        in_rabbit: "confirmSelect, waitForConfirms",
        here: "Producer::send: its receipt is the confirm, SendStatus how safe it is",
        happened: format!("3 sent, {confirmed} confirmed"),
        is_well: confirmed == 3,
    };
    Ok(vec![confirm, unconfirmed(place, &producer, broker).await?])
}

/// The broker is away when the order is written: the outbox goes on until it confirms.
async fn unconfirmed(place: &Place, producer: &Producer, broker: &mut Option<Broker>) -> Result<Habit, Box<dyn Error>> {
    let pool = place.database("confirm").await?;
    let outbox = Outbox::builder(pool.clone()).build();
    let schedule = Schedule::exponential(Duration::from_millis(200), Duration::from_secs(1));
    let relay = outbox.relay(place.producer("rabbit_confirm_relay").await?).schedule(schedule).start();
    let (is_ours, outbox) = (broker.is_some(), &outbox);
    Broker::stop(broker).await;
    let is_refused = producer.send(Message::new(TOPIC, "no confirm")).await.is_err();
    let mut transaction = pool.begin().await?;
    outbox.publish(&mut transaction, &Outgoing::new(TOPIC, "order-4/created", "order 4")).await?;
    transaction.commit().await?;
    outbox.wake();
    let row = || async { Ok::<_, Box<dyn Error>>(outbox.find(TOPIC, "order-4/created").await?.ok_or("no row")?) };
    let is_tried = !is_ours || until(|| async { Ok(row().await?.attempts > 0) }).await?;
    Broker::start(broker).await?;
    let is_sent = until(|| async { Ok(row().await?.status == Status::Done) }).await?;
    let failures = row().await?.attempts;
    relay.shutdown().await;
    Ok(Habit {
        in_rabbit: "no confirm: keep the message and publish it again",
        here: "Outbox and Relay: kept in the order's transaction, sent until it is confirmed",
        happened: if is_ours {
            format!("broker away: the send failed, and the relay ({failures} times); back: confirmed")
        } else {
            "confirmed (this broker is not ours to take away)".to_owned()
        },
        is_well: is_sent && is_tried && (is_refused || !is_ours),
    })
}
