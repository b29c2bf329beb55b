//! Scans and repairs, one after the other or as tasks.

use std::sync::{Arc, atomic::AtomicI64};

use tokio::sync::watch;
use tracing::{debug, warn};

use super::{Compensation, Counterparts, Expectation, Repair};
use crate::{clock::millis, database::Dialect, error::Error, running::Running, work::WrongClock};

/// Looks for what lacks its counterpart, and repairs it. Set up with [`Compensation::scanner`], then
/// [started](Self::start). Any number may run, in any number of processes.
pub struct Scanner<D: Dialect, S, C, R> {
    pub(super) compensation: Compensation<D>,
    pub(super) expectation: Arc<S>,
    pub(super) counterparts: Arc<C>,
    pub(super) repair: Arc<R>,
    /// Under which it claims.
    pub(super) owner: String,
    /// Up to which exhausted gap it has looked back.
    pub(super) exhausted_after: AtomicI64,
    wrong_clock: WrongClock,
}

/// What one pass did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Pass {
    /// Things that were looked at.
    pub scanned: usize,
    /// Gaps that are new.
    pub found: usize,
    /// Repairs that were made.
    pub repaired: usize,
    /// Repairs that failed.
    pub failed: usize,
    /// Gaps that were closed.
    pub resolved: usize,
    /// Gaps that will not be repaired again.
    pub exhausted: usize,
    /// Queries that failed: what did not need them was done.
    pub errors: Vec<Error>,
}

impl<D: Dialect, S: Expectation, C: Counterparts, R: Repair> Scanner<D, S, C, R> {
    pub(super) fn new(compensation: Compensation<D>, expectation: S, counterparts: C, repair: R) -> Self {
        Self {
            compensation,
            expectation: Arc::new(expectation),
            counterparts: Arc::new(counterparts),
            repair: Arc::new(repair),
            owner: format!("{:016x}", rand::random::<u64>()),
            exhausted_after: AtomicI64::new(0),
            wrong_clock: WrongClock::default(),
        }
    }

    /// Scans, repairs what is due, and returns. For tests and for jobs; a service starts the scanner.
    ///
    /// # Errors
    /// [`Error::Database`] of the findings' own. What the queries fail with is in [`Pass::errors`].
    pub async fn pass(&self) -> Result<Pass, Error> {
        let mut pass = Pass::default();
        let scanned = self.scan(&mut pass).await.map(|_| ());
        keep(&mut pass, scanned)?;
        let looked_back = self.look_back(&mut pass).await;
        keep(&mut pass, looked_back)?;
        let mended = self.mend(&mut pass).await;
        keep(&mut pass, mended)?;
        Ok(pass)
    }

    /// Starts scanning and repairing, in two tasks: neither waits for the other.
    pub fn start(self) -> RunningScanner {
        let (mut running, stopped) = Running::new();
        let this = Arc::new(self);
        running.spawn(Arc::clone(&this).run_scans(stopped.clone()));
        running.spawn(this.run_repairs(stopped));
        RunningScanner(running)
    }

    async fn run_scans(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let shared = &self.compensation.0;
        while !*stopped.borrow() {
            let mut pass = Pass::default();
            let scanned = self.scan(&mut pass).await;
            self.tell(&pass.errors);
            match scanned {
                Ok(false) => continue,
                Ok(true) => debug!(name = shared.name, pass.scanned, pass.found, "scanned"),
                Err(error) => self.tell(&[error]),
            }
            let next_ms = shared.clock.now_ms().saturating_add(millis(shared.settings.period));
            tokio::select! {
                () = shared.clock.wait_until(next_ms) => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }
    }

    async fn run_repairs(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let shared = &self.compensation.0;
        while !*stopped.borrow() {
            self.amend_clock().await;
            let mut pass = Pass::default();
            if let Err(error) = self.look_back(&mut pass).await {
                self.tell(&[error]);
            }
            if let Err(error) = self.mend(&mut pass).await {
                self.tell(&[error]);
            }
            let next_ms = shared.clock.now_ms().saturating_add(millis(shared.settings.period));
            tokio::select! {
                () = shared.clock.wait_until(next_ms) => {}
                () = shared.wake.called() => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }
    }

    fn tell(&self, errors: &[Error]) {
        for error in errors {
            warn!(%error, name = self.compensation.0.name, "a pass is not whole; once more after the period");
        }
    }

    async fn amend_clock(&self) {
        let shared = &self.compensation.0;
        let now_ms = shared.clock.now_ms();
        let settings = &shared.settings;
        let longest = settings.schedule.horizon();
        let longest = longest.map(|pause| pause.max(self.lease()).max(settings.age * 2).max(settings.period));
        let amend = async |horizon_ms| {
            let mut connection = shared.pool.acquire().await?;
            shared.table.amend_clock(&mut connection, &[shared.name.as_str().into()], now_ms, horizon_ms).await
        };
        self.wrong_clock.look(now_ms, longest, amend).await;
    }
}

/// Keeps what the user's queries fail with; everything else ends the pass.
fn keep(pass: &mut Pass, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error @ Error::Query { .. }) => pass.errors.push(error),
        result => return result,
    }
    Ok(())
}

/// A scanner at work. Dropping it ends it as a crash would; what it had claimed is looked at when the leases have ended.
#[derive(Debug)]
pub struct RunningScanner(Running);

impl RunningScanner {
    /// Lets what is being done end, and ends.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}
