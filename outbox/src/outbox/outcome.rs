//! Writing down what became of claimed rows.

use super::Outbox;
use crate::{
    database::{Dialect, Value, begin, padded},
    error::Error,
    fault::Point,
    schedule::Schedule,
    work::Failure,
};

/// What became of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The broker has it.
    Sent { row: i64, sent_as: String },
    /// It failed. `attempts` counts this failure.
    Failed { row: i64, attempts: u32, cause: String, is_final: bool },
    /// It was not tried: `behind` failed, which its order key puts before it.
    Behind { row: i64, behind: i64 },
    /// It was not tried for want of time.
    Untried { row: i64 },
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) sent: usize,
    pub(crate) failed: usize,
    /// Rows that will not be tried again, with their last cause.
    pub(crate) exhausted: Vec<i64>,
    /// When the first of those that were given back, failed or untried, is to be tried again.
    pub(crate) again_ms: Option<i64>,
}

impl Outcome {
    fn row(&self) -> i64 {
        match self {
            Self::Sent { row, .. } | Self::Failed { row, .. } | Self::Behind { row, .. } | Self::Untried { row } => {
                *row
            }
        }
    }
}

impl<D: Dialect> Outbox<D> {
    /// Writes outcomes, all in one transaction. Another relay may have sent some of the rows as well, when a lease ended
    /// meanwhile: whoever comes first locks all of his, and the other one waits.
    pub(crate) async fn settle(
        &self,
        owner: &str,
        schedule: &Schedule,
        outcomes: &[Outcome],
    ) -> Result<Settled, Error> {
        let mut settled = Settled::default();
        if outcomes.is_empty() {
            return Ok(settled);
        }
        let shared = &*self.0;
        let now_ms = shared.clock.now_ms();
        let mut transaction = begin(&shared.pool).await?;
        let mut rows: Vec<i64> = outcomes.iter().map(Outcome::row).collect();
        rows.sort_unstable();
        shared.table.hold(&mut transaction, &rows).await?;
        settled.sent = self.write_sent(&mut transaction, outcomes, now_ms).await?;
        let mut retries = Vec::new();
        for outcome in outcomes {
            let Outcome::Failed { row, attempts, cause, is_final } = outcome else { continue };
            let pause = if *is_final { None } else { schedule.after(*attempts, *row) };
            let next_ms = pause.map(|pause| now_ms.saturating_add(crate::clock::millis(pause)));
            let failure = Failure { row: *row, attempts: *attempts, cause, now_ms, next_ms };
            let is_written = shared.table.fail(&mut transaction, owner, failure).await?;
            settled.failed += usize::from(is_written);
            if is_written && next_ms.is_none() {
                settled.exhausted.push(*row);
            }
            retries.push((*row, next_ms.unwrap_or(now_ms)));
        }
        settled.again_ms = retries.iter().map(|(_, next_ms)| *next_ms).min();
        for (failed, next_ms) in retries {
            let behind = outcomes.iter().filter_map(|outcome| match outcome {
                Outcome::Behind { row, behind } if *behind == failed => Some(*row),
                _ => None,
            });
            let behind: Vec<i64> = behind.collect();
            shared.table.release(&mut transaction, &behind, owner, next_ms).await?;
        }
        let untried = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Untried { row } => Some(*row),
            _ => None,
        });
        let untried: Vec<i64> = untried.collect();
        if !untried.is_empty() {
            settled.again_ms = Some(now_ms);
        }
        shared.table.release(&mut transaction, &untried, owner, now_ms).await?;
        shared.faults.pass(Point::OutcomeWritten)?;
        transaction.commit().await?;
        shared.faults.pass(Point::OutcomeKept)?;
        Ok(settled)
    }

    async fn write_sent(
        &self,
        connection: &mut D::Connection,
        outcomes: &[Outcome],
        now_ms: i64,
    ) -> Result<usize, Error> {
        let mut sent: Vec<(i64, &str)> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Outcome::Sent { row, sent_as } => Some((*row, sent_as.as_str())),
                _ => None,
            })
            .collect();
        sent.sort_unstable();
        if sent.is_empty() {
            return Ok(0);
        }
        let ids: Vec<i64> = sent.iter().map(|(row, _)| *row).collect();
        let cases = "WHEN ? THEN ? ".repeat(ids.len().next_power_of_two());
        // whoever holds the lease now: the broker has the message. Exhausted: another relay's last try failed meanwhile.
        let sql = self.0.table.sql_of_ids(
            &format!(
                "UPDATE {{table}} SET sent_as = CASE id {cases}END, status = 'done', claimed_by = NULL, updated_at = ? \
                 WHERE status IN ('pending', 'exhausted') AND id IN ({{ids}})"
            ),
            &ids,
        );
        let named = padded(&ids).zip(sent.iter().map(|(_, sent_as)| *sent_as).chain(std::iter::repeat("")));
        let mut values: Vec<Value<'_>> = named.flat_map(|(row, sent_as)| [row.into(), sent_as.into()]).collect();
        values.push(now_ms.into());
        values.extend(padded(&ids).map(Value::Int));
        D::execute(connection, &sql, &values).await?;
        Ok(ids.len())
    }
}
