//! Writing down what became of gaps.

use super::{Compensation, Counterparts, Expectation, Pass, Repair, Scanner};
use crate::{
    clock::millis,
    database::{Dialect, Value, begin},
    error::Error,
    fault::Point,
    work::{Failure, shortened},
};

/// What became of a gap. `attempts` are its repairs, this one included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its counterpart is there.
    Present { attempts: u32 },
    /// No counterpart is to come.
    Settled { attempts: u32, result: String },
    /// It was repaired: the counterpart should come.
    Begun { attempts: u32, result: String },
    /// It is not its time.
    NotYet { until_ms: Option<i64>, why: String },
    /// The repair failed.
    Failed { attempts: u32, cause: String },
    /// There are no more repairs.
    GivenUp { attempts: u32, cause: String },
}

impl<D: Dialect, S: Expectation, C: Counterparts, R: Repair> Scanner<D, S, C, R> {
    /// Writes an outcome in a transaction of its own. Nothing happens when the lease was lost meanwhile, unless the gap is
    /// closed: what happened has happened.
    pub(super) async fn settle(&self, row: i64, outcome: Outcome, pass: &mut Pass) -> Result<(), Error> {
        let shared = &*self.compensation.0;
        let now_ms = shared.clock.now_ms();
        let (tally, name) = (&shared.tally, shared.name.as_str());
        let mut transaction = begin(&shared.pool).await?;
        let mut is_exhausted = false;
        match &outcome {
            Outcome::Present { attempts } => {
                let result = match attempts {
                    0 => "the counterpart is there".to_owned(),
                    repairs => format!("the counterpart is there after repair {repairs}"),
                };
                let is_closed = self.close(&mut transaction, row, *attempts, &result, now_ms).await?;
                pass.resolved += usize::from(is_closed);
                tally.done(usize::from(is_closed && *attempts > 0));
            }
            Outcome::Settled { attempts, result } => {
                let is_closed = self.close(&mut transaction, row, *attempts, result, now_ms).await?;
                pass.repaired += usize::from(is_closed && *attempts > 0);
                pass.resolved += usize::from(is_closed);
                tally.done(usize::from(is_closed && *attempts > 0));
            }
            Outcome::Begun { attempts, result } => {
                let pause = shared.settings.schedule.after(*attempts, row).unwrap_or(shared.settings.age);
                let next_ms = now_ms.saturating_add(millis(pause));
                self.keep_open(&mut transaction, row, Some(*attempts), result, next_ms).await?;
                pass.repaired += 1;
            }
            Outcome::NotYet { until_ms, why } => {
                let later_ms = now_ms.saturating_add(millis(shared.settings.age.max(shared.settings.period)));
                let next_ms = until_ms.map_or(later_ms, |until_ms| until_ms.max(now_ms.saturating_add(1)));
                self.keep_open(&mut transaction, row, None, why, next_ms).await?;
            }
            Outcome::Failed { attempts, cause } | Outcome::GivenUp { attempts, cause } => {
                let is_last = matches!(outcome, Outcome::GivenUp { .. });
                let pause = if is_last { None } else { shared.settings.schedule.after(*attempts, row) };
                let next_ms = pause.map(|pause| now_ms.saturating_add(millis(pause)));
                let failure = Failure { row, attempts: *attempts, cause, now_ms, next_ms };
                let is_written = shared.table.fail(&mut transaction, &self.owner, failure).await?;
                is_exhausted = is_written && next_ms.is_none();
                pass.failed += usize::from(is_written && !is_last);
                pass.exhausted += usize::from(is_exhausted);
                tally.failed(usize::from(is_written && !is_last));
                tracing::debug!(name, row, cause, "a repair failed");
            }
        }
        shared.faults.pass(Point::GapOutcomeWritten)?;
        transaction.commit().await?;
        shared.faults.pass(Point::GapOutcomeKept)?;
        if is_exhausted {
            self.compensation.exhausted(row).await;
        }
        Ok(())
    }

    async fn close(
        &self,
        connection: &mut D::Connection,
        row: i64,
        attempts: u32,
        result: &str,
        now_ms: i64,
    ) -> Result<bool, Error> {
        let sql = self.compensation.0.table.sql(
            "UPDATE {table} SET status = 'done', attempts = ?, result = ?, claimed_by = NULL, updated_at = ? \
             WHERE id = ? AND status IN ('pending', 'exhausted')",
        );
        let values: [Value<'_>; 4] = [attempts.into(), shortened(result).into(), now_ms.into(), row.into()];
        Ok(D::execute(connection, &sql, &values).await? > 0)
    }

    /// Gives the lease back until that time; `attempts` where it counts.
    async fn keep_open(
        &self,
        connection: &mut D::Connection,
        row: i64,
        attempts: Option<u32>,
        result: &str,
        next_ms: i64,
    ) -> Result<(), Error> {
        let shared = &*self.compensation.0;
        let count = if attempts.is_some() { "attempts = ?, last_error = NULL, " } else { "" };
        let sql = shared.table.sql(&format!(
            "UPDATE {{table}} SET {count}result = ?, next_attempt_at = ?, claimed_by = NULL, updated_at = ? \
             WHERE id = ? AND status = 'pending' AND claimed_by = ?"
        ));
        let mut values: Vec<Value<'_>> = attempts.into_iter().map(Value::from).collect();
        let now_ms = shared.clock.now_ms();
        let more = [shortened(result).into(), next_ms.into(), now_ms.into(), row.into(), self.owner.as_str().into()];
        values.extend::<[Value<'_>; 5]>(more);
        D::execute(connection, &sql, &values).await?;
        Ok(())
    }
}

impl<D: Dialect> Compensation<D> {
    /// Gives leased gaps back untried.
    pub(super) async fn release(&self, ids: &[i64], owner: &str, at_ms: i64) -> Result<(), Error> {
        let mut transaction = begin(&self.0.pool).await?;
        self.0.table.release(&mut transaction, ids, owner, at_ms).await?;
        Ok(transaction.commit().await?)
    }

    /// Counts a gap that will not be repaired again, and tells people of it.
    pub(super) async fn exhausted(&self, row: i64) {
        self.0.tally.exhausted(1);
        let name = self.0.name.as_str();
        match self.gap(row).await {
            Ok(Some(gap)) => {
                tracing::error!(row, name, key = gap.key, cause = gap.last_error, "given up");
                if let Some(alert) = &self.0.settings.on_exhausted {
                    alert(&gap);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(row, name, %error, "given up; its row cannot be shown"),
        }
    }
}
