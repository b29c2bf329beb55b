//! Beginning a global transaction in the caller's own.

use sqlx::Transaction;

use super::{
    command::{Action, BranchId, command},
    coordinator::{Coordinator, Shared},
    plan::Plan,
    progress::{Order, Phase, Progress},
    record::{Record, to_text},
};
use crate::{
    database::{Dialect, Value},
    error::Error,
    fault::Point,
    message::Outgoing,
    work::Status,
};

/// A global transaction that goes on if its transaction commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Begun {
    /// The row's id.
    pub row: i64,
    /// Whether this call wrote it. False when the same was begun before: it is not begun once more.
    pub is_new: bool,
}

impl<D: Dialect> Coordinator<D> {
    /// Begins a global transaction if and only if `transaction` commits: its row and its first commands are written there. Beginning
    /// the same again changes nothing.
    ///
    /// # Errors
    /// [`Error::Message`] and [`Error::TooLarge`] for a plan that can never be carried out, before anything is written;
    /// [`Error::Collision`] when the global id belongs to another plan; [`Error::Database`].
    pub async fn begin(&self, transaction: &mut Transaction<'_, D>, plan: &Plan) -> Result<Begun, Error> {
        plan.check()?;
        let shared = &*self.0;
        let now_ms = shared.outbox.0.clock.now_ms();
        let mut progress = Progress::of(plan);
        progress.advance(now_ms);
        let mut record = Record {
            row: 0,
            global: plan.global.clone(),
            topic: shared.answers.clone(),
            content: plan.content.clone(),
            rounds: i64::MAX, // the longest id there will be
            status: Status::Pending,
            attempts: 0,
            next_ms: progress.due_ms().unwrap_or(now_ms),
            last_error: None,
            progress,
        };
        shared.check(&record)?;
        record.rounds = 1;
        let branches = to_text(&record.progress.branches);
        let values: [Value<'_>; 9] = [
            plan.global.as_str().into(),
            plan.kind.as_str().into(),
            Phase::Trying.as_str().into(),
            shared.answers.as_str().into(),
            Value::Bytes(&plan.content),
            branches.as_str().into(),
            record.next_ms.into(),
            now_ms.into(),
            now_ms.into(),
        ];
        let Some(row) = D::insert_once(transaction, &shared.insert, &values).await? else {
            return shared.begun_before(transaction, plan).await;
        };
        record.row = row;
        shared.send(transaction, &record, &record.progress.orders()).await?;
        shared.outbox.0.faults.pass(Point::GlobalWritten)?;
        shared.wake.soon();
        Ok(Begun { row, is_new: true })
    }
}

impl<D: Dialect> Shared<D> {
    /// Tells branches what to do, by the outbox: the messages are there if the transaction commits.
    pub(super) async fn send(
        &self,
        transaction: &mut Transaction<'_, D>,
        record: &Record,
        orders: &[Order],
    ) -> Result<(), Error> {
        for (at, action) in orders {
            if let Some(message) = message(record, *at, *action) {
                self.outbox.publish(transaction, &message).await?;
            }
        }
        Ok(())
    }

    /// Whether all its commands, now and later, can be sent, and can be answered.
    fn check(&self, record: &Record) -> Result<(), Error> {
        for at in 0..record.progress.branches.len() {
            let Some(message) = message(record, at, Action::Confirm) else { continue };
            message.check(self.outbox.0.largest)?;
            let answer = format!("{}/answer", message.business_id());
            Outgoing::new(&record.topic, answer, "done").check(self.outbox.0.largest)?;
        }
        Ok(())
    }

    async fn begun_before(&self, transaction: &mut Transaction<'_, D>, plan: &Plan) -> Result<Begun, Error> {
        let Some(known) = self.load(transaction, &self.by_id, plan.global.as_str().into()).await? else {
            let (table, row) = (self.table.name(), 0);
            return Err(Error::Refused { table, row, reason: "it was removed at this moment; try again" });
        };
        let is_same = known.content == plan.content
            && known.progress.kind == plan.kind
            && known.progress.branches.len() == plan.branches.len()
            && known
                .progress
                .branches
                .iter()
                .zip(&plan.branches)
                .all(|(known, planned)| known.name == planned.name && known.topic == planned.topic);
        if is_same {
            return Ok(Begun { row: known.row, is_new: false });
        }
        Err(Error::Collision { table: self.table.name(), row: known.row, key: plan.global.clone() })
    }
}

fn message(record: &Record, at: usize, action: Action) -> Option<Outgoing> {
    let branch = record.progress.branches.get(at)?;
    let id = BranchId { kind: record.progress.kind, global: record.global.clone(), branch: branch.name.clone() };
    Some(command(&id, action, &branch.topic, record.content.clone(), &record.topic, record.rounds))
}
