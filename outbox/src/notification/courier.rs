//! Delivering: claim, call, write down.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{
    Notifier, Task,
    circuit::TargetState,
    claim::{Claimed, PAGE, Waiting, Wanted},
    connect::Dialer,
    deliver::{Postman, Report},
    outcome::{Ended, Settled},
    settings::Settings,
};
use crate::{clock::millis, database::Dialect, error::Error, fault::Point};

/// Delivers a notifier's tasks. Set it up, then [start](Self::start) it. Any number may run, in any number of processes.
pub struct Courier<D: Dialect> {
    pub(super) notifier: Notifier<D>,
    pub(super) settings: Settings,
    pub(super) postman: Postman,
    pub(super) targets: Targets,
    /// Under which it claims.
    owner: String,
}

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// Tasks whose receiver answered 200.
    pub delivered: usize,
    /// Tries that failed.
    pub failed: usize,
    /// Tasks that will not be tried again.
    pub exhausted: usize,
}

/// What is known of targets. Each that has nothing pending is forgotten.
#[derive(Debug, Clone, Default)]
pub(super) struct Targets(Arc<Mutex<HashMap<String, TargetState>>>);

/// What a look at the table found.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) claimed: Vec<Claimed>,
    /// When something else is due of a target that has room; `i64::MAX` for never.
    pub(super) next_ms: i64,
}

/// A call's place among those of its target; given back when it is dropped, however the call ends.
struct Seat {
    targets: Targets,
    target: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(state) = self.targets.0.lock().get_mut(&self.target) {
            state.ended();
        }
    }
}

impl Targets {
    fn sit(&self, target: &str) -> Seat {
        self.0.lock().entry(target.to_owned()).or_default().began();
        Seat { targets: self.clone(), target: target.to_owned() }
    }
}

impl<D: Dialect> Notifier<D> {
    /// A courier; it does nothing before it is [started](Courier::start).
    pub fn courier(&self) -> Courier<D> {
        let dialer = Dialer::new(self.0.reach.clone(), Duration::from_secs(3));
        let settings = Settings::default();
        Courier {
            notifier: self.clone(),
            postman: Postman { dialer, keys: Arc::clone(&self.0.keys), limit: settings.call_limit },
            settings,
            targets: Targets::default(),
            owner: format!("{:016x}", rand::random::<u64>()),
        }
    }
}

impl<D: Dialect> Courier<D> {
    /// Delivers what is due now and what becomes due meanwhile, and returns. For tests and for jobs; a service starts the
    /// courier.
    ///
    /// # Errors
    /// [`Error::Database`]. What was delivered and could not be written down is delivered again when its lease has ended.
    pub async fn pass(&self) -> Result<Delivered, Error> {
        let mut pass = Delivered::default();
        loop {
            let look = self.look(self.settings.in_flight).await?;
            if look.claimed.is_empty() {
                return Ok(pass);
            }
            let mut calls = JoinSet::new();
            for one in look.claimed {
                calls.spawn(self.deliver(one));
            }
            let mut ended = Vec::new();
            while let Some(call) = calls.join_next().await {
                ended.extend(call.ok().transpose()?);
            }
            let settled = self.settle(&mut ended).await?;
            pass.delivered += settled.delivered;
            pass.failed += settled.failed;
            pass.exhausted += settled.exhausted.len();
        }
    }

    /// Claims up to `room` tasks, of all targets that have something due and may be called.
    pub(super) async fn look(&self, room: u32) -> Result<Look, Error> {
        let mut look = Look { claimed: Vec::new(), next_ms: i64::MAX };
        let (mut after, mut room) = (String::new(), room);
        let mut seen = Vec::new();
        loop {
            let page = self.notifier.waiting(&after).await?;
            let is_last = page.len() < PAGE as usize;
            seen.extend(page.iter().map(|waiting| waiting.target.clone()));
            after = page.last().map(|waiting| waiting.target.clone()).unwrap_or_default();
            let wanted = self.wanted(page, &mut room, &mut look.next_ms);
            if !wanted.is_empty() {
                let lease_ms = millis(self.settings.lease);
                let claimed = self.notifier.claim(&self.owner, lease_ms, &wanted).await?;
                room = room.saturating_sub(u32::try_from(claimed.len()).unwrap_or(u32::MAX));
                look.claimed.extend(claimed);
            }
            if is_last || room == 0 {
                break;
            }
        }
        if room > 0 {
            seen.sort_unstable(); // databases may have an order of their own
            self.targets.0.lock().retain(|target, state| {
                state.in_flight() > 0 || (!state.is_idle() && seen.binary_search(target).is_ok())
            });
        }
        Ok(look)
    }

    /// Which targets of a page to claim for now; takes the others' times into account.
    fn wanted(&self, page: Vec<Waiting>, room: &mut u32, next_ms: &mut i64) -> Vec<Wanted> {
        let now_ms = self.notifier.0.clock.now_ms();
        let targets = self.targets.0.lock();
        let unknown = TargetState::default();
        let mut left = *room;
        let mut wanted = Vec::new();
        for Waiting { target, next_due_ms } in page {
            let state = targets.get(&target).unwrap_or(&unknown);
            let may_call_ms = next_due_ms.max(state.open_until_ms(now_ms).unwrap_or(next_due_ms));
            let room = state.room(self.settings.per_target, now_ms).min(left);
            if may_call_ms > now_ms {
                *next_ms = may_call_ms.min(*next_ms);
            } else if room > 0 {
                left -= room;
                wanted.push(Wanted { target, room });
            }
        }
        wanted
    }

    /// Calls the endpoint of a claimed task.
    pub(super) fn deliver(&self, claimed: Claimed) -> impl Future<Output = Result<Ended, Error>> + Send + 'static {
        let (postman, notifier) = (self.postman.clone(), self.notifier.clone());
        let (seat, circuit) = (self.targets.sit(&claimed.target), self.settings.circuit);
        let longest_wait = self.settings.longest_wait;
        async move {
            let shared = &*notifier.0;
            let attempt = claimed.attempts.saturating_add(1);
            let began_ms = shared.clock.now_ms();
            let mut report = match &claimed.letter {
                Ok(letter) => postman.post(letter, attempt, began_ms).await,
                Err(reason) => Report {
                    cause: Some(format!("the row cannot be read: {reason}")),
                    is_final: true,
                    ..Report::default()
                },
            };
            let ended_ms = shared.clock.now_ms();
            report.asked = report.asked.map(|asked| asked.min(longest_wait));
            if let Some(state) = seat.targets.0.lock().get_mut(&claimed.target) {
                if report.is_unwell && state.failed(&circuit, ended_ms, report.asked) {
                    tracing::warn!(
                        target = claimed.target,
                        cause = report.cause,
                        "an endpoint is left alone for a while"
                    );
                } else if !report.is_unwell && report.code.is_some() {
                    state.answered(ended_ms);
                }
            }
            drop(seat);
            shared.faults.pass(Point::NotificationAnswered)?;
            let business_type = claimed.business_type;
            Ok(Ended { row: claimed.row, business_type, attempt, began_ms, ended_ms, report })
        }
    }

    pub(super) async fn settle(&self, ended: &mut [Ended]) -> Result<Settled, Error> {
        let pause = |one: &Ended| self.settings.strategy_of(&one.business_type).after(one.attempt, one.row);
        let settled = self.notifier.settle(&self.owner, pause, ended).await?;
        let tally = &self.notifier.0.tally;
        tally.done(settled.delivered);
        tally.failed(settled.failed);
        tally.exhausted(settled.exhausted.len());
        for row in &settled.exhausted {
            self.alert(*row).await;
        }
        Ok(settled)
    }

    async fn alert(&self, row: i64) {
        match self.notifier.task(row).await {
            Ok(Some(task)) => {
                let Task { receiver, business_id, last_error, .. } = &task;
                tracing::error!(row, receiver, id = business_id, cause = last_error, "a notification is given up");
                if let Some(alert) = &self.settings.on_exhausted {
                    alert(&task);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(row, %error, "a notification is given up; its row cannot be shown"),
        }
    }
}
