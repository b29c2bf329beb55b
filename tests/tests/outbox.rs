//! Outbox and inbox with SQLite and our own broker: orders are paid in one database, points are given in another.

use std::{
    error::Error,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tenonmq_client::{Message, MessageListener, PushConsumer, ReceivedMessage};
use tenonmq_outbox::{Effects, Inbox, InboxListener, Incoming, Outbox, Outgoing, Schedule, Schema, Status};
use tenonmq_tests::{client_suite::support, own_broker::OwnBroker};

type Done = Result<(), Box<dyn Error>>;

const ORDERS: usize = 40;

async fn database(path: &Path) -> Result<SqlitePool, Box<dyn Error>> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let pool = SqlitePool::connect_with(options.journal_mode(SqliteJournalMode::Wal)).await?;
    Schema::default().migrate(&pool).await?;
    Ok(pool)
}

/// Tries again soon, for as long as a test has patience.
fn soon() -> Schedule {
    Schedule::listed([Duration::from_millis(100)], 1_000)
}

/// Gives ten points for an order; refuses each order whose number ends in 7 the first time, after having given them.
#[derive(Clone, Default)]
struct Points {
    refused: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl Effects<Sqlite> for Points {
    type Error = Box<dyn Error + Send + Sync>;

    async fn apply(&self, transaction: &mut Transaction<'_, Sqlite>, message: &Incoming) -> Result<(), Self::Error> {
        let give = sqlx::query("INSERT INTO points (order_id, points) VALUES (?, 10)");
        give.bind(message.business_key()).execute(&mut **transaction).await?;
        let key = message.business_key().to_owned();
        let mut refused = self.refused.lock();
        if key.ends_with('7') && !refused.contains(&key) {
            refused.push(key);
            return Err("the member is not there yet".into());
        }
        Ok(())
    }
}

/// Counts what the broker brings, copies too.
struct Counted(InboxListener<Sqlite, Points>, Arc<AtomicUsize>);

impl MessageListener for Counted {
    async fn consume(&self, message: ReceivedMessage) -> tenonmq_client::ConsumeOutcome {
        let outcome = self.0.consume(message).await;
        self.1.fetch_add(1, Ordering::SeqCst);
        outcome
    }
}

async fn pay(pool: &SqlitePool, outbox: &Outbox<Sqlite>, topic: &str, order: usize) -> Done {
    let id = format!("order-{order}");
    let mut transaction = pool.begin().await?;
    sqlx::query("INSERT INTO orders (id) VALUES (?)").bind(&id).execute(&mut *transaction).await?;
    let message =
        Outgoing::new(topic, &id, format!("{{\"order\":{order}}}")).in_order_of(format!("member-{}", order % 5));
    outbox.publish(&mut transaction, &message).await?;
    transaction.commit().await?;
    outbox.wake();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_order_gets_its_points_once_though_relays_consumers_and_the_broker_die() -> Done {
    let folder = tempfile::tempdir()?;
    let mut broker = OwnBroker::start(&folder.path().join("broker")).await?;
    let name_server = broker.name_server();
    let topic = support::topic(&name_server, 4).await?;
    let orders = database(&folder.path().join("orders.db")).await?;
    let points = database(&folder.path().join("points.db")).await?;
    sqlx::query("CREATE TABLE orders (id TEXT PRIMARY KEY)").execute(&orders).await?;
    sqlx::query("CREATE TABLE points (order_id TEXT, points INTEGER)").execute(&points).await?;

    let effects = Points::default();
    let group = support::fresh("CG");
    let inbox = Inbox::builder(points.clone(), &group).schedule(soon()).build();
    let deliveries = Arc::new(AtomicUsize::new(0));
    let consumer = async || -> Result<PushConsumer, tenonmq_client::Error> {
        let listener = Counted(inbox.listener(effects.clone()), Arc::clone(&deliveries));
        support::consumer(&name_server, &group, &topic, "*").listener(listener).connect().await
    };
    let (mut dies, lives) = (Some(consumer().await?), consumer().await?);
    let retrier = inbox.retrier(effects.clone()).start();

    let outbox = Outbox::builder(orders.clone()).build();
    let producer = support::producer(&name_server).await?;
    // leases as short as they may be, so that what a dead relay held is sent while the test waits
    let relay = || {
        let limits = outbox.relay(producer.clone()).send_limit(Duration::from_secs(1)).lease(Duration::from_secs(2));
        limits.schedule(soon()).start()
    };
    let (mut one, other) = (Some(relay()), relay());
    for order in 0..ORDERS {
        pay(&orders, &outbox, &topic, order).await?;
        if order == ORDERS / 4 {
            drop(one.take()); // as a crash would end it
        }
        if order == ORDERS / 2 {
            if let Some(dies) = dies.take() {
                dies.shutdown().await;
            }
            broker = broker.restart().await?;
        }
    }

    let given = async || {
        let count = sqlx::query_scalar("SELECT COUNT(DISTINCT order_id) FROM points").fetch_one(&points).await;
        count.unwrap_or(0_i64)
    };
    support::until("all orders have points", async || given().await == ORDERS as i64).await;
    // an answer that was lost makes a relay send again: another message for the broker, the same for the inbox
    let before = deliveries.load(Ordering::SeqCst);
    for order in 0..5 {
        let copy = Message::new(topic.as_str(), format!("{{\"order\":{order}}}")).key(format!("order-{order}"));
        producer.send(copy).await?;
    }
    support::until("the copies came", async || deliveries.load(Ordering::SeqCst) >= before + 5).await;
    support::until("nothing waits", async || {
        let waiting = (outbox.backlog().await, inbox.backlog().await);
        matches!(waiting, (Ok(sent), Ok(handled)) if sent.pending == 0 && handled.pending == 0)
    })
    .await;
    let wrong: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM (SELECT order_id FROM points GROUP BY order_id HAVING COUNT(*) <> 1)")
            .fetch_one(&points)
            .await?;
    assert_eq!(wrong, 0);
    assert_eq!(effects.refused.lock().len(), 4, "orders 7, 17, 27 and 37 failed first");
    assert_eq!(outbox.find(&topic, "order-0").await?.map(|row| row.status), Some(Status::Done));

    other.shutdown().await;
    retrier.shutdown().await;
    lives.shutdown().await;
    producer.shutdown().await;
    broker.shutdown().await;
    Ok(())
}
