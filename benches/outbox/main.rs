//! What outbox and inbox cost, beside a loop that polls each second.
//!
//! ```text
//! cargo run --release -p tenonmq-benches --bin outbox -- --rows 20000
//! cargo run --release -p tenonmq-benches --bin outbox --features postgres -- --postgres postgres://…
//! ```
//!
//! The broker is none: sending is free, so that the figures are the tables'.

use std::{
    collections::HashMap,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use sqlx::{Pool, Transaction};
use tenonmq_outbox::{Dialect, Effects, Inbox, Incoming, Outbox, Outgoing, PublishError, Publisher, Schema};
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

async fn measure<D: Dialect>(pool: Pool<D>, options: &Options) -> Done {
    let scene = Scene::over(pool, options).await?;
    println!("publish: {:.0} rows a second, 100 in a transaction", scene.fill("fill", options.rows).await?);
    println!("relay: {:.0} messages a second", scene.drain(options.rows).await?);
    scene.latency(1_000).await?;
    if options.waiting > 0 {
        scene.fill("wait", options.waiting).await?;
        println!("relay, {} more waiting: {:.0} messages a second", options.waiting, scene.drain(options.rows).await?);
    }
    let inbox = Inbox::builder(scene.pool.clone(), "bench").schema(scene.schema.clone()).build();
    let started = Instant::now();
    for number in 0..2_000 {
        inbox.receive(&Incoming::new("t", format!("k{number}"), scene.content.clone()), &Nothing).await?;
    }
    println!("inbox: {:.0} µs a message, one after the other", started.elapsed().as_secs_f64() * 1e6 / 2_000.0);
    Ok(())
}

struct Scene<D: Dialect> {
    pool: Pool<D>,
    schema: Schema,
    outbox: Outbox<D>,
    content: Vec<u8>,
    broker: NoBroker,
}

impl<D: Dialect> Scene<D> {
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

    /// Messages a second, for so many of those that wait.
    async fn drain(&self, rows: usize) -> Done<f64> {
        let before = *self.broker.sent.borrow();
        let started = Instant::now();
        let relay = self.outbox.relay(self.broker.clone()).start();
        self.broker.sent.subscribe().wait_for(|sent| *sent >= before + rows).await?;
        let rate = rows as f64 / started.elapsed().as_secs_f64();
        relay.shutdown().await;
        Ok(rate)
    }

    /// From the commit to the send.
    async fn latency(&self, messages: usize) -> Done {
        for calls in [true, false] {
            let relay = self.outbox.relay(self.broker.clone()).start();
            for number in 0..messages {
                let id = format!("late-{calls}-{number}");
                let mut transaction = self.pool.begin().await?;
                self.outbox.publish(&mut transaction, &Outgoing::new("t", &id, self.content.clone())).await?;
                transaction.commit().await?;
                self.broker.committed.lock().insert(id, Instant::now());
                if calls {
                    self.outbox.wake();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            relay.shutdown().await;
            let mut late = self.broker.late.lock();
            let at = |quantile| late.value_at_quantile(quantile) as f64 / 1_000.0;
            let how = if calls { "with wake()" } else { "without wake()" };
            println!(
                "commit to send, {how}: p50 {:.2} ms, p99 {:.2} ms (a poll each second: 500, 990)",
                at(0.5),
                at(0.99)
            );
            late.reset();
        }
        Ok(())
    }
}

/// Sends nowhere, and counts.
#[derive(Clone)]
struct NoBroker {
    sent: watch::Sender<usize>,
    committed: Arc<Mutex<HashMap<String, Instant>>>,
    /// In µs.
    late: Arc<Mutex<Histogram<u64>>>,
}

impl Default for NoBroker {
    fn default() -> Self {
        let late = Histogram::new(3).map_or_else(|_| unreachable!("three digits are allowed"), Mutex::new);
        Self { sent: watch::Sender::new(0), committed: Arc::default(), late: Arc::new(late) }
    }
}

impl Publisher for NoBroker {
    async fn publish(&self, message: &Outgoing) -> Result<String, PublishError> {
        if message.business_id().starts_with("late") {
            // one that is sent before its committer has looked at the clock is not late at all
            let committed = self.committed.lock().remove(message.business_id());
            let late = committed.map_or(0, |at| u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX));
            let _ = self.late.lock().record(late);
        }
        self.sent.send_modify(|sent| *sent += 1);
        Ok(String::new())
    }
}

struct Nothing;

impl<D: Dialect> Effects<D> for Nothing {
    type Error = std::convert::Infallible;

    async fn apply(&self, _: &mut Transaction<'_, D>, _: &Incoming) -> Result<(), Self::Error> {
        Ok(())
    }
}
