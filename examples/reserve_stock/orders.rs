//! The order service: it begins the TCC, coordinates it, and writes down how it ended.

use std::{error::Error, path::Path, time::Duration};

use serde_json::{Value, json};
use sqlx::{Sqlite, Transaction};
use tenonmq_examples::Service;
use tenonmq_outbox::{
    coordination::{Coordinator, Ended, Ending, Global, Phase, Plan, RunningCoordinator},
    fault::{Faults, Point},
};

/// Who cannot reserve within that time is too late, and everything is cancelled.
const LIMIT: Duration = Duration::from_secs(4);

/// The service, with two instances of its coordinator.
pub(crate) struct Orders {
    pub(crate) service: Service,
    coordinator: Coordinator<Sqlite>,
    running: [RunningCoordinator; 2],
}

/// What a TCC's end means for its order.
#[derive(Clone, Copy)]
struct OrderState;

impl Ending<Sqlite> for OrderState {
    type Error = Box<dyn Error + Send + Sync>;

    async fn ended(&self, transaction: &mut Transaction<'_, Sqlite>, ended: &Ended) -> Result<(), Self::Error> {
        let order = number(&ended.content, "order")?;
        let state = if ended.phase == Phase::Confirmed { "bought" } else { "failed" };
        let update = sqlx::query("UPDATE orders SET state = ? WHERE id = ?").bind(state).bind(order);
        update.execute(&mut **transaction).await?;
        Ok(())
    }
}

/// A number of the plan's content.
pub(crate) fn number(content: &[u8], field: &str) -> Result<i64, Box<dyn Error + Send + Sync>> {
    let content: Value = serde_json::from_slice(content)?;
    Ok(content[field].as_i64().ok_or_else(|| format!("no {field}"))?)
}

impl Orders {
    pub(crate) async fn open(name_server: &str, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let table = "CREATE TABLE orders (id INTEGER PRIMARY KEY, quantity INTEGER, state TEXT)";
        let faults = Faults::default();
        faults.crash_at_nth(Point::AnswerWritten, 30);
        let mut service = Service::open(name_server, folder, "order", &[table], faults).await?;
        let coordinator = || Coordinator::builder(service.outbox.clone(), "order_answers").ending(OrderState).build();
        let (coordinator, other) = (coordinator(), coordinator());
        let running = [coordinator.start(), other.start()];
        service.consume("order_answers", other).await?;
        Ok(Self { service, coordinator, running })
    }

    /// Takes an order and begins its TCC, in one transaction.
    pub(crate) async fn place(&self, order: u32) -> Result<(), Box<dyn Error>> {
        let quantity = 1 + order % 3;
        let mut transaction = self.service.pool.begin().await?;
        let insert = sqlx::query("INSERT INTO orders (id, quantity, state) VALUES (?, ?, 'placed')");
        insert.bind(order).bind(quantity).execute(&mut *transaction).await?;
        let content = json!({"order": order, "quantity": quantity, "member": order % 5}).to_string();
        let plan = Plan::tcc(format!("order-{order}/reserve"), content)
            .within(LIMIT)
            .branch("stock", "stock_commands")
            .branch("account", "account_commands");
        self.coordinator.begin(&mut transaction, &plan).await?;
        transaction.commit().await?;
        self.service.outbox.wake();
        Ok(())
    }

    /// Quantity and state of an order.
    pub(crate) async fn find(&self, order: u32) -> sqlx::Result<(i64, String)> {
        let find = sqlx::query_as("SELECT quantity, state FROM orders WHERE id = ?").bind(order);
        find.fetch_one(&self.service.pool).await
    }

    /// Its TCC.
    pub(crate) async fn global(&self, order: u32) -> Result<Option<Global>, tenonmq_outbox::Error> {
        self.coordinator.find(&format!("order-{order}/reserve")).await
    }

    pub(crate) async fn shutdown(self) {
        for running in self.running {
            running.shutdown().await;
        }
        self.service.shutdown().await;
    }
}
