//! Reading one session of the stream.

use std::time::Duration;

use pgwire_replication::{Lsn, PgWireError, ReplicationClient, ReplicationEvent};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::decode::Decoder;
use crate::relay::Rows;

/// Most ids that are told of at once: a transaction of a million rows is told of in parts.
const PART: usize = 256;

/// A session whose slot is held.
pub(super) struct Stream<'a> {
    pub(super) client: ReplicationClient,
    pub(super) decoder: Decoder,
    pub(super) told: &'a mpsc::Sender<Rows>,
    pub(super) confirmed: watch::Receiver<u64>,
    /// A connection that is silent for longer is dead: heartbeats come more often.
    pub(super) longest_silence: Duration,
}

/// Where the reading stands.
#[derive(Default)]
struct Place {
    rows: Rows,
    /// The end of the last transaction that was told of.
    told: u64,
    is_within: bool,
}

impl Stream<'_> {
    /// Tells of rows until the session ends; returns why it did.
    pub(super) async fn follow(mut self) -> PgWireError {
        let mut place = Place { told: *self.confirmed.borrow(), ..Place::default() };
        loop {
            tokio::select! {
                event = tokio::time::timeout(self.longest_silence, self.client.recv()) => match event {
                    Ok(Ok(Some(event))) => {
                        if self.take(event, &mut place).await.is_err() {
                            return PgWireError::Task("the relay has ended".into());
                        }
                    }
                    Ok(Ok(None)) => return PgWireError::Task("the server has ended the stream".into()),
                    Ok(Err(error)) => return error,
                    Err(_) => return PgWireError::Task(format!("nothing came for {:?}", self.longest_silence)),
                },
                Ok(()) = self.confirmed.changed() => {
                    let position = *self.confirmed.borrow_and_update();
                    self.client.update_applied_lsn(Lsn(position));
                }
            }
        }
    }

    async fn take(&mut self, event: ReplicationEvent, place: &mut Place) -> Result<(), ()> {
        match event {
            ReplicationEvent::Begin { .. } => place.is_within = true,
            ReplicationEvent::XLogData { data, .. } => {
                match self.decoder.row(&data) {
                    Ok(Some(row)) => place.rows.ids.push(row),
                    Ok(None) => {}
                    Err(reason) => {
                        warn!(reason, "a change cannot be read; the table is looked at instead");
                        place.rows.is_unclear = true;
                    }
                }
                if place.rows.ids.len() >= PART {
                    self.tell(place).await?;
                }
            }
            ReplicationEvent::Commit { end_lsn, .. } => {
                place.is_within = false;
                if place.rows.ids.is_empty() && !place.rows.is_unclear && place.told < end_lsn.0 {
                    self.pass(end_lsn, place);
                    return Ok(());
                }
                place.rows.position = Some(end_lsn.0);
                place.told = end_lsn.0;
                self.tell(place).await?;
            }
            ReplicationEvent::KeepAlive { wal_end: position, .. } | ReplicationEvent::Message { lsn: position, .. } => {
                self.pass(position, place);
            }
            _ => {}
        }
        Ok(())
    }

    async fn tell(&self, place: &mut Place) -> Result<(), ()> {
        self.told.send(std::mem::take(&mut place.rows)).await.map_err(|_| ())
    }

    /// Confirms a position that has nothing for us, if nothing before it is still to be confirmed.
    fn pass(&self, position: Lsn, place: &Place) {
        if !place.is_within && *self.confirmed.borrow() >= place.told {
            self.client.update_applied_lsn(position);
        }
    }
}
