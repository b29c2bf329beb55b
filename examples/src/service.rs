//! A service of an example: its database, a relay for what it says, and consumers for what it hears.

use std::{error::Error, path::Path, time::Duration};

use sqlx::{Sqlite, SqlitePool};
use tenonmq_client::{ConsumeFrom, Producer, PushConsumer};
use tenonmq_outbox::{Effects, Inbox, Outbox, RunningRelay, RunningRetrier, Schedule, fault::Faults};

use crate::database;

/// One service. Its inboxes handle what they are brought in transactions of its own database.
pub struct Service {
    /// Its name, which its database and its consumer groups begin with.
    pub name: &'static str,
    /// Its database.
    pub pool: SqlitePool,
    /// Its outbox, whose relay runs.
    pub outbox: Outbox<Sqlite>,
    name_server: String,
    faults: Faults,
    relay: RunningRelay,
    consumers: Vec<(Inbox<Sqlite>, PushConsumer, RunningRetrier)>,
}

impl Service {
    /// Opens its database in `folder`, with these tables of its own, and starts its relay. It dies where `faults` say.
    ///
    /// # Errors
    /// When the database cannot be written, or the name server is away.
    pub async fn open(
        name_server: &str,
        folder: &Path,
        name: &'static str,
        tables: &[&'static str],
        faults: Faults,
    ) -> Result<Self, Box<dyn Error>> {
        let pool = database(&folder.join(format!("{name}.db"))).await?;
        for table in tables {
            sqlx::query(*table).execute(&pool).await?;
        }
        let outbox = Outbox::builder(pool.clone()).faults(faults.clone()).build();
        let producer = Producer::builder(name_server).group(name).connect().await?;
        let relay = outbox.relay(producer).schedule(often()).send_limit(Duration::from_secs(4));
        let relay = relay.lease(Duration::from_secs(5)).start();
        let name_server = name_server.to_owned();
        Ok(Self { name, pool, outbox, name_server, faults, relay, consumers: Vec::new() })
    }

    /// Has a topic's messages take effect here, once each.
    ///
    /// # Errors
    /// When the broker is away.
    pub async fn consume<E: Effects<Sqlite> + Clone>(&mut self, topic: &str, effects: E) -> Result<(), Box<dyn Error>> {
        let group = format!("{}-{topic}", self.name);
        let inbox = Inbox::builder(self.pool.clone(), group.as_str()).faults(self.faults.clone()).schedule(often());
        let inbox = inbox.build();
        let consumer = PushConsumer::builder(self.name_server.as_str())
            .group(group)
            .subscribe(topic, "*")
            .consume_from(ConsumeFrom::Earliest)
            .listener(inbox.listener(effects.clone()))
            .connect()
            .await?;
        let retrier = inbox.retrier(effects).start();
        self.consumers.push((inbox, consumer, retrier));
        Ok(())
    }

    /// Messages that are not sent or not handled yet, or will not be.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn under_way(&self) -> Result<u64, tenonmq_outbox::Error> {
        let mut backlogs = vec![self.outbox.backlog().await?];
        if let Some((inbox, ..)) = self.consumers.first() {
            backlogs.push(inbox.backlog().await?); // of all groups of the table
        }
        Ok(backlogs.iter().map(|backlog| backlog.pending + backlog.exhausted).sum())
    }

    /// Ends it, as it should.
    pub async fn shutdown(self) {
        for (_, consumer, retrier) in self.consumers {
            consumer.shutdown().await;
            retrier.shutdown().await;
        }
        self.relay.shutdown().await;
    }
}

fn often() -> Schedule {
    Schedule::exponential(Duration::from_millis(200), Duration::from_secs(2))
}
