//! Repairing gaps, until their counterparts are there.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    BoxError, Counterparts, Expectation, Missing, Moment, Pass, Repair, Repaired, Scanner, Standing, claim::Claimed,
    guard::guarded, outcome::Outcome, scan::PRESENT,
};
use crate::{
    clock::millis,
    database::Dialect,
    error::Error,
    fault::{Faults, Point},
    work::Status,
};

/// Gaps that are claimed at once.
const CLAIMED: u32 = 64;
/// How many time limits a lease has: two queries, a round of repairs (how it stands, and the repair) and one to spare.
const LEASE: u32 = 5;

impl<D: Dialect, S: Expectation, C: Counterparts, R: Repair> Scanner<D, S, C, R> {
    /// Looks at the gaps that are due: closes those whose counterpart is there, and repairs the others, as many as one pass
    /// may.
    pub(super) async fn mend(&self, pass: &mut Pass) -> Result<(), Error> {
        let mut left = self.compensation.0.settings.most_repairs;
        loop {
            let lease_ms = millis(self.lease());
            let until_ms = self.moment().now_ms.saturating_add(lease_ms);
            let claimed = self.compensation.claim(&self.owner, lease_ms, CLAIMED).await?;
            if claimed.is_empty() {
                return Ok(());
            }
            let ids: Vec<i64> = claimed.iter().map(|one| one.row).collect();
            let (present, in_hand) = match self.ask(&claimed).await {
                Ok(known) => known,
                Err(error) => {
                    let next_ms = self.moment().now_ms.saturating_add(millis(self.compensation.0.settings.period));
                    self.compensation.release(&ids, &self.owner, next_ms).await?;
                    return Err(error);
                }
            };
            let mut untried = Vec::new();
            let (mut repairs, mut claimed) = (JoinSet::new(), claimed.into_iter());
            loop {
                while repairs.len() < self.compensation.0.settings.at_once {
                    let Some(gap) = claimed.next() else { break };
                    let row = gap.row;
                    match self.judge(gap, &present, &in_hand) {
                        Verdict::Known(outcome) => self.settle(row, outcome, pass).await?,
                        Verdict::Repair(missing) if left > 0 && self.is_time_before(until_ms) => {
                            left -= 1;
                            repairs.spawn(self.repair_one(row, missing));
                        }
                        Verdict::Repair(_) => untried.push(row),
                    }
                }
                match repairs.join_next().await {
                    Some(Ok(Ok((row, outcome)))) => self.settle(row, outcome, pass).await?,
                    Some(Ok(Err(crash))) => return Err(crash),
                    Some(Err(_)) => {} // what can panic is in a task of its own: its lease ends
                    None => break,
                }
            }
            if !untried.is_empty() {
                return self.compensation.release(&untried, &self.owner, self.moment().now_ms).await;
            }
        }
    }

    /// Looks whether the counterparts of exhausted gaps have appeared: a page of them each time.
    pub(super) async fn look_back(&self, pass: &mut Pass) -> Result<(), Error> {
        let after = self.exhausted_after.load(Ordering::Relaxed);
        let page = self.compensation.list(Status::Exhausted, after, CLAIMED).await?;
        let is_last = page.len() < CLAIMED as usize;
        let present = self.present(page.iter().map(|gap| gap.key.clone()).collect()).await?;
        for gap in page.iter().filter(|gap| present.contains(&gap.key)) {
            self.settle(gap.row, Outcome::Present { attempts: gap.attempts }, pass).await?;
        }
        let next = if is_last { 0 } else { page.last().map_or(0, |gap| gap.row) };
        self.exhausted_after.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// Longer than the queries and one repair.
    pub(super) fn lease(&self) -> Duration {
        self.compensation.0.settings.time_limit * LEASE
    }

    /// Whether a repair that begins now ends before that.
    fn is_time_before(&self, until_ms: i64) -> bool {
        // the question how it stands, and the repair
        let limit_ms = millis(self.compensation.0.settings.time_limit * 2);
        self.moment().now_ms.saturating_add(limit_ms) <= until_ms
    }

    /// What is there, and what the other side has in hand.
    async fn ask(&self, claimed: &[Claimed]) -> Result<(HashSet<String>, HashSet<String>), Error> {
        let keys = claimed.iter().filter_map(|one| one.missing.as_ref().ok()).map(|missing| missing.key().to_owned());
        let present = self.present(keys.clone().collect()).await?;
        let absent: Vec<String> = keys.filter(|key| !present.contains(key)).collect();
        if absent.is_empty() {
            return Ok((present, HashSet::new()));
        }
        let counterparts = Arc::clone(&self.counterparts);
        let limit = self.compensation.0.settings.time_limit;
        let in_hand = guarded(limit, async move { counterparts.in_hand(absent).await }).await;
        let in_hand = in_hand.map_err(|error| self.refused(PRESENT, error))?;
        Ok((present, in_hand.into_iter().collect()))
    }

    fn judge(&self, gap: Claimed, present: &HashSet<String>, in_hand: &HashSet<String>) -> Verdict {
        let attempts = gap.attempts;
        let missing = match gap.missing {
            Ok(missing) => missing,
            Err(reason) => {
                let cause = format!("the row cannot be read: {reason}");
                return Verdict::Known(Outcome::GivenUp { attempts, cause });
            }
        };
        if present.contains(missing.key()) {
            return Verdict::Known(Outcome::Present { attempts });
        }
        if in_hand.contains(missing.key()) {
            let why = "the other side is trying it".to_owned();
            return Verdict::Known(Outcome::NotYet { until_ms: None, why });
        }
        let schedule = &self.compensation.0.settings.schedule;
        if attempts > 0 && schedule.after(attempts, gap.row).is_none() {
            let cause = format!("there is no counterpart after repair {attempts}");
            return Verdict::Known(Outcome::GivenUp { attempts, cause });
        }
        Verdict::Repair(missing)
    }

    /// Asks how the gap stands, and repairs it. An error is a crash.
    fn repair_one(
        &self,
        row: i64,
        mut missing: Missing,
    ) -> impl Future<Output = Result<(i64, Outcome), Error>> + Send + 'static {
        let (expectation, repair) = (Arc::clone(&self.expectation), Arc::clone(&self.repair));
        let (limit, moment) = (self.compensation.0.settings.time_limit, self.moment());
        let faults = self.compensation.0.faults.clone();
        async move {
            let attempts = missing.attempt;
            match standing(limit, expectation, &missing, moment).await {
                Ok(Standing::Lacking(Some(message))) => missing.message = message,
                Ok(Standing::Lacking(None)) => {}
                Ok(Standing::NotYet(until_ms, why)) => return Ok((row, Outcome::NotYet { until_ms, why })),
                Ok(Standing::Void(result)) => return Ok((row, Outcome::Settled { attempts: attempts - 1, result })),
                Err(error) => return failed(row, attempts, &error),
            }
            let repaired = guarded(limit, async move { repair.repair(&missing).await }).await;
            match repaired {
                Ok(Repaired::NotYet(why)) => Ok((row, Outcome::NotYet { until_ms: None, why })),
                Ok(Repaired::Begun(result)) => made(&faults, row, Outcome::Begun { attempts, result }),
                Ok(Repaired::Settled(result)) => made(&faults, row, Outcome::Settled { attempts, result }),
                Err(error) => failed(row, attempts, &error),
            }
        }
    }
}

/// What to do with a gap.
enum Verdict {
    Known(Outcome),
    Repair(Missing),
}

async fn standing<S: Expectation>(
    limit: Duration,
    expectation: Arc<S>,
    missing: &Missing,
    moment: Moment,
) -> Result<Standing, BoxError> {
    let missing = missing.clone();
    guarded(limit, async move { expectation.standing(&missing, moment).await }).await
}

fn made(faults: &Faults, row: i64, outcome: Outcome) -> Result<(i64, Outcome), Error> {
    faults.pass(Point::GapRepaired)?;
    Ok((row, outcome))
}

/// A failure, unless it is the test kit's crash.
fn failed(row: i64, attempts: u32, error: &BoxError) -> Result<(i64, Outcome), Error> {
    match error.downcast_ref::<Error>() {
        Some(Error::Crashed(point)) => Err(Error::Crashed(*point)),
        _ => Ok((row, Outcome::Failed { attempts, cause: error.to_string() })),
    }
}
