//! The order service.

use std::{error::Error, path::Path, time::Duration};

use serde_json::json;
use sqlx::{Sqlite, SqlitePool};
use tenonmq_examples::database;
use tenonmq_outbox::{
    Outbox, Outgoing, RunningRelay, Schedule, Transactional,
    fault::{Faults, Point},
};

use crate::{TOPIC, fate::Fate};

const GROUP: &str = "order_service";

/// The instance that lives, and the database of all instances.
pub(crate) struct Orders {
    name_server: String,
    pool: SqlitePool,
    faults: Faults,
    transactional: Transactional<Sqlite>,
    relay: RunningRelay,
}

/// An instance of the service.
async fn instance(
    name_server: &str,
    pool: &SqlitePool,
    faults: &Faults,
) -> Result<Transactional<Sqlite>, Box<dyn Error>> {
    let outbox = Outbox::builder(pool.clone()).faults(faults.clone()).build();
    Ok(Transactional::builder(outbox, name_server).group(GROUP).connect().await?)
}

impl Orders {
    pub(crate) async fn open(name_server: &str, path: &Path) -> Result<Self, Box<dyn Error>> {
        let pool = database(path).await?;
        sqlx::query("CREATE TABLE orders (id INTEGER PRIMARY KEY, member INTEGER, quantity INTEGER, amount INTEGER)")
            .execute(&pool)
            .await?;
        let faults = Faults::default();
        let transactional = instance(name_server, &pool, &faults).await?;
        transactional.watch(TOPIC).await?; // so that it is asked about what other instances left
        let schedule = Schedule::exponential(Duration::from_millis(200), Duration::from_secs(2));
        let relay =
            transactional.relay().schedule(schedule).send_limit(Duration::from_secs(4)).lease(Duration::from_secs(5));
        let name_server = name_server.to_owned();
        Ok(Self { name_server, pool, faults, relay: relay.start(), transactional })
    }

    /// Places an order under its fate.
    pub(crate) async fn place(&self, order: u32, fate: Fate) -> Result<(), Box<dyn Error>> {
        match fate {
            Fate::Paid => return self.pay(&self.transactional, order, true).await,
            Fate::Declined => return self.pay(&self.transactional, order, false).await,
            Fate::DiesWhileTelling => {
                self.faults.crash_at(Point::HalfCommitted);
                return self.pay(&self.transactional, order, true).await;
            }
            Fate::DiesBeforeCommit | Fate::DiesAfterCommit => {}
        }
        let faults = Faults::default();
        let mortal = instance(&self.name_server, &self.pool, &faults).await?;
        if fate == Fate::DiesBeforeCommit {
            faults.crash_at(Point::PublishWritten);
            if let Err(death) = self.pay(&mortal, order, true).await {
                tracing::info!(order, %death);
            }
        } else {
            self.pay(&mortal, order, true).await?;
        }
        mortal.shutdown().await;
        Ok(())
    }

    /// The business: the order and the message about it are one transaction.
    async fn pay(&self, instance: &Transactional<Sqlite>, order: u32, is_accepted: bool) -> Result<(), Box<dyn Error>> {
        let (member, quantity) = (order % 7, 1 + order % 3);
        let amount = 100 * quantity;
        let mut transaction = self.pool.begin().await?;
        sqlx::query("INSERT INTO orders (id, member, quantity, amount) VALUES (?, ?, ?, ?)")
            .bind(order)
            .bind(member)
            .bind(quantity)
            .bind(amount)
            .execute(&mut *transaction)
            .await?;
        let content = json!({"order": order, "member": member, "quantity": quantity, "amount": amount}).to_string();
        let message = Outgoing::new(TOPIC, format!("order-{order}/paid"), content);
        instance.publish(&mut transaction, &message).await?;
        if is_accepted {
            transaction.commit().await?;
            instance.wake();
        } else {
            transaction.rollback().await?;
        }
        Ok(())
    }

    /// Quantity and amount of an order, if it is paid.
    pub(crate) async fn find(&self, order: u32) -> sqlx::Result<Option<(i64, i64)>> {
        let find = sqlx::query_as("SELECT quantity, amount FROM orders WHERE id = ?").bind(order);
        find.fetch_optional(&self.pool).await
    }

    /// How many half messages are in each state.
    pub(crate) async fn halves(&self) -> sqlx::Result<Vec<(String, i64)>> {
        let count = sqlx::query_as("SELECT state, COUNT(*) FROM msg_half GROUP BY state ORDER BY state");
        count.fetch_all(&self.pool).await
    }

    /// Messages that are not sent yet, or will not be.
    pub(crate) async fn unsent(&self) -> Result<u64, tenonmq_outbox::Error> {
        let backlog = self.transactional.outbox().backlog().await?;
        Ok(backlog.pending + backlog.exhausted)
    }

    pub(crate) async fn shutdown(self) {
        self.relay.shutdown().await;
        self.transactional.shutdown().await;
    }
}
