//! What outbox and inbox cost, beside a loop that polls each second.
//!
//! ```text
//! cargo run --release -p tenonmq-benches --bin outbox -- --rows 20000
//! cargo run --release -p tenonmq-benches --bin outbox --features postgres -- --postgres postgres://…
//! ```
//!
//! The broker is none: sending is free, so that the figures are the tables'. Beside each stands a service that has written
//! the same by hand ([`by_hand`]): a loop that looks each second, and a bare transaction.

mod by_hand;

use std::{
    collections::HashMap,
    error::Error,
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use by_hand::ByHand;
use clap::Parser;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use sqlx::{Pool, Transaction};
use tenonmq_benches::ServerMeter;
use tenonmq_outbox::{Effects, Inbox, Incoming, Outbox, Outgoing, PublishError, Publisher, Schema};
use tokio::sync::watch;

type Done<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Options {
    /// Messages of each measurement.
    #[arg(long, default_value_t = 20_000)]
    rows: usize,
    /// Messages that wait already while the claim is measured; 0 leaves that out.
    #[arg(long, default_value_t = 1_000_000)]
    waiting: usize,
    /// Size of a message in bytes.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// A PostgreSQL to use instead of SQLite; its tables get a prefix of their own and stay.
    #[cfg(feature = "postgres")]
    #[arg(long)]
    postgres: Option<String>,
}

#[tokio::main]
async fn main() -> Done {
    let options = Options::parse();
    #[cfg(feature = "postgres")]
    if let Some(url) = &options.postgres {
        return measure(sqlx::PgPool::connect(url).await?, &options).await;
    }
    let folder = tempfile::tempdir()?;
    let file =
        sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("bench.db")).create_if_missing(true);
    let file = file.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal).busy_timeout(Duration::from_secs(20));
    measure(sqlx::SqlitePool::connect_with(file).await?, &options).await
}

async fn measure<D: ByHand>(pool: Pool<D>, options: &Options) -> Done {
    let scene = Scene::over(pool, options).await?;
    println!("publish: {:.0} rows a second, 100 in a transaction", scene.fill("fill", options.rows).await?);
    println!("relay: {}", scene.drain(options.rows).await?);
    scene.latency(1_000).await?;
    if options.waiting > 0 {
        scene.fill("wait", options.waiting).await?;
        println!("relay, {} more waiting: {}", options.waiting, scene.drain(options.rows).await?);
    }
    scene.by_hand(options.rows, 1_000).await?;
    let inbox = Inbox::builder(scene.pool.clone(), "bench").schema(scene.schema.clone()).build();
    let by_inbox = each_of(2_000, async |number| {
        inbox.receive(&Incoming::new("t", format!("k{number}"), scene.content.clone()), &Nothing).await?;
        Ok(())
    });
    let by_inbox = by_inbox.await?;
    let bare = each_of(2_000, async |number| scene.insert(&format!("bare-{number}")).await).await?;
    println!("inbox: {by_inbox:.0} µs a message, one after the other; a transaction with one insert: {bare:.0} µs");
    Ok(())
}

/// Microseconds for each of so many.
async fn each_of(count: usize, work: impl AsyncFn(usize) -> Done) -> Done<f64> {
    let started = Instant::now();
    for number in 0..count {
        work(number).await?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / count as f64)
}

struct Scene<D: ByHand> {
    pool: Pool<D>,
    schema: Schema,
    outbox: Outbox<D>,
    content: Vec<u8>,
    broker: NoBroker,
}

impl<D: ByHand> Scene<D> {
    async fn over(pool: Pool<D>, options: &Options) -> Done<Self> {
        let schema = Schema::default().prefix(&format!("b{:08x}_", rand::random::<u32>()))?;
        schema.migrate(&pool).await?;
        let outbox = Outbox::builder(pool.clone()).schema(schema.clone()).build();
        Ok(Self { pool, schema, outbox, content: vec![b'x'; options.bytes], broker: NoBroker::default() })
    }

    /// Rows a second.
    async fn fill(&self, name: &str, rows: usize) -> Done<f64> {
        let started = Instant::now();
        for first in (0..rows).step_by(100) {
            let mut transaction = self.pool.begin().await?;
            for number in first..rows.min(first + 100) {
                let message = Outgoing::new("t", format!("{name}-{number}"), self.content.clone());
                self.outbox.publish(&mut transaction, &message).await?;
            }
            transaction.commit().await?;
        }
        Ok(rows as f64 / started.elapsed().as_secs_f64())
    }

    /// How fast a relay sends so many of those that wait.
    async fn drain(&self, rows: usize) -> Done<String> {
        let relay = self.outbox.relay(self.broker.clone()).start();
        let rate = self.rate(rows).await;
        relay.shutdown().await;
        rate
    }

    /// Messages a second and CPU time for each, from now until so many have been sent.
    async fn rate(&self, rows: usize) -> Done<String> {
        let before = *self.broker.sent.borrow();
        let meter = ServerMeter::start(process::id())?;
        let started = Instant::now();
        self.broker.sent.subscribe().wait_for(|sent| *sent >= before + rows).await?;
        let rate = rows as f64 / started.elapsed().as_secs_f64();
        let each = meter.stop()?.cpu.as_secs_f64() * 1e6 / rows as f64;
        Ok(format!("{rate:.0} messages a second, {each:.0} µs of this process' CPU each"))
    }

    /// From the commit to the send.
    async fn latency(&self, messages: usize) -> Done {
        for calls in [true, false] {
            let relay = self.outbox.relay(self.broker.clone()).start();
            self.be_late(messages, &format!("late-{calls}"), async |id| {
                let mut transaction = self.pool.begin().await?;
                self.outbox.publish(&mut transaction, &Outgoing::new("t", id, self.content.clone())).await?;
                transaction.commit().await?;
                if calls {
                    self.outbox.wake();
                }
                Ok(())
            })
            .await?;
            relay.shutdown().await;
            let how = if calls { "with wake()" } else { "without wake()" };
            println!("commit to send, {how}: {}", self.broker.lateness());
        }
        Ok(())
    }

    /// Commits messages that the broker takes the time of.
    async fn be_late(&self, messages: usize, name: &str, commit: impl AsyncFn(&str) -> Done) -> Done {
        for number in 0..messages {
            let id = format!("{name}-{number}");
            commit(&id).await?;
            self.broker.is_committed(id);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut sent = self.broker.sent.subscribe();
        sent.wait_for(|_| self.broker.half_way.lock().is_empty()).await?;
        Ok(())
    }

    /// The same by a loop that looks each second.
    async fn by_hand(&self, rows: usize, late: usize) -> Done {
        D::create(&self.pool).await?;
        for first in (0..rows).step_by(100) {
            let mut transaction = self.pool.begin().await?;
            for number in first..rows.min(first + 100) {
                D::insert(&mut transaction, &format!("fill-{number}"), &self.content).await?;
            }
            transaction.commit().await?;
        }
        let relay = tokio::spawn(by_hand::relay(self.pool.clone(), self.broker.clone()));
        println!("by hand: {}", self.rate(rows).await?);
        self.be_late(late, "late-by-hand", async |id| self.insert(id).await).await?;
        println!("commit to send, by hand: {}", self.broker.lateness());
        relay.abort();
        Ok(())
    }

    /// A transaction with one insert.
    async fn insert(&self, id: &str) -> Done {
        let mut transaction = self.pool.begin().await?;
        D::insert(&mut transaction, id, &self.content).await?;
        Ok(transaction.commit().await?)
    }
}

/// Sends nowhere, and counts.
#[derive(Clone)]
struct NoBroker {
    sent: watch::Sender<usize>,
    /// Messages of which one of commit and send is known, and when that was.
    half_way: Arc<Mutex<HashMap<String, Instant>>>,
    /// In µs.
    late: Arc<Mutex<Histogram<u64>>>,
}

impl Default for NoBroker {
    fn default() -> Self {
        let late = Histogram::new_with_bounds(1, 60_000_000, 3); // up to a minute
        let late = late.map_or_else(|_| unreachable!("these bounds are allowed"), Mutex::new);
        Self { sent: watch::Sender::new(0), half_way: Arc::default(), late: Arc::new(late) }
    }
}

impl NoBroker {
    /// A message's commit has been seen; one that was sent before that is not late at all.
    fn is_committed(&self, id: String) {
        let mut half_way = self.half_way.lock();
        if half_way.remove(&id).is_some() {
            self.note(Duration::ZERO);
        } else {
            half_way.insert(id, Instant::now());
        }
    }

    fn is_sent(&self, id: &str) {
        let mut half_way = self.half_way.lock();
        if let Some(committed) = half_way.remove(id) {
            self.note(committed.elapsed());
        } else {
            half_way.insert(id.to_owned(), Instant::now());
        }
    }

    fn note(&self, late: Duration) {
        self.late.lock().saturating_record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
    }

    /// What was measured since the last look.
    fn lateness(&self) -> String {
        let mut late = self.late.lock();
        let at = |quantile| late.value_at_quantile(quantile) as f64 / 1_000.0;
        let text = format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", at(0.5), at(0.99), at(1.0));
        late.reset();
        text
    }
}

impl Publisher for NoBroker {
    async fn publish(&self, message: &Outgoing) -> Result<String, PublishError> {
        if message.business_id().starts_with("late") {
            self.is_sent(message.business_id());
        }
        self.sent.send_modify(|sent| *sent += 1);
        Ok(String::new())
    }
}

struct Nothing;

impl<D: ByHand> Effects<D> for Nothing {
    type Error = std::convert::Infallible;

    async fn apply(&self, _: &mut Transaction<'_, D>, _: &Incoming) -> Result<(), Self::Error> {
        Ok(())
    }
}
