//! `tenonmq admin timer …`: messages that wait for their time.

use tenonmq_protocol::body::timer_desk::{ListTimers, PendingTimer, RecallTimers};

use super::{Desk, Failure, shown, table, time};

/// Verbs of `timer`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Timer {
    /// The pending timers that are due first
    List {
        /// Only those of this topic
        #[arg(long)]
        topic: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        max: u32,
    },
    /// Takes back every pending timer of a topic that has a business key
    Recall {
        /// The topic that the messages would go to
        topic: String,
        /// One word of their KEYS
        key: String,
        /// Only shows what would be taken back
        #[arg(long)]
        dry_run: bool,
    },
}

impl Timer {
    pub(crate) async fn run(self, desk: &Desk) -> Result<(), Failure> {
        match self {
            Self::List { topic, max } => {
                let answer = desk.ask(&ListTimers { max: Some(max), topic }).await?;
                desk.show(&answer, |list| format!("{}\n{} messages wait", timers(&list.timers), list.pending))
            }
            Self::Recall { topic, key, dry_run } => {
                let answer = desk.ask(&RecallTimers { dry_run, key, topic }).await?;
                let done = if dry_run { "would be taken back" } else { "taken back" };
                desk.show(&answer, |found| format!("{}\n{} {done}", timers(&found.recalled), found.recalled.len()))
            }
        }
    }
}

fn timers(timers: &[PendingTimer]) -> String {
    let mut table = table(["due", "topic", "keys", "unique key", "stored"]);
    for timer in timers {
        table.add_row([
            time(timer.due_ms),
            timer.topic.clone(),
            shown(timer.keys.as_ref()),
            shown(timer.unique_key.as_ref()),
            time(timer.stored_ms),
        ]);
    }
    table.to_string()
}
