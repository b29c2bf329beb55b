//! `tenonmq admin queue …`: the queues of a topic as a group reads them.

use tenonmq_protocol::body::offset_desk::{ListOwners, OwnerList};

use super::{Desk, Failure, shown, table, time};

/// Verbs of `queue`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Queue {
    /// Who reads each queue, how far the group is behind, and why a queue lies idle
    Owners {
        /// The consumer group
        group: String,
        /// The topic
        topic: String,
    },
}

impl Queue {
    pub(crate) async fn run(self, desk: &Desk) -> Result<(), Failure> {
        let Self::Owners { group, topic } = self;
        let answer = desk.ask(&ListOwners { group, topic }).await?;
        desk.show(&answer, owners)
    }
}

fn owners(list: &OwnerList) -> String {
    let mut table = table(["queue", "reader", "known by", "committed", "ends", "lag", "last pull", "idle because"]);
    for queue in &list.queues {
        table.add_row([
            queue.queue_id.to_string(),
            shown(queue.owner.as_ref()),
            queue.owner_by.clone(),
            shown(queue.committed),
            queue.max.to_string(),
            queue.lag.to_string(),
            time(queue.last_pull.unwrap_or_default()),
            queue.idle.clone().unwrap_or_default(),
        ]);
    }
    let members: Vec<_> =
        list.members.iter().map(|member| format!("{} ({})", member.client_id, member.address)).collect();
    let members = if members.is_empty() { "none".to_owned() } else { members.join(", ") };
    format!("{table}\nmembers: {members}")
}
