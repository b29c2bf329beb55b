//! The order service: places orders through producers that live and producers that die.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tenonmq_client::{
    Check, CheckError, CheckListener, Error, LocalState, Message, TransactionListener, TransactionProducer,
};
use tokio::time::{Instant, sleep};

use crate::{
    TOPIC,
    orders::{Fate, Orders, State},
};

const GROUP: &str = "order_service";
/// Longer than any local transaction here takes: an order that is absent after this time will never come.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(3);

/// Looks orders up, and counts the checks.
struct Listener {
    orders: Orders,
    checks: Arc<Mutex<HashMap<u32, u32>>>,
}

impl TransactionListener for Listener {
    type Input = (u32, Fate);

    async fn execute_local_transaction(&self, _: &Message, (order, fate): (u32, Fate)) -> LocalState {
        match self.orders.record(order, fate.is_paid()).await {
            Ok(()) if fate.is_paid() => LocalState::Commit,
            Ok(()) => LocalState::Rollback,
            Err(_) => LocalState::Unknown, // the row may be there: let the check decide
        }
    }
}

impl CheckListener for Listener {
    async fn check_local_transaction(&self, check: Check) -> Result<LocalState, CheckError> {
        let Some(order) = check.key().and_then(|key| key.parse().ok()) else { return Ok(LocalState::Rollback) };
        *self.checks.lock().unwrap_or_else(PoisonError::into_inner).entry(order).or_default() += 1;
        Ok(match self.orders.state(order).await? {
            State::Paid => LocalState::Commit,
            State::Declined => LocalState::Rollback,
            State::Absent if check.age() > LONGEST_TRANSACTION => LocalState::Rollback,
            State::Absent => LocalState::Unknown,
        })
    }
}

/// The producer that lives, answering checks, and what it was asked.
pub(crate) struct Checks {
    producer: TransactionProducer<Listener>,
    counts: Arc<Mutex<HashMap<u32, u32>>>,
    orders: u32,
}

impl Checks {
    /// Number of orders placed; they are numbered from 0.
    pub(crate) fn orders(&self) -> u32 {
        self.orders
    }

    /// How often the broker asked about an order.
    pub(crate) fn of(&self, order: u32) -> u32 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).get(&order).copied().unwrap_or(0)
    }

    pub(crate) async fn shutdown(&self) {
        self.producer.shutdown().await;
    }
}

/// Places orders 0 to `count` - 1, each under its fate.
pub(crate) async fn place_orders(
    name_server: &str,
    orders: &Orders,
    count: u32,
    patience: Duration,
) -> Result<Checks, Error> {
    let counts = Arc::<Mutex<HashMap<u32, u32>>>::default();
    let listener = Listener { orders: orders.clone(), checks: Arc::clone(&counts) };
    let producer = TransactionProducer::builder(name_server).group(GROUP).listener(listener).connect().await?;
    let deadline = Instant::now() + patience;
    for order in 0..count {
        let fate = Fate::of(order);
        // A send that failed did not run the local transaction: place the order again.
        while let Err(error) = place(&producer, name_server, orders, order, fate).await {
            if !error.is_retryable() || Instant::now() > deadline {
                return Err(error);
            }
            println!("order {order}: {error}; once more");
            sleep(Duration::from_millis(500)).await;
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(Checks { producer, counts, orders: count })
}

async fn place(
    producer: &TransactionProducer<Listener>,
    name_server: &str,
    orders: &Orders,
    order: u32,
    fate: Fate,
) -> Result<(), Error> {
    let message = Message::new(TOPIC, format!("order {order}")).key(order.to_string());
    match fate {
        Fate::Paid | Fate::Declined => producer.send_in_transaction(message, (order, fate)).await.map(|_| ()),
        Fate::DiesAfterPaying | Fate::DiesBeforePaying => {
            let mortal = TransactionProducer::builder(name_server).group(GROUP).connect().await?;
            let prepared = mortal.prepare(message).await?;
            if fate == Fate::DiesAfterPaying && orders.record(order, true).await.is_err() {
                println!("order {order}: its producer died while it was paying");
            }
            drop(prepared); // no word to the broker
            mortal.shutdown().await;
            Ok(())
        }
    }
}
