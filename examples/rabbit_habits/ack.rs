//! Manual acknowledgement: what is received is leased, and comes again unless it is acknowledged in time.

use std::{error::Error, time::Duration};

use tenonmq_client::{PoppedMessage, SimpleConsumer};
use tenonmq_outbox::{Inbox, Incoming, Outbox, Outgoing, Received, Schedule};

use crate::habit::{Habit, Place, Work, worked};

pub(crate) const TOPIC: &str = "rabbit_ack";
/// How long a worker has a message to itself.
const LEASE: Duration = Duration::from_secs(2);

pub(crate) async fn show(place: &Place) -> Result<Vec<Habit>, Box<dyn Error>> {
    let pool = place.database("ack").await?;
    let outbox = Outbox::builder(pool.clone()).build();
    let mut transaction = pool.begin().await?;
    outbox.publish(&mut transaction, &Outgoing::new(TOPIC, "order-1/paid", "order 1")).await?;
    transaction.commit().await?;
    outbox.relay(place.producer("rabbit_ack").await?).schedule(Schedule::default()).pass().await?;

    let inbox = Inbox::builder(pool.clone(), "rabbit_ack_workers").build();
    let dying = worker(place).await?;
    let message = received(&dying).await?;
    let first = inbox.receive(&incoming(&message), &Work).await?;
    dying.shutdown().await; // its work is committed, and nobody was told

    let next = worker(place).await?;
    let again = received(&next).await?;
    let second = inbox.receive(&incoming(&again), &Work).await?;
    next.ack(&again).await?;
    let is_empty = next.receive(1, LEASE).await?.is_empty();
    next.shutdown().await;
    let (_, effects) = worked(&pool).await?;
    let is_once = first == Received::Now && second == Received::Before && effects == 1;
    let came = if again.id() == message.id() { "the same message came" } else { "ANOTHER MESSAGE CAME" };
    Ok(vec![
        Habit {
            in_rabbit: "basicAck after the work; a worker that dies before it gets the message redelivered to another",
            here: "SimpleConsumer::receive with a lease, then ack; with PushConsumer: ConsumeOutcome::Done",
            happened: format!("first worker died; {came} to another; acknowledged: gone"),
            is_well: again.id() == message.id() && is_empty,
        },
        Habit {
            in_rabbit: "a redelivered message must do nothing twice: a table of processed ids",
            here: "Inbox: the row of the message and the work are one transaction",
            happened: format!("first {first:?}, second {second:?}, {effects} effect"),
            is_well: is_once,
        },
    ])
}

async fn worker(place: &Place) -> Result<SimpleConsumer, Box<dyn Error>> {
    let builder = SimpleConsumer::builder(place.name_server.as_str()).group("rabbit_ack_workers");
    let builder = builder.subscribe(TOPIC, "*").consume_from_earliest().await_duration(Duration::from_secs(3));
    Ok(builder.connect().await?)
}

/// The next message, within half a minute.
async fn received(worker: &SimpleConsumer) -> Result<PoppedMessage, Box<dyn Error>> {
    for _ in 0..10 {
        if let Some(message) = worker.receive(1, LEASE).await?.pop() {
            return Ok(message);
        }
    }
    Err("no message came".into())
}

fn incoming(message: &PoppedMessage) -> Incoming {
    let key = message.keys().next().unwrap_or_default().to_owned();
    Incoming::new(message.topic(), key, message.body().clone())
}
