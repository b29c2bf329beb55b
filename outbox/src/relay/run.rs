//! The relay as a task.

use tokio::{sync::watch, task::JoinSet};
use tracing::{debug, warn};

use super::{Publisher, Relay, lane::lanes_of};
use crate::{
    clock::millis,
    database::Dialect,
    error::Error,
    outbox::Outcome,
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
            let (lanes, looks, wrong_clock) = (JoinSet::new(), Looks::default(), WrongClock::default());
            Work { relay: self, lanes, rows: 0, unsettled: Vec::new(), looks, wrong_clock }.run(stopped).await;
        });
        RunningRelay(running)
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
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut last_tries = LastTries::default();
        loop {
            if let Err(error) = self.settle().await {
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
            let next_ms = match self.claim().await {
                Ok(0) => self.next_look().await,
                Ok(_) => continue,
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
                () = self.collect(), if !self.lanes.is_empty() => {}
            }
        }
    }

    /// Claims what there is room for, and starts sending it. Returns how many rows.
    async fn claim(&mut self) -> Result<usize, Error> {
        let room = self.room();
        if room == 0 {
            return Ok(0);
        }
        let claimed = self.relay.outbox.claim(self.relay.claims(room)).await?;
        let until_ms = self.relay.lease_end();
        let count = claimed.len();
        for lane in lanes_of(claimed) {
            let (rows, sending) = (lane.len(), self.relay.send(lane, until_ms));
            self.rows += rows;
            self.lanes.spawn(async move { (rows, sending.await) });
        }
        Ok(count)
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

    async fn settle(&mut self) -> Result<(), Error> {
        self.relay.settle(&self.unsettled).await?;
        self.unsettled.clear();
        Ok(())
    }

    /// When to look next, with nothing to claim now: at the next due time, soon when a commit is expected, and at the period.
    async fn next_look(&mut self) -> i64 {
        let shared = &self.relay.outbox.0;
        let period_ms = millis(self.relay.settings.period);
        if self.room() == 0 {
            return shared.clock.now_ms().saturating_add(period_ms); // a lane that ends makes room, and wakes us
        }
        let now_ms = shared.clock.now_ms();
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
