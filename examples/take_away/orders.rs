//! The order service: it begins the saga, coordinates it, and writes down how it ended.

use std::{error::Error, path::Path, time::Duration};

use serde_json::json;
use sqlx::{Sqlite, Transaction};
use tenonmq_examples::Service;
use tenonmq_outbox::{
    coordination::{Coordinator, Ended, Ending, Global, Phase, Plan, RunningCoordinator},
    fault::{Faults, Point},
};

/// A step that takes longer is compensated, whether it was done or not.
const STEP_LIMIT: Duration = Duration::from_secs(4);

/// The service, with two instances of its coordinator.
pub(crate) struct Orders {
    pub(crate) service: Service,
    coordinator: Coordinator<Sqlite>,
    running: [RunningCoordinator; 2],
}

/// What a saga's end means for its order.
#[derive(Clone, Copy)]
struct OrderState;

impl Ending<Sqlite> for OrderState {
    type Error = Box<dyn Error + Send + Sync>;

    async fn ended(&self, transaction: &mut Transaction<'_, Sqlite>, ended: &Ended) -> Result<(), Self::Error> {
        let order = number(&ended.content, "order")?;
        let state = if ended.phase == Phase::Confirmed { "dispatched" } else { "failed" };
        let update = sqlx::query("UPDATE orders SET state = ?, changes = changes + 1 WHERE id = ?");
        update.bind(state).bind(order).execute(&mut **transaction).await?;
        Ok(())
    }
}

/// A number of the saga's content.
pub(crate) fn number(content: &[u8], field: &str) -> Result<i64, Box<dyn Error + Send + Sync>> {
    let content: serde_json::Value = serde_json::from_slice(content)?;
    Ok(content[field].as_i64().ok_or_else(|| format!("no {field}"))?)
}

impl Orders {
    pub(crate) async fn open(name_server: &str, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let table =
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, price INTEGER, dishes INTEGER, state TEXT, changes INTEGER)";
        let faults = Faults::default();
        faults.crash_at_nth(Point::AnswerWritten, 20);
        let mut service = Service::open(name_server, folder, "order", &[table], faults).await?;
        let coordinator = || Coordinator::builder(service.outbox.clone(), "order_answers").ending(OrderState).build();
        let (coordinator, other) = (coordinator(), coordinator());
        let running = [coordinator.start(), other.start()];
        service.consume("order_answers", other).await?;
        Ok(Self { service, coordinator, running })
    }

    /// Takes an order and begins its saga, in one transaction.
    pub(crate) async fn place(&self, order: u32) -> Result<(), Box<dyn Error>> {
        let dishes = 1 + order % 3;
        let price = 900 * dishes;
        let mut transaction = self.service.pool.begin().await?;
        sqlx::query("INSERT INTO orders (id, price, dishes, state, changes) VALUES (?, ?, ?, 'placed', 0)")
            .bind(order)
            .bind(price)
            .bind(dishes)
            .execute(&mut *transaction)
            .await?;
        let content = json!({"order": order, "price": price, "dishes": dishes, "ride": 1}).to_string();
        let saga = Plan::saga(format!("order-{order}/take-away"), content)
            .within(STEP_LIMIT)
            .branch("payment", "payment_commands")
            .branch("kitchen", "kitchen_commands")
            .branch("courier", "courier_commands");
        self.coordinator.begin(&mut transaction, &saga).await?;
        transaction.commit().await?;
        self.service.outbox.wake();
        Ok(())
    }

    /// Price, dishes and state of an order, and how often that changed.
    pub(crate) async fn find(&self, order: u32) -> sqlx::Result<(i64, i64, String, i64)> {
        let find = sqlx::query_as("SELECT price, dishes, state, changes FROM orders WHERE id = ?").bind(order);
        find.fetch_one(&self.service.pool).await
    }

    /// Its saga.
    pub(crate) async fn saga(&self, order: u32) -> Result<Option<Global>, tenonmq_outbox::Error> {
        self.coordinator.find(&format!("order-{order}/take-away")).await
    }

    pub(crate) async fn shutdown(self) {
        for running in self.running {
            running.shutdown().await;
        }
        self.service.shutdown().await;
    }
}
