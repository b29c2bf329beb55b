//! How far each consumer group has come in each queue.
//!
//! [`table`] holds the offsets, [`save`] keeps them in Apache's file, [`journal`] what was committed since, [`history`] why any went backward, [`ends`] keeps them inside their queues, [`query`] answers what clients ask about offsets and
//! the ends of queues. Rules: `transactions-retry-delay.md` section 6.

pub mod ends;
pub mod history;
pub mod journal;
#[cfg(test)]
mod journal_tests;
pub mod query;
mod queues;
pub mod save;
pub mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod thread_tests;

use std::sync::Arc;

use tokio::sync::watch;

pub use queues::Puller;
pub use table::{Commit, Offsets, StoredOffset};

use crate::{core::Core, group::stopped, remoting::Connection};

/// A consumer's commit, over whichever request it comes. One of an older value goes to the history.
pub fn commit(
    core: &Core,
    (group, topic, queue_id): (&str, &str, i32),
    offset: i64,
    connection: &Connection,
) -> Commit {
    let commit = core.offsets.commit(group, topic, queue_id, offset);
    if let Commit::Backward { from } = commit {
        let by = || member_of(core, group, connection);
        core.offset_history.backward((group, topic, queue_id), (from, offset), core.clock.now_ms(), by);
    }
    commit
}

/// A connection's client id in a group, with its address; the address alone when it is no member.
fn member_of(core: &Core, group: &str, connection: &Connection) -> String {
    let members = core.clients.consumer_group(group).map(|group| group.members()).unwrap_or_default();
    match members.iter().find(|member| member.connection().id() == connection.id()) {
        Some(member) => format!("{} ({})", member.client_id(), connection.peer()),
        None => connection.peer().to_string(),
    }
}

/// Saves the table every `flushConsumerOffsetInterval`, and once more at the end.
pub async fn keep_saved(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let mut last = false;
    while !last {
        last = tokio::select! {
            () = core.clock.sleep(core.config.load().offsets.flush_interval) => false,
            () = stopped(&mut stop) => true,
        };
        let core = Arc::clone(&core);
        let saved = tokio::task::spawn_blocking(move || {
            core.topics.save(); // if the disk refused before
            core.offset_history.write_gathered(core.clock.now_ms());
            core.offsets.save(core.clock.now_ms())
        })
        .await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "consumer offsets not saved; the next period tries again"),
            Err(error) => tracing::error!(%error, "saving consumer offsets ended early"),
        }
    }
}
