//! Sending from PostgreSQL's logical replication stream instead of scanning.
//!
//! ```text
//! commit ──► WAL ──slot──► stream ──ids──► feed of the relay ──claim by id──► send, settle
//!                             ▲                    │
//!                             └──confirmed position┘
//! ```
//!
//! The stream tells of row ids and nothing else; contents, leases, failures and outcomes stay in the table, where a scanning
//! relay finds them too. Both may run side by side: rows are claimed by id under the same locks.
//!
//! Invariants:
//!
//! * A position is confirmed when its rows are leased, or left to a look at the table. So a message that fails never holds
//!   the WAL, and a crash loses nothing: what was not sent is a pending row.
//! * Whatever the stream cannot tell (before the slot was made, after it was lost) is found by the look that follows.
//!
//! [`keep`] holds slot and session, [`stream`] reads, [`decode`] finds the ids, [`control`] makes and drops what the server
//! keeps, [`slot`] reads how much WAL is held.

mod address;
mod control;
mod decode;
mod keep;
mod settings;
mod slot;
mod stream;

use sqlx::Postgres;
use tokio::sync::{mpsc, watch};

pub use self::slot::{ChangeSlot, SlotReading};
use self::{address::Address, control::Control, keep::Keeper, settings::Settings};
use crate::{
    error::Error,
    relay::{Feed, Publisher, Relay},
    running::Running,
};

/// Parts of transactions that wait for the relay. Each has some hundred ids at most.
const WAITING: usize = 256;

/// Sends what the database's change stream tells of. Made by [`Relay::from_changes`].
pub struct ChangeRelay<P> {
    relay: Relay<Postgres, P>,
    address: Address,
    settings: Settings,
}

/// Where a [`RunningChangeRelay`] learns of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeSource {
    /// From the table, as any [`Relay`]: there is no stream at this moment.
    Table,
    /// Another instance has the stream. This one looks at the table at long intervals, and waits for the slot.
    Standby,
    /// From the stream; the table is looked at at long intervals, and for retries.
    Stream,
}

impl<P: Publisher> Relay<Postgres, P> {
    /// Has the relay read the change stream of the server at `url` (`postgres://user:password@host/database?sslmode=…`), which is
    /// the outbox's database. The user needs the attribute REPLICATION, and must own the outbox's table unless the publication
    /// is there.
    ///
    /// `sslmode`: without the feature `postgres-cdc-tls` only `disable`, `allow` and `prefer`, which are all plain then; with
    /// it `require`, `verify-ca` and `verify-full` too, and `sslrootcert`, `sslcert`, `sslkey` with paths. Passwords are sent
    /// by SCRAM-SHA-256 or in the clear, as the server asks.
    ///
    /// ```no_run
    /// # async fn example(pool: sqlx::PgPool, producer: tenonmq_client::Producer) -> Result<(), tenonmq_outbox::Error> {
    /// use tenonmq_outbox::Outbox;
    /// let outbox = Outbox::builder(pool).notify(false).build();
    /// let relay = outbox.relay(producer).from_changes("postgres://relay:secret@db/shop")?.start().await?;
    /// relay.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Replication`] for a URL that cannot be read.
    pub fn from_changes(self, url: &str) -> Result<ChangeRelay<P>, Error> {
        let address = Address::parse(url)?;
        let settings = Settings::named_after(&address.database, &self.outbox().0.schema);
        Ok(ChangeRelay { relay: self, address, settings })
    }
}

impl<P: Publisher> ChangeRelay<P> {
    /// Checks that the server can do it, makes the publication when it is missing, and starts sending, in tasks of their own.
    /// The slot is made by these: that may take as long as the longest open transaction, and the table is scanned meanwhile.
    ///
    /// # Errors
    /// [`Error::Replication`] with the setting or right that is missing; [`Error::Database`].
    pub async fn start(self) -> Result<RunningChangeRelay, Error> {
        let Self { relay, address, settings } = self;
        let outbox = relay.outbox().clone();
        let control = Control::new(&address, &settings, outbox.0.table.name());
        let mut connection = control.connect().await?;
        control.check(&mut connection).await?;
        control.publication(&mut connection).await?;
        drop(connection);

        let (told, rows) = mpsc::channel(WAITING);
        let (confirm, confirmed) = watch::channel(0);
        let (silence, silent) = watch::channel(true);
        let (now_from, source) = watch::channel(ChangeSource::Table);
        let feed = Feed::new(rows, silent, confirm, settings.net);
        let keeper = Keeper { control, settings, address, outbox, told, confirmed, silence, source: now_from };
        let (mut running, stopped) = Running::new();
        running.spawn(relay.follow(feed, stopped.clone()));
        running.spawn(keeper.run(stopped));
        Ok(RunningChangeRelay { running, source })
    }

    /// The slot, to be watched by a [`Monitor`](crate::monitoring::Monitor).
    pub fn slot_to_watch(&self) -> ChangeSlot {
        let pool = self.relay.outbox().0.pool.clone();
        ChangeSlot::named(pool, &self.settings.slot)
    }
}

/// A change relay at work. Dropping it ends it as a crash would.
#[derive(Debug)]
pub struct RunningChangeRelay {
    running: Running,
    source: watch::Receiver<ChangeSource>,
}

impl RunningChangeRelay {
    /// Where it learns of rows at this moment, and when that changes.
    pub fn source(&self) -> watch::Receiver<ChangeSource> {
        self.source.clone()
    }

    /// Claims no more, waits for what is being sent, writes down what became of it, and ends. The slot stays: another
    /// instance, or the next start, goes on from there.
    pub async fn shutdown(self) {
        self.running.shutdown().await;
    }
}
