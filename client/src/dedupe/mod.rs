//! Handling a message once although it comes twice.
//!
//! A [`Deduplicator`] remembers which messages are done; [`Deduped`] puts one before a listener. What is promised is no
//! more than the store promises: [`RecentIds`] lives in this process and knows the last so many, so it catches the usual
//! duplicates (a send that was tried again, a queue that changed hands) and forgets at a restart. A store that commits
//! together with the handler's own data makes the effect exactly one.

mod recent;

use std::future::Future;

pub use self::recent::RecentIds;
use crate::{
    consumer::{ConsumeOutcome, Failure, MessageListener},
    received::ReceivedMessage,
};

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: it is the caller's now, until it is completed or released.
    New,
    /// Somebody handles it at this moment.
    InProgress,
    /// It was completed.
    Done,
}

/// Remembers which messages are done, by key.
pub trait Deduplicator: Send + Sync + 'static {
    /// Looks the key up, and claims it when nothing is known of it.
    ///
    /// # Errors
    /// When the store cannot tell; the message is retried with that failure.
    fn claim(&self, key: &str) -> impl Future<Output = Result<Claim, Failure>> + Send;

    /// The claimed key is done.
    ///
    /// # Errors
    /// When the store cannot note it; the message is retried with that failure, so it may be handled again.
    fn complete(&self, key: &str) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The claimed key is not done, and may be claimed again. Called when a handler fails, panics or is cancelled, so it
    /// must not block; a store whose claims end by themselves need not do anything.
    fn release(&self, key: &str);
}

/// A listener that handles no message twice, as far as its store knows.
///
/// ```no_run
/// # async fn example() -> Result<(), tenonmq_client::Error> {
/// use tenonmq_client::{ConsumeOutcome, Deduped, PushConsumer, ReceivedMessage, RecentIds};
/// let handler = async |message: ReceivedMessage| {
///     println!("{:?}", message.body());
///     ConsumeOutcome::Done
/// };
/// // by the order's number instead of the message's id: the order may have been sent as two messages
/// let once = Deduped::new(RecentIds::new(100_000), handler)
///     .by(|message| message.get("order").map_or_else(|| message.id(), str::to_owned));
/// let consumer = PushConsumer::builder("127.0.0.1:9876")
///     .group("billing")
///     .subscribe("paid", "*")
///     .listener(once)
///     .connect()
///     .await?;
/// # drop(consumer);
/// # Ok(()) }
/// ```
pub struct Deduped<D, L> {
    store: D,
    listener: L,
    key: Box<dyn Fn(&ReceivedMessage) -> String + Send + Sync>,
}

impl<D: Deduplicator, L: MessageListener> Deduped<D, L> {
    /// Dedupes by [`ReceivedMessage::id`], which stays the same through retries.
    pub fn new(store: D, listener: L) -> Self {
        Self { store, listener, key: Box::new(ReceivedMessage::id) }
    }

    /// Dedupes by what `key` makes of a message.
    #[must_use]
    pub fn by(self, key: impl Fn(&ReceivedMessage) -> String + Send + Sync + 'static) -> Self {
        Self { key: Box::new(key), ..self }
    }
}

impl<D: Deduplicator, L: MessageListener> MessageListener for Deduped<D, L> {
    async fn consume(&self, message: ReceivedMessage) -> ConsumeOutcome {
        let key = (self.key)(&message);
        match self.store.claim(&key).await {
            Ok(Claim::New) => {}
            Ok(Claim::Done) => return ConsumeOutcome::Done,
            // its other copy may fail yet, so this one must come again
            Ok(Claim::InProgress) => return ConsumeOutcome::Retry,
            Err(failure) => return ConsumeOutcome::Failed(failure),
        }
        let mut claimed = Claimed { store: &self.store, key: &key, settled: false };
        let outcome = self.listener.consume(message).await;
        if outcome != ConsumeOutcome::Done {
            return outcome;
        }
        match self.store.complete(&key).await {
            Ok(()) => {
                claimed.settled = true;
                ConsumeOutcome::Done
            }
            Err(failure) => ConsumeOutcome::Failed(failure),
        }
    }
}

/// Releases the key unless it was completed: also when the handler panics or is cancelled.
struct Claimed<'a, D: Deduplicator> {
    store: &'a D,
    key: &'a str,
    settled: bool,
}

impl<D: Deduplicator> Drop for Claimed<'_, D> {
    fn drop(&mut self) {
        if !self.settled {
            self.store.release(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures_util::FutureExt;

    use super::*;
    use crate::received::decode_records;

    fn message(id: &str) -> ReceivedMessage {
        use tenonmq_protocol::message::record::{Assigned, NewRecord, body_crc};
        let properties = format!("UNIQ_KEY\u{1}{id}\u{2}");
        let record = NewRecord {
            topic: "T",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: ([127, 0, 0, 1], 1).into(),
            store_host: ([127, 0, 0, 1], 2).into(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"x",
            properties: properties.as_bytes(),
            body_crc: body_crc(b"x"),
        };
        let mut bytes = vec![0; record.encoded_len()];
        record.encode(&mut bytes, Assigned::default());
        decode_records(None, &bytes.into()).next().unwrap().unwrap()
    }

    /// Counts its calls; fails the first `failures`.
    fn counting(failures: usize) -> (Arc<AtomicUsize>, impl MessageListener) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let listener = move |_: ReceivedMessage| {
            let fails = counted.fetch_add(1, Ordering::SeqCst) < failures;
            std::future::ready(if fails { ConsumeOutcome::Retry } else { ConsumeOutcome::Done })
        };
        (calls, listener)
    }

    #[tokio::test]
    async fn a_message_that_comes_twice_is_handled_once() {
        let (calls, listener) = counting(0);
        let once = Deduped::new(RecentIds::new(10), listener);
        for id in ["a", "b", "a"] {
            assert_eq!(once.consume(message(id)).await, ConsumeOutcome::Done);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_message_that_failed_is_handled_again() {
        let (calls, listener) = counting(1);
        let once = Deduped::new(RecentIds::new(10), listener);
        assert_eq!(once.consume(message("a")).await, ConsumeOutcome::Retry);
        assert_eq!(once.consume(message("a")).await, ConsumeOutcome::Done);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_copy_that_comes_while_the_first_is_handled_is_retried_and_a_cancelled_handler_frees_its_key() {
        let never = |_: ReceivedMessage| std::future::pending::<ConsumeOutcome>();
        let once = Deduped::new(RecentIds::new(10), never);
        let mut first = Box::pin(once.consume(message("a")));
        assert!((&mut first).now_or_never().is_none());
        assert_eq!(once.consume(message("a")).now_or_never(), Some(ConsumeOutcome::Retry));
        drop(first);
        assert!(once.consume(message("a")).now_or_never().is_none(), "claimed anew");
    }

    #[tokio::test]
    async fn another_key_may_say_what_is_the_same() {
        let (calls, listener) = counting(0);
        let once = Deduped::new(RecentIds::new(10), listener).by(|message| message.topic().to_owned());
        once.consume(message("a")).await;
        once.consume(message("b")).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}
