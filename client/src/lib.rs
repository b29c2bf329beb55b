//! A Rust client for TenonMQ and Apache RocketMQ over the remoting protocol.
//!
//! | you want to | use |
//! |---|---|
//! | send messages | [`Producer`] |
//! | send a message if and only if a local transaction commits | [`TransactionProducer`] |
//! | be handed a group's messages | [`PushConsumer`] |
//! | read queues at your own pace | [`PullConsumer`] |
//! | settle each message by its own, with a lease | [`SimpleConsumer`] |
//! | create topics, look a message up | [`Admin`] |
//!
//! Each is built with `…::builder("host:port")` and ends in `connect()`: a client that exists works. Clients are
//! asynchronous (tokio), share nothing with each other, re-connect by themselves, and give every wait on the network a
//! deadline. Call `shutdown()` to leave the group in good order.
//!
//! ```no_run
//! use tenonmq_client::{ConsumeFrom, ConsumeOutcome, Message, Producer, PushConsumer, ReceivedMessage};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), tenonmq_client::Error> {
//!     let producer = Producer::builder("127.0.0.1:9876").group("shop").connect().await?;
//!     producer.send(Message::new("paid", "order 42").tag("card").key("42")).await?;
//!
//!     let consumer = PushConsumer::builder("127.0.0.1:9876")
//!         .group("billing")
//!         .subscribe("paid", "card || cash")
//!         .consume_from(ConsumeFrom::Earliest)
//!         .listener(async |message: ReceivedMessage| {
//!             println!("{} paid: {:?}", message.id(), message.body());
//!             ConsumeOutcome::Done
//!         })
//!         .connect()
//!         .await?;
//!
//!     tokio::signal::ctrl_c().await.ok();
//!     consumer.shutdown().await;
//!     producer.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! # What is promised
//!
//! * A send that returned `Ok` is stored as safely as [`SendReceipt::status`] says. One that returned a
//!   [retryable](Error::is_retryable) error may be stored too.
//! * A message reaches every group at least once. Dedupe by [`ReceivedMessage::id`], for example with [`Deduped`].
//! * The outcome of a transaction is never guessed: whatever is not decided is left to the check.
//!
//! # Inside
//!
//! `transport` keeps one pipelined connection per peer and the route table; `session` adds heartbeats and the orderly
//! end; `producer`, `transaction` and `consumer` stand on these two. Nothing here knows the broker's inside: the crate
//! depends on `tenonmq-protocol` alone.

mod admin;
mod config;
mod consumer;
pub mod dead_letters;
mod dedupe;
mod error;
mod identity;
mod message;
mod pop;
mod producer;
mod received;
mod session;
#[cfg(test)]
mod testing;
mod text;
mod transaction;
mod transport;
mod wire;

pub use tenonmq_protocol::{ResponseCode, message::queue::MessageQueue};

pub use self::{
    admin::Admin,
    config::{ClientConfig, Compression, Serialization},
    consumer::{
        BroadcastOffsets, ConsumeFrom, ConsumeOutcome, Failure, Filter, MessageListener, PullConsumer,
        PullConsumerBuilder, PullStatus, Pulled, PushConsumer, PushConsumerBuilder, QueueProgress, QueueState, Scope,
        allocate_averagely,
    },
    dedupe::{Claim, Deduped, Deduplicator, RecentIds},
    error::Error,
    message::Message,
    pop::{PoppedMessage, SimpleConsumer, SimpleConsumerBuilder},
    producer::{BatchReceipt, Producer, ProducerBuilder, SendReceipt, SendStatus, index_by_key},
    received::ReceivedMessage,
    transaction::{
        Check, CheckError, CheckListener, CheckRouter, HalfPlace, IntoAnswer, LocalState, MessageOutcome, NoListener,
        Prepared, Transaction, TransactionListener, TransactionOutcome, TransactionProducer,
        TransactionProducerBuilder, TransactionReceipt,
    },
};
