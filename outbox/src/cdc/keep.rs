//! Holding the slot, and what is done while it cannot be held.

use std::time::Duration;

use pgwire_replication::{PgWireError, ReplicationClient};
use sqlx::{Connection, Postgres};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tracing::{debug, error, info, warn};

use super::{
    ChangeSource, address::Address, control::Control, decode::Decoder, settings::Settings, slot, stream::Stream,
};
use crate::{
    Outbox,
    database::{Dialect, Sql},
    error::Error,
    fault::Point,
    relay::Rows,
};

const HEARTBEAT: &str = "SELECT pg_logical_emit_message(false, 'tenonmq_outbox', '')::TEXT";
/// In the text of an error: the slot is in use.
const IN_USE: &str = "55006";
/// Longest time until the server accepts a session.
const START_LIMIT: Duration = Duration::from_secs(30);
/// A session that lasted so long was a good one: the next pause is the first again.
const GOOD_SESSION: Duration = Duration::from_secs(10);

/// Has the stream, or waits for it.
pub(super) struct Keeper {
    pub(super) control: Control,
    pub(super) settings: Settings,
    pub(super) address: Address,
    pub(super) outbox: Outbox<Postgres>,
    pub(super) told: mpsc::Sender<Rows>,
    pub(super) confirmed: watch::Receiver<u64>,
    /// Whether nobody tells of rows.
    pub(super) silence: watch::Sender<bool>,
    pub(super) source: watch::Sender<ChangeSource>,
}

/// Why there is no session (any more).
enum Ended {
    /// Another instance has the slot.
    InUse,
    /// The slot held too much, and is dropped.
    Guarded,
    Broken(String),
    Crashed,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match error {
            Error::Crashed(_) => Self::Crashed,
            error => Self::Broken(error.to_string()),
        }
    }
}

impl From<PgWireError> for Ended {
    fn from(error: PgWireError) -> Self {
        let text = error.to_string();
        if text.contains(IN_USE) { Self::InUse } else { Self::Broken(text) }
    }
}

impl Keeper {
    pub(super) async fn run(self, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            () = self.keep() => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    }

    async fn keep(&self) {
        let mut pause = self.settings.first_pause;
        loop {
            let began = tokio::time::Instant::now();
            let Err(ended) = self.session().await;
            if began.elapsed() >= GOOD_SESSION {
                pause = self.settings.first_pause;
            }
            match ended {
                Ended::InUse => {
                    self.now_from(ChangeSource::Standby);
                    sleep(self.settings.standby_pause).await;
                }
                Ended::Guarded => {
                    self.now_from(ChangeSource::Table);
                    sleep(self.settings.guard_pause).await;
                }
                Ended::Broken(cause) => {
                    self.now_from(ChangeSource::Table);
                    warn!(cause, slot = self.settings.slot, ?pause, "no change stream; the table is scanned meanwhile");
                    sleep(pause).await;
                    pause = (pause * 2).min(self.settings.longest_pause);
                }
                Ended::Crashed => {
                    self.now_from(ChangeSource::Table);
                    return;
                }
            }
        }
    }

    /// Gets the slot and reads the stream until it ends.
    async fn session(&self) -> Result<std::convert::Infallible, Ended> {
        let mut connection = self.control.connect().await?;
        self.control.publication(&mut connection).await?;
        let table = self.control.table(&mut connection).await?;
        match self.control.slot(&mut connection).await? {
            Some(slot) if slot.is_active => return Err(Ended::InUse),
            Some(slot) if slot.is_lost => {
                warn!(slot = self.settings.slot, "the server has given the slot up; it is made anew");
                self.control.drop_slot(&mut connection).await?;
                self.control.make_slot(&mut connection).await?;
            }
            Some(slot) if self.is_too_much(slot.held_bytes) => {
                self.control.drop_slot(&mut connection).await?;
                return Err(self.guarded(slot.held_bytes));
            }
            Some(_) => {}
            None => {
                info!(slot = self.settings.slot, "the slot is made");
                self.control.make_slot(&mut connection).await?;
            }
        }
        connection.close().await.map_err(Error::from)?;
        self.outbox.0.faults.pass(Point::SlotKept)?;

        let mut client = ReplicationClient::connect(self.address.replication(&self.settings)).await?;
        tokio::time::timeout(START_LIMIT, client.wait_started())
            .await
            .map_err(|_| Ended::Broken(format!("the server has not begun within {START_LIMIT:?}")))??;
        self.now_from(ChangeSource::Stream);
        let stream = Stream {
            client,
            decoder: Decoder::of(table),
            told: &self.told,
            confirmed: self.confirmed.clone(),
            longest_silence: self.settings.heartbeat * 3 + Duration::from_secs(10),
        };
        tokio::select! {
            error = stream.follow() => Err(error.into()),
            held_bytes = self.beat() => {
                // the session has ended with its select branch; its slot is free in a moment
                self.drop_when_free().await?;
                Err(self.guarded(held_bytes))
            }
        }
    }

    /// Writes heartbeats, and ends when the slot holds too much.
    async fn beat(&self) -> u64 {
        loop {
            sleep(self.settings.heartbeat).await;
            let beat = async {
                let mut connection = self.outbox.0.pool.acquire().await?;
                Postgres::fetch(&mut connection, &Sql::verbatim(HEARTBEAT), &[]).await?;
                slot::read(&mut connection, &self.settings.slot).await
            };
            match beat.await {
                Ok(Some(slot)) if self.is_too_much(slot.held_bytes) => return slot.held_bytes,
                Ok(_) => {}
                Err(error) => debug!(%error, "no heartbeat"),
            }
        }
    }

    async fn drop_when_free(&self) -> Result<(), Error> {
        const TRIES: u32 = 50;
        let mut connection = self.control.connect().await?;
        for _ in 0..TRIES {
            match self.control.slot(&mut connection).await? {
                Some(slot) if slot.is_active => sleep(Duration::from_millis(100)).await,
                _ => break,
            }
        }
        self.control.drop_slot(&mut connection).await
    }

    fn is_too_much(&self, held_bytes: u64) -> bool {
        self.settings.guard_bytes.is_some_and(|most| held_bytes > most)
    }

    fn guarded(&self, held_bytes: u64) -> Ended {
        let Settings { slot, guard_pause, .. } = &self.settings;
        error!(slot, held_bytes, "the slot held too much WAL and is dropped; the table is scanned for {guard_pause:?}");
        Ended::Guarded
    }

    fn now_from(&self, source: ChangeSource) {
        let was = self.source.send_replace(source);
        if was != source {
            info!(slot = self.settings.slot, ?source, "rows are learned of from here now");
        }
        // for each session: what it cannot tell is found by the look that follows
        if was != source || source == ChangeSource::Stream {
            self.silence.send_replace(source == ChangeSource::Table);
        }
    }
}
