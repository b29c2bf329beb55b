//! Rows that are sent one after the other.

use std::{collections::HashMap, future::Future};

use super::{PublishError, Publisher, Relay};
use crate::{
    database::Dialect,
    error::Error,
    fault::Point,
    outbox::{Claimed, Outcome},
    transactional::half_of,
};

/// Rows of one order key in the order of their ids, or a single row.
pub(super) type Lane = Vec<Claimed>;

/// Divides claimed rows (ascending) into lanes.
pub(super) fn lanes_of(claimed: Vec<Claimed>) -> Vec<Lane> {
    let mut lanes = Vec::<Lane>::new();
    let mut by_key = HashMap::<String, usize>::new();
    for one in claimed {
        let key = one.message.as_ref().ok().and_then(|message| message.order_key.clone());
        let known = key.as_ref().and_then(|key| by_key.get(key)).and_then(|at| lanes.get_mut(*at));
        if let Some(lane) = known {
            lane.push(one);
            continue;
        }
        if let Some(key) = key {
            by_key.insert(key, lanes.len());
        }
        lanes.push(vec![one]);
    }
    lanes
}

impl<D: Dialect, P: Publisher> Relay<D, P> {
    /// Sends a lane until a row fails; those behind it are not tried then. Begins nothing that could outlast the lease.
    pub(super) fn send(
        &self,
        lane: Lane,
        lease_until_ms: i64,
    ) -> impl Future<Output = Result<Vec<Outcome>, Error>> + Send + 'static {
        let publisher = std::sync::Arc::clone(&self.publisher);
        let outbox = self.outbox.clone();
        let limit = self.settings.send_limit;
        async move {
            let mut outcomes = Vec::with_capacity(lane.len());
            let mut failed = None;
            for one in lane {
                let row = one.row;
                if let Some(behind) = failed {
                    outcomes.push(Outcome::Behind { row, behind });
                    continue;
                }
                if outbox.0.clock.now_ms().saturating_add(crate::clock::millis(limit)) > lease_until_ms {
                    outcomes.push(Outcome::Untried { row });
                    continue;
                }
                let sent = match &one.message {
                    Err(reason) => Err(PublishError::lasting(format!("the row cannot be read: {reason}"))),
                    Ok(message) if half_of(message).is_some() && !P::KNOWS_HALF_MESSAGES => {
                        Err(PublishError::passing("its half message decides: start the relay of its `Transactional`"))
                    }
                    Ok(message) => match tokio::time::timeout(limit, publisher.publish(message)).await {
                        Ok(sent) => sent,
                        Err(_) => Err(PublishError::passing(format!("no answer within {limit:?}"))),
                    },
                };
                outbox.0.faults.survive()?;
                outbox.0.faults.pass(Point::Sent)?;
                outcomes.push(match sent {
                    Ok(sent_as) => Outcome::Sent { row, sent_as },
                    Err(PublishError { cause, is_final }) => {
                        failed = Some(row);
                        Outcome::Failed { row, attempts: one.attempts.saturating_add(1), cause, is_final }
                    }
                });
            }
            Ok(outcomes)
        }
    }
}
