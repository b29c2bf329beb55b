//! A branch's service: what it does for each command, and the driver that does it once.

use std::{
    fmt::{self, Display},
    future::{self, Future},
    sync::Arc,
};

use sqlx::{Connection, Transaction};

use super::{
    barrier::{Barrier, Entry},
    command::{Action, Command},
};
use crate::{database::Dialect, error::Error, fault::Point, inbox::Effects, message::Incoming, work::shortened};

/// What a branch says to its try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// Yes: it is reserved; in a saga, done.
    Done,
    /// No, for good, with the reason; what the try wrote is rolled back, and the whole transaction is cancelled.
    Refused(String),
}

/// What a service does in a branch. Each call writes within `transaction` and nowhere else, and takes effect once, however
/// often its command comes: the [`Barrier`] sees to that.
///
/// An error means "not now": all is rolled back, and the inbox tries again on its schedule. "No" is [`Vote::Refused`], and there is
/// none for confirm and cancel: whoever has reserved must be able to do both.
pub trait Participant<D: Dialect>: Send + Sync + 'static {
    /// Why it cannot be done now. Its text is kept.
    type Error: Display + Send;

    /// Reserves what confirm will use (TCC), or does the step (saga).
    fn try_it(
        &self,
        transaction: &mut Transaction<'_, D>,
        command: &Command,
    ) -> impl Future<Output = Result<Vote, Self::Error>> + Send;

    /// Undoes what [`try_it`](Self::try_it) did. Not called when it did nothing, or refused.
    fn cancel(
        &self,
        transaction: &mut Transaction<'_, D>,
        command: &Command,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Uses what was reserved. Not called for a saga's step, which is done already.
    fn confirm(
        &self,
        transaction: &mut Transaction<'_, D>,
        command: &Command,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (transaction, command);
        future::ready(Ok(()))
    }
}

/// Why a command is not carried out. Nothing of it is left in the transaction.
#[derive(Debug, thiserror::Error)]
pub enum BranchError<E> {
    /// The participant cannot do it now.
    #[error("{0}")]
    Participant(E),
    /// The barrier or the outbox failed, or refuses the command.
    #[error(transparent)]
    Barrier(#[from] Error),
}

impl<D: Dialect> Barrier<D> {
    /// Carries a command out in the caller's transaction, unless it was before, and returns what is to be answered.
    ///
    /// # Errors
    /// [`BranchError`]; the transaction is then as it was.
    pub async fn handle<P: Participant<D>>(
        &self,
        transaction: &mut Transaction<'_, D>,
        command: &Command,
        participant: &P,
    ) -> Result<Vote, BranchError<P::Error>> {
        let mut whole = Connection::begin(&mut **transaction).await.map_err(Error::from)?;
        let carried_out = self.carry_out(&mut whole, command, participant).await;
        let ended = if carried_out.is_ok() { whole.commit().await } else { whole.rollback().await };
        let vote = carried_out?;
        ended.map_err(Error::from)?;
        Ok(vote)
    }

    async fn carry_out<P: Participant<D>>(
        &self,
        transaction: &mut Transaction<'_, D>,
        command: &Command,
        participant: &P,
    ) -> Result<Vote, BranchError<P::Error>> {
        match self.enter(transaction, &command.id, command.action).await? {
            Entry::First => {}
            Entry::Before(vote) => return Ok(vote),
            Entry::Nothing => return Ok(Vote::Done),
        }
        match command.action {
            Action::Confirm => participant.confirm(transaction, command).await.map_err(BranchError::Participant)?,
            Action::Cancel => participant.cancel(transaction, command).await.map_err(BranchError::Participant)?,
            Action::Try => return self.carry_out_try(transaction, command, participant).await,
        }
        Ok(Vote::Done)
    }

    /// What a refused try wrote is rolled back; that it refused is not.
    async fn carry_out_try<P: Participant<D>>(
        &self,
        transaction: &mut Transaction<'_, D>,
        command: &Command,
        participant: &P,
    ) -> Result<Vote, BranchError<P::Error>> {
        let mut effects = Connection::begin(&mut **transaction).await.map_err(Error::from)?;
        match participant.try_it(&mut effects, command).await {
            Ok(Vote::Done) => effects.commit().await.map_err(Error::from)?,
            Ok(Vote::Refused(reason)) => {
                effects.rollback().await.map_err(Error::from)?;
                let reason = shortened(&reason);
                self.refuse(transaction, &command.id, reason).await?;
                return Ok(Vote::Refused(reason.to_owned()));
            }
            Err(error) => {
                effects.rollback().await.map_err(Error::from)?;
                return Err(BranchError::Participant(error));
            }
        }
        Ok(Vote::Done)
    }

    /// What an [`Inbox`](crate::Inbox) runs, in its listener and in its retrier: each command is carried out once, and
    /// answered through the outbox, in the inbox's transaction.
    ///
    /// ```no_run
    /// # use sqlx::Sqlite;
    /// # use tenonmq_client::PushConsumer;
    /// # use tenonmq_outbox::{Inbox, Outbox, coordination::{Barrier, Participant}};
    /// # async fn example(pool: sqlx::SqlitePool, outbox: Outbox<Sqlite>, stock: impl Participant<Sqlite>)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let stock = Barrier::of(&outbox).serve(stock);
    /// let inbox = Inbox::builder(pool, "stock").build();
    /// let consumer = PushConsumer::builder("127.0.0.1:9876").group("stock").subscribe("stock_commands", "*");
    /// let consumer = consumer.listener(inbox.listener(stock.clone())).connect().await?;
    /// let retrier = inbox.retrier(stock).start(); // and a relay of the outbox, for the answers
    /// # Ok(()) }
    /// ```
    pub fn serve<P: Participant<D>>(&self, participant: P) -> Serving<D, P> {
        Serving { barrier: self.clone(), participant: Arc::new(participant) }
    }
}

/// A participant as an inbox's effects. Clones are one.
pub struct Serving<D: Dialect, P> {
    barrier: Barrier<D>,
    participant: Arc<P>,
}

impl<D: Dialect, P: Participant<D>> Serving<D, P> {
    async fn serve(
        &self,
        transaction: &mut Transaction<'_, D>,
        message: &Incoming,
    ) -> Result<(), BranchError<P::Error>> {
        let command = Command::read(message)?;
        let vote = self.barrier.handle(transaction, &command, &*self.participant).await?;
        let outbox = self.barrier.outbox();
        outbox.publish(transaction, &command.answer(&vote)).await?;
        Ok(outbox.0.faults.pass(Point::BranchWritten)?)
    }
}

impl<D: Dialect, P: Participant<D>> Effects<D> for Serving<D, P> {
    type Error = BranchError<P::Error>;

    async fn apply(&self, transaction: &mut Transaction<'_, D>, message: &Incoming) -> Result<(), Self::Error> {
        let served = self.serve(transaction, message).await;
        if let Err(BranchError::Barrier(error)) = &served {
            self.barrier.outbox().0.faults.note(error);
        }
        served
    }
}

impl<D: Dialect, P> Clone for Serving<D, P> {
    fn clone(&self) -> Self {
        Self { barrier: self.barrier.clone(), participant: Arc::clone(&self.participant) }
    }
}

impl<D: Dialect, P> fmt::Debug for Serving<D, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("barrier", &self.barrier).finish_non_exhaustive()
    }
}
