//! Rows that somebody tells a relay of, so that it need not look for them.
//!
//! A feed is a short cut, never the truth: what it tells of is in the table, due, and found there by the next look. So
//! nothing is lost by forgetting what it told, for want of room say, as long as a look follows.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::clock::millis;

/// First pause before a row that is not visible yet is claimed again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// How often that is tried before it is left to a look at the table: about half a second in all.
const MOST_TRIES: u32 = 8;

/// Rows of one transaction, or some of them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) ids: Vec<i64>,
    /// Where the transaction ends in the stream, with its last rows.
    pub(crate) position: Option<u64>,
    /// Some rows could not be read: only a look at the table tells them.
    pub(crate) is_unclear: bool,
}

/// What a relay is told by.
#[derive(Debug)]
pub(crate) struct Feed {
    told: mpsc::Receiver<Rows>,
    /// Whether nobody tells of anything at this moment: the relay looks at the table as often as one without a feed.
    silent: watch::Receiver<bool>,
    /// Up to which position all rows are leased, or left to a look.
    confirmed: watch::Sender<u64>,
    /// Pause between looks while somebody tells.
    net_ms: i64,
    /// Received and not taken.
    next: Option<Rows>,
    /// The end of what was taken.
    position: u64,
    look_at_ms: i64,
    late: Option<Late>,
}

/// Rows that were told of before they were visible.
#[derive(Debug)]
struct Late {
    ids: Vec<i64>,
    tries: u32,
    at: Instant,
}

impl Feed {
    pub(crate) fn new(
        told: mpsc::Receiver<Rows>,
        silent: watch::Receiver<bool>,
        confirmed: watch::Sender<u64>,
        net: Duration,
    ) -> Self {
        let position = *confirmed.borrow();
        Self { told, silent, confirmed, net_ms: millis(net), next: None, position, look_at_ms: 0, late: None }
    }

    /// Waits until there is something to take, or the times of looking have changed. Nothing is lost by dropping it.
    pub(super) async fn told(&mut self) {
        let late = self.late.as_ref().map(|late| late.at);
        if self.next.is_some() {
            return;
        }
        tokio::select! {
            told = self.told.recv() => match told {
                Some(told) => self.next = Some(told),
                None => std::future::pending().await, // who told has ended, and so will the relay
            },
            changed = self.silent.changed() => match changed {
                Ok(()) => self.look_by(0),
                Err(_) => std::future::pending().await,
            },
            () = tokio::time::sleep_until(late.unwrap_or_else(Instant::now)), if late.is_some() => {}
        }
    }

    /// Up to `most` rows. What is beyond it, of the rows that were told of together, is left to a look.
    pub(super) fn take(&mut self, most: usize) -> Vec<i64> {
        let mut ids = Vec::new();
        if self.late.as_ref().is_some_and(|late| late.at <= Instant::now()) {
            ids = self.late.as_mut().map(|late| std::mem::take(&mut late.ids)).unwrap_or_default();
        }
        while ids.len() < most.max(1) {
            let Some(rows) = self.next.take().or_else(|| self.told.try_recv().ok()) else { break };
            ids.extend(rows.ids);
            self.position = rows.position.unwrap_or(self.position).max(self.position);
            if rows.is_unclear {
                self.look_by(0);
            }
        }
        if ids.len() > most {
            ids.truncate(most);
            self.look_by(0);
        }
        ids
    }

    /// These were not there. They are taken again soon, some times.
    pub(super) fn unseen(&mut self, ids: Vec<i64>) {
        let waits = self.late.as_ref().is_some_and(|late| !late.ids.is_empty());
        if ids.is_empty() {
            if !waits {
                self.late = None;
            }
            return;
        }
        let mut late = self.late.take().unwrap_or(Late { ids: Vec::new(), tries: 0, at: Instant::now() });
        if late.tries >= MOST_TRIES {
            return; // removed, it seems; or their commit is held up, and a look finds them
        }
        late.ids.extend(ids);
        late.at = Instant::now() + FIRST_PAUSE * 2_u32.saturating_pow(late.tries);
        late.tries += 1;
        self.late = Some(late);
    }

    /// All that was taken is leased, or left to a look.
    pub(super) fn confirm(&self) {
        self.confirmed.send_if_modified(|confirmed| {
            let is_more = *confirmed < self.position;
            *confirmed = self.position.max(*confirmed);
            is_more
        });
    }

    /// Whether it is silent: then the relay decides for itself when it looks.
    pub(super) fn is_looking(&self) -> bool {
        *self.silent.borrow()
    }

    /// Whether the table is to be looked at now.
    pub(super) fn is_look_due(&self, now_ms: i64) -> bool {
        // one that is further away than any was written under another clock
        self.is_looking() || now_ms >= self.look_at_ms || self.look_at_ms - now_ms > self.net_ms
    }

    /// The table is to be looked at then, or before.
    pub(super) fn look_by(&mut self, at_ms: i64) {
        self.look_at_ms = self.look_at_ms.min(at_ms);
    }

    /// A look has found nothing; the next row is due then.
    pub(super) fn looked(&mut self, now_ms: i64, due_ms: Option<i64>) {
        let net_ms = now_ms.saturating_add(self.net_ms);
        self.look_at_ms = due_ms.map_or(net_ms, |due_ms| due_ms.min(net_ms));
    }

    pub(super) fn next_look_ms(&self) -> i64 {
        self.look_at_ms
    }
}
