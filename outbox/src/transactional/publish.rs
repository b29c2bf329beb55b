//! The call itself.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use sqlx::Transaction;
use tenonmq_client::{Error as ClientError, HalfPlace};
use tracing::debug;

use super::{Halves, Transactional};
use crate::{clock::millis, database::Dialect, error::Error, fault::Point, message::Outgoing, outbox::Published};

/// The header that names a row's half message.
pub(crate) const HALF_HEADER: &str = "outbox_half";

/// The half message of a row, if it has one.
pub(crate) fn half_of(message: &Outgoing) -> Option<&str> {
    message.headers.get(HALF_HEADER).map(String::as_str)
}

/// While it lasts no half messages are tried: the broker did not take the last one, and each try keeps a transaction open.
#[derive(Debug)]
pub(super) struct Pause {
    length: Duration,
    until_ms: AtomicI64,
}

impl Pause {
    pub(super) fn new(length: Duration) -> Self {
        Self { length, until_ms: AtomicI64::new(i64::MIN) }
    }

    fn lasts(&self, now_ms: i64) -> bool {
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        // a clock that was set back does not make it last longer
        now_ms < until_ms && until_ms.saturating_sub(now_ms) <= millis(self.length)
    }

    fn begin(&self, now_ms: i64) {
        self.until_ms.store(now_ms.saturating_add(millis(self.length)), Ordering::Relaxed);
    }
}

impl<D: Dialect, H: Halves> Transactional<D, H> {
    /// Publishes a message if and only if `transaction` commits: stores a half message and writes the outbox row.
    /// Publishing the same message again changes nothing.
    ///
    /// The broker is spoken to while the transaction is open, for as long as the builder's
    /// [`half_limit`](super::TransactionalBuilder::half_limit) allows; so call it last. When the broker does not take the half
    /// message in that time, the row alone is written, and the relay sends it. The same goes, without asking, for messages
    /// with an order key, whose order the relay keeps, and for those with a delivery time unless the builder says that all
    /// brokers [begin delays at the commit](super::TransactionalBuilder::delays_begin_at_commit).
    ///
    /// # Errors
    /// [`Error::Message`] and [`Error::TooLarge`] before anything is sent or written; [`Error::Collision`] and
    /// [`Error::Database`] as [`Outbox::publish`](crate::Outbox::publish). Then roll the transaction back: the half message
    /// is dropped by its check.
    pub async fn publish(&self, transaction: &mut Transaction<'_, D>, message: &Outgoing) -> Result<Published, Error> {
        let shared = &*self.0;
        let outbox = &shared.outbox;
        message.check(outbox.0.largest)?;
        let is_plain = message.order_key.is_some() || (message.deliver_at_ms.is_some() && !shared.delays);
        if is_plain || shared.pause.lasts(outbox.0.clock.now_ms()) {
            return outbox.publish(transaction, message).await;
        }
        let id = format!("{:032x}", rand::random::<u128>());
        let marked = message.clone().header(HALF_HEADER, &id);
        let place = match self.prepare(&id, &marked).await {
            Some(place) => place,
            // if a half message is there all the same, its check finds no row and drops it
            None => return outbox.publish(transaction, message).await,
        };
        outbox.0.faults.pass(Point::HalfStored)?;
        let published = outbox.publish(transaction, &marked).await?;
        if published.is_new {
            // a check that was faster has given the half message up: the relay will find that, and send the message
            let now_ms = outbox.0.clock.now_ms();
            shared.table.hold(transaction, &id, published.row, &place, now_ms).await?;
        }
        outbox.0.faults.pass(Point::HalfWritten)?;
        Ok(published)
    }

    /// Stores the half message, if the broker takes it.
    async fn prepare(&self, id: &str, message: &Outgoing) -> Option<HalfPlace> {
        let shared = &*self.0;
        match shared.halves.prepare(id, message).await {
            Ok(place) => Some(place),
            Err(error) => {
                debug!(topic = message.topic, %error, "no half message: the relay will send the message");
                if !matches!(error, ClientError::InvalidMessage { .. } | ClientError::MessageTooLarge { .. }) {
                    shared.pause.begin(shared.outbox.0.clock.now_ms());
                }
                None
            }
        }
    }
}
