//! The courier as a task.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinSet};
use tracing::{debug, warn};

use super::{Courier, outcome::Ended};
use crate::{
    clock::millis,
    database::Dialect,
    error::Error,
    running::{LastTries, Running},
    wake::{AFTER_TROUBLE, Looks, listen},
    work::WrongClock,
};

/// A courier at work. Dropping it ends it as a crash would; what it had claimed is tried when the leases have ended.
#[derive(Debug)]
pub struct RunningCourier(Running);

impl RunningCourier {
    /// Claims no more, waits for the calls that are made, writes down what became of them, and ends.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}

impl<D: Dialect> Courier<D> {
    /// Starts delivering, in a task of its own.
    pub fn start(self) -> RunningCourier {
        let (mut running, stopped) = Running::new();
        running.spawn(async move {
            let mut listening = JoinSet::new(); // ends with this task, whatever way
            let shared = &self.notifier.0;
            listening.spawn(listen(shared.pool.clone(), shared.channel.clone(), shared.wake.clone()));
            let (calls, looks, wrong_clock) = (JoinSet::new(), Looks::default(), WrongClock::default());
            Work { courier: self, calls, unsettled: Vec::new(), looks, wrong_clock }.run(stopped).await;
        });
        RunningCourier(running)
    }
}

/// A courier's state while it runs.
struct Work<D: Dialect> {
    courier: Courier<D>,
    calls: JoinSet<Result<Ended, Error>>,
    /// What is known and not yet written.
    unsettled: Vec<Ended>,
    looks: Looks,
    wrong_clock: WrongClock,
}

impl<D: Dialect> Work<D> {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let clock = Arc::clone(&self.courier.notifier.0.clock);
        let wake = self.courier.notifier.0.wake.clone();
        let mut last_tries = LastTries::default();
        loop {
            if let Err(error) = self.courier.settle(&mut self.unsettled).await {
                if *stopped.borrow() && last_tries.are_over() {
                    warn!(%error, "what was delivered cannot be written down, and is called again when its lease has ended");
                    return;
                }
                warn!(%error, "what was delivered cannot be written down; once more in a while");
                tokio::time::sleep(AFTER_TROUBLE).await;
                continue;
            }
            self.unsettled.clear();
            if *stopped.borrow() {
                if self.calls.is_empty() {
                    return;
                }
                self.collect().await;
                continue;
            }
            self.amend_clock().await;
            let next_ms = match self.claim().await {
                Ok(due_ms) => self.next_look(due_ms),
                Err(error) => {
                    warn!(%error, "no notification can be claimed; once more in a while");
                    clock.now_ms().saturating_add(millis(AFTER_TROUBLE))
                }
            };
            tokio::select! {
                () = clock.wait_until(next_ms) => {}
                () = wake.called() => {}
                _ = stopped.wait_for(|stop| *stop) => {}
                () = self.collect(), if !self.calls.is_empty() => {}
            }
        }
    }

    /// Claims what there is room for, and begins to deliver it. Returns when something else is due.
    async fn claim(&mut self) -> Result<i64, Error> {
        let room = self.courier.settings.in_flight.saturating_sub(u32::try_from(self.calls.len()).unwrap_or(u32::MAX));
        if room == 0 {
            return Ok(i64::MAX); // a call that ends makes room
        }
        let look = self.courier.look(room).await?;
        for one in look.claimed {
            self.calls.spawn(self.courier.deliver(one));
        }
        Ok(look.next_ms)
    }

    /// Waits for a call to end, and takes all that have.
    async fn collect(&mut self) {
        let mut call = self.calls.join_next().await;
        while let Some(ended) = call {
            match ended {
                Ok(Ok(ended)) => self.unsettled.push(ended),
                Ok(Err(error)) => debug!(%error, "a call ended"),
                Err(error) => warn!(%error, "a call broke off"),
            }
            call = self.calls.try_join_next();
        }
    }

    /// When to look next: when something is due, soon when a commit is expected, and at the period.
    fn next_look(&mut self, due_ms: i64) -> i64 {
        let shared = &self.courier.notifier.0;
        let period_ms = millis(self.courier.settings.period);
        let now_ms = shared.clock.now_ms();
        if let Some(pause_ms) = self.looks.pause_ms(&shared.wake, period_ms) {
            return now_ms.saturating_add(pause_ms).min(due_ms.max(now_ms.saturating_add(1)));
        }
        due_ms.clamp(now_ms.saturating_add(1), now_ms.saturating_add(period_ms))
    }

    async fn amend_clock(&self) {
        let Courier { notifier, settings, .. } = &self.courier;
        let amend = |horizon_ms| notifier.amend_clock(horizon_ms);
        self.wrong_clock.look(notifier.0.clock.now_ms(), settings.horizon(), amend).await;
    }
}
