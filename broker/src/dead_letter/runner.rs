//! Gives every redrive job its turns.

use std::sync::Arc;

use tenonmq_storage::Role;
use tokio::{sync::watch, task::spawn_blocking};

use super::batch;
use crate::{
    core::{Core, topics::Topic},
    group::stopped,
};

/// How long a broker that follows another one waits before it looks again, in milliseconds.
const AS_SLAVE_MS: i64 = 1000;

/// What a round did.
pub(super) struct Round {
    /// Topics that it created; they are to be announced.
    pub(super) created: Vec<Arc<Topic>>,
    /// When the next turn of any job is due, in milliseconds; `None` when no job runs.
    pub(super) next: Option<i64>,
}

/// One turn for each job that is due. Blocking.
pub(super) fn round(core: &Core) -> Round {
    let mut round = Round { created: Vec::new(), next: None };
    if core.store.permit().role == Role::Slave {
        round.next = Some(core.clock.now_ms() + AS_SLAVE_MS);
        return round;
    }
    for job in core.dead_letters.all() {
        if !job.is_running() {
            continue;
        }
        round.created.extend(batch::take(core, &job));
        if job.is_running() {
            let due = job.work.lock().due_ms;
            round.next = Some(round.next.map_or(due, |next| next.min(due)));
        }
    }
    round
}

/// Runs redrive jobs until `stop` turns true. A job that runs then goes on at the next start.
pub async fn keep_redriving(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let working = Arc::clone(&core);
        let round = match spawn_blocking(move || round(&working)).await {
            Ok(round) => round,
            Err(error) => {
                tracing::error!(%error, "a round of redrive jobs ended badly");
                Round { created: Vec::new(), next: Some(core.clock.now_ms() + AS_SLAVE_MS) }
            }
        };
        for topic in round.created {
            core.topic_changed(&topic.config).await;
        }
        match round.next {
            Some(at) if at <= core.clock.now_ms() => {}
            Some(at) => tokio::select! {
                () = core.clock.sleep_until(at) => {}
                () = core.dead_letters.wake.notified() => {}
                () = stopped(&mut stop) => {}
            },
            None => tokio::select! {
                () = core.dead_letters.wake.notified() => {}
                () = stopped(&mut stop) => {}
            },
        }
    }
}
