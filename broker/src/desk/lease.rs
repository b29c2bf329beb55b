//! `tenonmq admin lease …`: messages that were popped and not acknowledged.

use tenonmq_protocol::body::{LeaseList, LeaseQueues, ListLeaseQueues, ListLeases};

use super::{Desk, Failure, table, time};

/// Offsets of one lease that are shown.
const OFFSETS: usize = 8;

/// Verbs of `lease`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Lease {
    /// Queues of which something is leased
    List {
        /// Only of this group
        group: Option<String>,
        /// Only of this topic
        #[arg(long)]
        topic: Option<String>,
        /// Queues at most
        #[arg(long, default_value_t = 1_000)]
        count: u32,
    },
    /// The open leases of a group
    Show {
        /// The consumer group
        group: String,
        /// Only of this topic; the group's pop retry topics have names of their own
        #[arg(long)]
        topic: Option<String>,
        /// Only of this queue
        #[arg(long)]
        queue: Option<i32>,
        /// Leases at most
        #[arg(long, default_value_t = 1_000)]
        count: u32,
    },
}

impl Lease {
    pub(crate) async fn run(self, desk: &Desk) -> Result<(), Failure> {
        match self {
            Self::List { group, topic, count } => {
                let answer = desk.ask(&ListLeaseQueues { group, limit: count, topic }).await?;
                desk.show(&answer, queues)
            }
            Self::Show { group, topic, queue, count } => {
                let answer = desk.ask(&ListLeases { group, limit: count, queue_id: queue, topic }).await?;
                desk.show(&answer, leases)
            }
        }
    }
}

fn queues(found: &LeaseQueues) -> String {
    let mut table = table([
        "group",
        "topic",
        "queue",
        "leases",
        "messages",
        "offset",
        "popped to",
        "oldest",
        "given again",
        "in order",
        "waiting",
    ]);
    for queue in &found.queues {
        table.add_row([
            queue.group.clone(),
            queue.topic.clone(),
            queue.queue_id.to_string(),
            queue.leases.to_string(),
            queue.messages.to_string(),
            queue.offset.to_string(),
            queue.next.to_string(),
            time(queue.oldest.unwrap_or(0)),
            time(queue.next_due.unwrap_or(0)),
            yes_or_no(queue.ordered),
            queue.waiting.to_string(),
        ]);
    }
    let shown = found.queues.len();
    let all = if found.total > shown as i64 {
        format!("\n{shown} of {} queues are shown", found.total)
    } else {
        String::new()
    };
    format!("{table}\nopen leases of all groups: {}{all}", found.open)
}

fn leases(list: &LeaseList) -> String {
    let mut table = table(["topic", "queue", "from", "popped", "given again", "messages", "done", "in order", "open"]);
    for lease in &list.leases {
        table.add_row([
            lease.topic.clone(),
            lease.queue_id.to_string(),
            lease.start.to_string(),
            time(lease.pop_time),
            time(lease.deadline),
            lease.count.to_string(),
            lease.acked.to_string(),
            yes_or_no(lease.ordered),
            offsets(&lease.pending),
        ]);
    }
    format!("{table}\n{} messages in {} leases", list.messages, list.total)
}

fn offsets(pending: &[i64]) -> String {
    let mut text = pending.iter().take(OFFSETS).map(i64::to_string).collect::<Vec<_>>().join(",");
    if pending.len() > OFFSETS {
        text.push_str(",…");
    }
    text
}

fn yes_or_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}
