//! The replenishment consumer: makes up what a consumer acknowledged and never did.

use std::{error::Error, time::Duration};

use sqlx::Sqlite;
use tenonmq_client::{ConsumeFrom, ConsumeOutcome, MessageListener, PushConsumer, ReceivedMessage};
use tenonmq_outbox::{
    Inbox, Incoming, Outbox, Outgoing, Schedule, Status,
    compensation::{Compensation, MakeUp, Unacknowledged},
};

use crate::habit::{Habit, Place, Work, until, worked};

pub(crate) const TOPIC: &str = "rabbit_replenish";
const MESSAGES: i64 = 10;

/// Acknowledges each message when it comes, and dies in the work of every fifth: automatic acknowledgement.
struct AutoAck(Inbox<Sqlite>);

impl MessageListener for AutoAck {
    async fn consume(&self, message: ReceivedMessage) -> ConsumeOutcome {
        let message = Incoming::from(&message);
        if !message.business_key().ends_with(['3', '8'])
            && let Err(error) = self.0.receive(&message, &Work).await
        {
            tracing::warn!(%error, "lost");
        }
        ConsumeOutcome::Done
    }
}

pub(crate) async fn show(place: &Place) -> Result<Vec<Habit>, Box<dyn Error>> {
    let (orders, stock) = (place.database("replenish_orders").await?, place.database("replenish_stock").await?);
    let outbox = Outbox::builder(orders.clone()).build();
    let inbox = Inbox::builder(stock.clone(), "rabbit_replenish_workers").build();
    let consumer = PushConsumer::builder(place.name_server.as_str())
        .group(inbox.group())
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::Earliest)
        .listener(AutoAck(inbox.clone()))
        .connect()
        .await?;
    for number in 0..MESSAGES {
        let mut transaction = orders.begin().await?;
        outbox.publish(&mut transaction, &Outgoing::new(TOPIC, format!("order-{number}"), "an order")).await?;
        transaction.commit().await?;
    }
    outbox.relay(place.producer("rabbit_replenish").await?).pass().await?;
    let replenishment = Compensation::builder(orders, "replenishment")
        .age(Duration::from_secs(2))
        .period(Duration::from_millis(300))
        .schedule(Schedule::listed([Duration::from_secs(1)], 5))
        .build();
    let make_up = MakeUp::through(&inbox, Work);
    let scanner = replenishment.scanner(Unacknowledged::of(&outbox), inbox.clone(), make_up).start();
    let is_whole = until(|| async {
        let backlog = replenishment.backlog().await?;
        Ok(worked(&stock).await?.0 == MESSAGES && backlog.pending + backlog.exhausted == 0)
    });
    let is_whole = is_whole.await?;
    scanner.shutdown().await;
    consumer.shutdown().await;
    let made_up = replenishment.list(Status::Done, 0, 100).await?.len();
    let (messages, effects) = worked(&stock).await?;
    Ok(vec![Habit {
        in_rabbit: "a scheduled job and a replenishment consumer, for what autoAck lost",
        here: "Compensation: Unacknowledged, the consumer's Inbox, MakeUp (or Resend, or FailureEvent)",
        happened: format!("{MESSAGES} sent, 2 lost in the work, {made_up} made up; {messages} have {effects} effects"),
        is_well: is_whole && made_up >= 2 && effects == MESSAGES,
    }])
}
