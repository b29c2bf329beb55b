//! Checks, answered from the rows.

use std::sync::Arc;

use tenonmq_client::{Check, CheckError, CheckListener, LocalState};
use tokio::sync::Semaphore;

use super::table::{HalfTable, State, Step};
use crate::{
    clock::Clock,
    database::Dialect,
    error::Error,
    fault::{Faults, Point},
};

/// Checks of this process that may wait at once for callers' transactions to end. Others are answered *unknown* and asked
/// again, so that open transactions do not take all connections of the pool.
const WAITING: usize = 2;

/// Answers the broker's checks of half messages that [`Transactional`](super::Transactional) stored. Clones are one.
pub struct Answers<D: Dialect>(Arc<Desk<D>>);

struct Desk<D: Dialect> {
    table: Arc<HalfTable<D>>,
    clock: Arc<dyn Clock>,
    faults: Faults,
    waiting: Semaphore,
}

impl<D: Dialect> Answers<D> {
    pub(super) fn new(table: Arc<HalfTable<D>>, clock: Arc<dyn Clock>, faults: Faults) -> Self {
        Self(Arc::new(Desk { table, clock, faults, waiting: Semaphore::new(WAITING) }))
    }

    pub(super) fn table(&self) -> &Arc<HalfTable<D>> {
        &self.0.table
    }

    /// What became of the transaction that was to tell of the half message.
    pub(super) async fn answer(&self, id: &str) -> Result<LocalState, Error> {
        let desk = &*self.0;
        loop {
            match desk.table.state(id).await? {
                State::Deciding(_) | State::Done(_) => return Ok(LocalState::Commit),
                State::Relayed | State::Void => return Ok(LocalState::Rollback),
                State::Held(_) => {
                    let is_mine = desk.table.step(id, Step::Decide, desk.clock.now_ms()).await?;
                    if is_mine {
                        desk.faults.pass(Point::HalfDeciding)?;
                    } // else somebody else went on: look again
                }
                State::Absent => {
                    let Ok(_permit) = desk.waiting.try_acquire() else { return Ok(LocalState::Unknown) };
                    let written = || desk.faults.pass(Point::HalfVoidWritten);
                    if desk.table.void(id, desk.clock.now_ms(), written).await? {
                        desk.faults.pass(Point::HalfVoid)?;
                    }
                }
            }
        }
    }
}

impl<D: Dialect> CheckListener for Answers<D> {
    async fn check_local_transaction(&self, check: Check) -> Result<LocalState, CheckError> {
        match check.transaction_id() {
            Some(id) => Ok(self.answer(id).await?),
            // not one of ours: another version of the service may know it
            None => Ok(LocalState::Unknown),
        }
    }
}

impl<D: Dialect> Clone for Answers<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
