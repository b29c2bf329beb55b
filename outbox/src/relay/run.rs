//! The relay as a task.

use tokio::{sync::watch, task::JoinSet};
use tracing::{debug, warn};

use super::{Publisher, Relay, feed::Feed, lane::lanes_of};
use crate::{
    clock::millis,
    database::Dialect,
    error::Error,
    fault::Point,
    outbox::{BEHIND_ANOTHER_MS, Claimed, Outcome},
    running::{LastTries, Running},
    wake::{AFTER_TROUBLE, Looks, listen},
    work::WrongClock,
};

/// A relay at work. Dropping it ends it as a crash would; what it had claimed is sent when the leases have ended.
#[derive(Debug)]
pub struct RunningRelay(Running);

impl RunningRelay {
    /// Claims no more, waits for what is being sent, writes down what became of it, and ends.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}

impl<D: Dialect, P: Publisher> Relay<D, P> {
    /// Starts sending, in a task of its own.
    pub fn start(self) -> RunningRelay {
        let (mut running, stopped) = Running::new();
        running.spawn(async move {
            let mut listening = JoinSet::new(); // ends with this task, however it ends
            if let Some(channel) = self.outbox.0.channel.clone() {
                listening.spawn(listen(self.outbox.0.pool.clone(), channel, self.outbox.0.wake.clone()));
            }
            Work::of(self).run(stopped, None).await;
        });
        RunningRelay(running)
    }

    /// Sends what it is told of, until it is stopped.
    #[cfg(feature = "postgres-cdc")]
    pub(crate) async fn follow(self, feed: Feed, stopped: watch::Receiver<bool>) {
        Work::of(self).run(stopped, Some(feed)).await;
    }
}

/// A relay's state while it runs.
struct Work<D: Dialect, P> {
    relay: Relay<D, P>,
    /// Rows that are being sent, by lanes, and how many rows these are.
    lanes: JoinSet<(usize, Result<Vec<Outcome>, Error>)>,
    rows: usize,
    /// What is known and not yet written.
    unsettled: Vec<Outcome>,
    looks: Looks,
    wrong_clock: WrongClock,
}

impl<D: Dialect, P: Publisher> Work<D, P> {
    fn of(relay: Relay<D, P>) -> Self {
        let (lanes, looks, wrong_clock) = (JoinSet::new(), Looks::default(), WrongClock::default());
        Self { relay, lanes, rows: 0, unsettled: Vec::new(), looks, wrong_clock }
    }

    /// Until it is stopped. A feed tells it of rows, so that it seldom looks for them.
    async fn run(mut self, mut stopped: watch::Receiver<bool>, mut feed: Option<Feed>) {
        let mut last_tries = LastTries::default();
        loop {
            if let Err(error) = self.settle(feed.as_mut()).await {
                if matches!(error, Error::Crashed(_)) {
                    return;
                }
                if *stopped.borrow() && last_tries.are_over() {
                    warn!(%error, "what was sent cannot be written down, and is sent again when its lease has ended");
                    return;
                }
                warn!(%error, "what was sent cannot be written down; once more in a while");
                tokio::time::sleep(AFTER_TROUBLE).await;
                continue;
            }
            if *stopped.borrow() {
                if self.lanes.is_empty() {
                    return;
                }
                self.collect().await;
                continue;
            }
            self.amend_clock().await;
            let next_ms = match self.claim(feed.as_mut()).await {
                Ok(0) => self.next_look(feed.as_mut()).await,
                Ok(_) => continue,
                Err(Error::Crashed(_)) => return,
                Err(error) => {
                    warn!(%error, "nothing can be claimed; once more in a while");
                    self.now_ms().saturating_add(millis(AFTER_TROUBLE))
                }
            };
            let clock = std::sync::Arc::clone(&self.relay.outbox.0.clock);
            let wake = self.relay.outbox.0.wake.clone();
            tokio::select! {
                () = clock.wait_until(next_ms) => {}
                () = wake.called() => {}
                _ = stopped.wait_for(|stop| *stop) => {}
                () = told(feed.as_mut()) => {}
                () = self.collect(), if !self.lanes.is_empty() => {}
            }
        }
    }

    /// Claims what there is room for, and starts sending it. Returns how many rows.
    async fn claim(&mut self, feed: Option<&mut Feed>) -> Result<usize, Error> {
        let room = self.room();
        if let Some(feed) = feed {
            let told = self.claim_told(feed, room).await?;
            if told > 0 || !feed.is_look_due(self.now_ms()) {
                return Ok(told);
            }
        }
        if room == 0 {
            return Ok(0);
        }
        let claimed = self.relay.outbox.claim(self.relay.claims(room)).await?;
        Ok(self.begin(claimed))
    }

    /// Claims rows that the feed tells of. Those for which there is no room are left to the next look at the table. Returns
    /// how many the feed told of.
    async fn claim_told(&mut self, feed: &mut Feed, room: u32) -> Result<usize, Error> {
        let claims = self.relay.claims(room);
        let rows = feed.take(claims.rows as usize);
        if !rows.is_empty() {
            let told = self.relay.outbox.claim_told(claims, &rows).await.inspect_err(|_| feed.look_by(0))?;
            self.begin(told.claimed);
            feed.unseen(told.unseen);
            if told.is_left {
                feed.look_by(self.now_ms().saturating_add(BEHIND_ANOTHER_MS));
            }
            self.relay.outbox.0.faults.pass(Point::ChangeLeased)?;
        }
        feed.confirm();
        Ok(rows.len())
    }

    /// Starts sending; returns how many rows.
    fn begin(&mut self, claimed: Vec<Claimed>) -> usize {
        let until_ms = self.relay.lease_end();
        let count = claimed.len();
        for lane in lanes_of(claimed) {
            let (rows, sending) = (lane.len(), self.relay.send(lane, until_ms));
            self.rows += rows;
            self.lanes.spawn(async move { (rows, sending.await) });
        }
        count
    }

    /// How many more rows may be in hand.
    fn room(&self) -> u32 {
        self.relay.settings.in_flight.saturating_sub(u32::try_from(self.rows).unwrap_or(u32::MAX))
    }

    /// Waits for a lane to end, and takes all that have.
    async fn collect(&mut self) {
        let mut ended = self.lanes.join_next().await;
        while let Some(lane) = ended {
            match lane {
                Ok((rows, Ok(outcomes))) => {
                    self.rows = self.rows.saturating_sub(rows);
                    self.unsettled.extend(outcomes);
                }
                Ok((rows, Err(error))) => {
                    self.rows = self.rows.saturating_sub(rows);
                    debug!(%error, "a lane ended");
                }
                // a publisher that panicked: its rows come back when their lease ends
                Err(error) => warn!(%error, "a send broke off"),
            }
            ended = self.lanes.try_join_next();
        }
        if self.lanes.is_empty() {
            self.rows = 0;
        }
    }

    async fn settle(&mut self, feed: Option<&mut Feed>) -> Result<(), Error> {
        let settled = self.relay.settle(&self.unsettled).await?;
        self.unsettled.clear();
        if let (Some(feed), Some(again_ms)) = (feed, settled.again_ms) {
            feed.look_by(again_ms);
        }
        Ok(())
    }

    /// When to look next, with nothing to claim now: at the next due time, soon when a commit is expected, and at the period.
    async fn next_look(&mut self, feed: Option<&mut Feed>) -> i64 {
        let shared = &self.relay.outbox.0;
        let period_ms = millis(self.relay.settings.period);
        if self.room() == 0 {
            return shared.clock.now_ms().saturating_add(period_ms); // a lane that ends makes room, and wakes us
        }
        let now_ms = shared.clock.now_ms();
        if let Some(feed) = feed.filter(|feed| !feed.is_looking()) {
            if feed.is_look_due(now_ms) {
                // one has just found nothing; what is due now and was not found is told, or somebody else's
                let due = async {
                    let mut connection = shared.pool.acquire().await?;
                    shared.table.due_after_ms(&mut connection, now_ms).await
                };
                feed.looked(now_ms, due.await.ok().flatten());
            }
            return feed.next_look_ms();
        }
        if let Some(pause_ms) = self.looks.pause_ms(&shared.wake, period_ms) {
            return now_ms.saturating_add(pause_ms);
        }
        let due = async {
            let mut connection = shared.pool.acquire().await?;
            shared.table.next_due_ms(&mut connection, &[]).await
        };
        let due_ms = due.await.ok().flatten().unwrap_or(i64::MAX);
        due_ms.clamp(now_ms.saturating_add(1), now_ms.saturating_add(period_ms))
    }

    async fn amend_clock(&self) {
        let (shared, settings) = (&self.relay.outbox.0, &self.relay.settings);
        let now_ms = self.now_ms();
        let longest = settings.schedule.horizon().map(|horizon| horizon.max(settings.lease));
        let amend = async |horizon_ms| {
            let mut connection = shared.pool.acquire().await?;
            shared.table.amend_clock(&mut connection, &[], now_ms, horizon_ms).await
        };
        self.wrong_clock.look(now_ms, longest, amend).await;
    }

    fn now_ms(&self) -> i64 {
        self.relay.outbox.0.clock.now_ms()
    }
}

/// Until the feed tells of something; for ever, without one.
async fn told(feed: Option<&mut Feed>) {
    match feed {
        Some(feed) => feed.told().await,
        None => std::future::pending().await,
    }
}
