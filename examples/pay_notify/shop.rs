//! The payment service: orders, their notifications, and the query interface for those who are told.

use std::{error::Error, net::SocketAddr, path::Path, time::Duration};

use serde_json::json;
use sqlx::{Sqlite, SqlitePool};
use tenonmq_outbox::{
    Schedule, Status,
    monitoring::{AlertSettings, Monitor, Rules},
    notification::{CircuitSettings, Decision, DerivedKeys, Key, Keys, Notification, Notifier, Reach, RunningCourier},
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    duty::Duty,
    fate::{Fate, amount_of},
};

/// Who is told.
pub(crate) const MERCHANT: &str = "merchant-7";
/// What the merchant is shown is so old; no transaction here takes longer.
pub(crate) const SETTLING: Duration = Duration::from_secs(1);

pub(crate) struct Shop {
    pool: SqlitePool,
    notifier: Notifier<Sqlite>,
    courier: Option<RunningCourier>,
    merchant_url: String,
    query_address: SocketAddr,
    serving: JoinHandle<()>,
}

fn keys() -> DerivedKeys {
    DerivedKeys(Key::new("the shop's secret"))
}

impl Shop {
    /// The key that the merchant was given.
    pub(crate) fn key_of_merchant() -> Key {
        keys().of(MERCHANT).remove(0) // derived keys are one each
    }

    pub(crate) async fn open(path: &Path, merchant_url: String) -> Result<Self, Box<dyn Error>> {
        let pool = tenonmq_examples::database(path).await?;
        sqlx::query("CREATE TABLE orders (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, state TEXT NOT NULL)")
            .execute(&pool)
            .await?;
        let reach = Reach::public().and("127.0.0.0/8".parse()?); // only public addresses are called otherwise
        let notifier = Notifier::builder(pool.clone(), keys()).reach(reach).settling(SETTLING).build();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (query_address, router) = (listener.local_addr()?, notifier.router());
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the query interface ended");
            }
        });
        let courier = Some(start_courier(&notifier));
        Ok(Self { pool, notifier, courier, merchant_url, query_address, serving })
    }

    /// Pays an order and notifies the merchant, both or neither.
    pub(crate) async fn pay(&self, order: u32, fate: Fate) -> Result<(), Box<dyn Error>> {
        let amount = amount_of(order);
        let notification = Notification::to(MERCHANT, &self.merchant_url)
            .about("paid", format!("order-{order}/paid"))
            .json(json!({ "order": order, "amount": amount }).to_string());
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let pay = sqlx::query("INSERT INTO orders (id, amount, state) VALUES (?, ?, 'paid')").bind(order).bind(amount);
        pay.execute(&mut *transaction).await?;
        self.notifier.notify(&mut transaction, &notification).await?;
        if fate == Fate::Declined {
            return Ok(transaction.rollback().await?);
        }
        transaction.commit().await?;
        self.notifier.wake();
        Ok(())
    }

    /// Ends the courier as a crash would, and starts another, as another instance of the service would have one.
    pub(crate) fn courier_dies(&mut self) {
        println!("the courier dies, and another one starts");
        drop(self.courier.take());
        self.courier = Some(start_courier(&self.notifier));
    }

    /// Notifications that are still to be delivered.
    pub(crate) async fn under_way(&self) -> Result<u64, Box<dyn Error>> {
        Ok(self.notifier.backlog().await?.pending)
    }

    /// The merchant has fetched what it missed: what was given up needs no more tries.
    pub(crate) async fn decide_what_was_given_up(&self) -> Result<(), Box<dyn Error>> {
        for task in self.notifier.list(Status::Exhausted, 0, 1_000).await? {
            let decision = Decision { who: "operator", why: "fetched by the merchant" };
            self.notifier.give_up(task.row, decision).await?;
        }
        Ok(())
    }

    /// Has the monitor look three times, and says how often people heard of it.
    pub(crate) async fn tell_people(&self) -> u32 {
        let duty = Duty::default();
        let at_once = AlertSettings { gather: Duration::ZERO, ..AlertSettings::default() }; // a service gathers for 30 s
        let mut monitor = Monitor::new(Rules::default(), at_once).watch(self.notifier.clone()).tell(duty.clone());
        for _ in 0..3 {
            monitor.pass().await;
        }
        duty.notices()
    }

    /// The amounts that were paid, by order.
    pub(crate) async fn paid(&self) -> Result<Vec<(u32, i64)>, Box<dyn Error>> {
        Ok(sqlx::query_as("SELECT id, amount FROM orders WHERE state = 'paid' ORDER BY id")
            .fetch_all(&self.pool)
            .await?)
    }

    /// Where an order's notification is in its life, and how many tries it had; none for one that was never written.
    pub(crate) async fn told(&self, order: u32) -> Result<Option<(Status, u32)>, Box<dyn Error>> {
        let task = self.notifier.find(MERCHANT, "paid", &format!("order-{order}/paid")).await?;
        Ok(task.map(|task| (task.status, task.attempts)))
    }

    /// Where receivers fetch.
    pub(crate) fn query_address(&self) -> SocketAddr {
        self.query_address
    }

    pub(crate) async fn shutdown(mut self) {
        if let Some(courier) = self.courier.take() {
            courier.shutdown().await;
        }
        self.serving.abort();
    }
}

/// Short pauses, as this is a demonstration.
fn start_courier(notifier: &Notifier<Sqlite>) -> RunningCourier {
    let ms = Duration::from_millis;
    let circuit = CircuitSettings { failures: 5, first_pause: ms(100), longest_pause: ms(400) };
    let courier = notifier.courier().strategy("paid", Schedule::listed([ms(50), ms(100), ms(200)], 6));
    courier.call_limits(ms(200), ms(300)).lease(ms(1_600)).circuit(circuit).start()
}
