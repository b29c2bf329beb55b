//! Writing down what happened to a task: its row, and its log.

use super::{Notifier, deliver::Report, log::Event};
use crate::{
    clock::millis,
    database::{Dialect, Value, begin},
    error::Error,
    fault::Point,
    work::{Failure, shortened},
};

/// A try that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) row: i64,
    pub(super) business_type: String,
    /// Which try it was, from 1.
    pub(super) attempt: u32,
    pub(super) began_ms: i64,
    pub(super) ended_ms: i64,
    pub(super) report: Report,
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) delivered: usize,
    pub(super) failed: usize,
    /// Tasks that will not be tried again.
    pub(super) exhausted: Vec<i64>,
}

impl<D: Dialect> Notifier<D> {
    /// Writes what became of tries, all in one transaction. `pause` says how long each waits after so many failures.
    pub(super) async fn settle(
        &self,
        owner: &str,
        pause: impl Fn(&Ended) -> Option<std::time::Duration>,
        ended: &mut [Ended],
    ) -> Result<Settled, Error> {
        let mut settled = Settled::default();
        if ended.is_empty() {
            return Ok(settled);
        }
        ended.sort_unstable_by_key(|one| one.row); // the order in which everybody locks
        let shared = &*self.0;
        let mut transaction = begin(&shared.pool).await?;
        for one in &*ended {
            self.log_try(&mut transaction, owner, one).await?;
            let Some(cause) = &one.report.cause else {
                settled.delivered += self.write_delivered(&mut transaction, one).await?;
                continue;
            };
            let pause = if one.report.is_final { None } else { pause(one) };
            let pause = pause.map(|pause| pause.max(one.report.asked.unwrap_or_default()));
            let next_ms = pause.map(|pause| one.ended_ms.saturating_add(millis(pause)));
            let failure = Failure { row: one.row, attempts: one.attempt, cause, now_ms: one.ended_ms, next_ms };
            let is_written = shared.table.fail(&mut transaction, owner, failure).await?;
            settled.failed += usize::from(is_written);
            if is_written && next_ms.is_none() {
                settled.exhausted.push(one.row);
            }
        }
        shared.faults.pass(Point::NotificationOutcomeWritten)?;
        transaction.commit().await?;
        shared.faults.pass(Point::NotificationOutcomeKept)?;
        Ok(settled)
    }

    /// Whoever holds the lease now: the receiver has it. Exhausted: another courier's last try failed meanwhile.
    async fn write_delivered(&self, connection: &mut D::Connection, one: &Ended) -> Result<usize, Error> {
        let sql = self.0.table.sql(
            "UPDATE {table} SET status = 'done', attempts = ?, claimed_by = NULL, last_error = NULL, updated_at = ? \
             WHERE id = ? AND status IN ('pending', 'exhausted')",
        );
        let changed = D::execute(connection, &sql, &[one.attempt.into(), one.ended_ms.into(), one.row.into()]).await?;
        Ok(usize::from(changed > 0))
    }

    async fn log_try(&self, connection: &mut D::Connection, owner: &str, one: &Ended) -> Result<(), Error> {
        let values = [
            one.row.into(),
            Event::Try.as_str().into(),
            one.attempt.into(),
            owner.into(),
            one.began_ms.into(),
            one.ended_ms.into(),
            Value::OptInt(one.report.code.map(i64::from)),
            Value::OptText(one.report.answer.as_deref()),
            Value::OptText(one.report.cause.as_deref().map(shortened)),
        ];
        self.write_log(connection, &values).await
    }

    /// A courier claimed the task and never said what became of it.
    pub(super) async fn log_lost(
        &self,
        connection: &mut D::Connection,
        row: i64,
        attempt: u32,
        holder: &str,
        now_ms: i64,
    ) -> Result<(), Error> {
        let values = [
            row.into(),
            Event::Lost.as_str().into(),
            attempt.into(),
            holder.into(),
            now_ms.into(),
            now_ms.into(),
            Value::OptInt(None),
            Value::OptText(None),
            "its courier never said what became of it".into(),
        ];
        self.write_log(connection, &values).await
    }

    pub(super) async fn write_log(&self, connection: &mut D::Connection, values: &[Value<'_>; 9]) -> Result<(), Error> {
        let sql = self.0.schema.sql::<D>(
            "INSERT INTO {notification_log} (task, event, attempt, who, began_at, ended_at, code, answer, cause) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        );
        D::execute(connection, &sql, values).await?;
        Ok(())
    }
}
