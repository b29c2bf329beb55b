//! `tenonmq admin timer …`: messages that wait for their time.

use tenonmq_protocol::body::timer_desk::{
    ListTimers, PendingTimer, RecallTimers, RecalledTimers, ShowTimer, ShownTimer,
};

use super::{Desk, Failure, shown, table, time};

/// Verbs of `timer`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Timer {
    /// The pending timers that are due first
    List {
        /// Only those of this topic
        #[arg(long)]
        topic: Option<String>,
        /// Only those with this key, or unique key
        #[arg(long)]
        key: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        max: u32,
    },
    /// Everything about one pending timer
    Show {
        /// Its offset, as the list shows it
        offset: i64,
    },
    /// Takes back pending timers: all of a topic that have a key, or the one of a handle
    Recall {
        /// The topic that the messages would go to
        #[arg(required_unless_present = "handle")]
        topic: Option<String>,
        /// One word of their KEYS, or their unique key
        #[arg(required_unless_present = "handle")]
        key: Option<String>,
        /// The handle that the answer to the send gave
        #[arg(long, conflicts_with_all = ["topic", "key"])]
        handle: Option<String>,
        /// Only shows what would be taken back
        #[arg(long)]
        dry_run: bool,
    },
}

impl Timer {
    pub(crate) async fn run(self, desk: &Desk) -> Result<(), Failure> {
        match self {
            Self::List { topic, key, max } => {
                let answer = desk.ask(&ListTimers { key, max: Some(max), topic }).await?;
                desk.show(&answer, |list| format!("{}\n{} messages wait", timers(&list.timers), list.pending))
            }
            Self::Show { offset } => {
                let answer = desk.ask(&ShowTimer { queue_offset: offset }).await?;
                desk.show(&answer, one)
            }
            Self::Recall { topic, key, handle, dry_run } => {
                let (topic, key) = (topic.unwrap_or_default(), key.unwrap_or_default());
                let answer = desk.ask(&RecallTimers { dry_run, handle, key, topic }).await?;
                desk.show(&answer, |answer| recalled(answer, dry_run))?;
                match answer.too_late.len() {
                    0 if answer.recalled.is_empty() => Err(Failure::Usage("no such message waits".to_owned())),
                    0 => Ok(()),
                    late => Err(Failure::Usage(format!("{late} became due before they could be taken back"))),
                }
            }
        }
    }
}

fn timers(timers: &[PendingTimer]) -> String {
    let mut table = table(["offset", "due", "topic", "keys", "unique key", "stored"]);
    for timer in timers {
        table.add_row([
            timer.queue_offset.to_string(),
            time(timer.due_ms),
            timer.topic.clone(),
            shown(timer.keys.as_ref()),
            shown(timer.unique_key.as_ref()),
            time(timer.stored_ms),
        ]);
    }
    table.to_string()
}

fn one(shown_timer: &ShownTimer) -> String {
    let ShownTimer { timer, properties, .. } = shown_timer;
    let state = match (&shown_timer.takes_back, shown_timer.recalled) {
        (Some(target), _) => format!("takes back {target}"),
        (None, true) => "recalled, will not come".to_owned(),
        (None, false) => "waits".to_owned(),
    };
    let mut table = table(["", ""]);
    for (name, value) in [
        ("offset", timer.queue_offset.to_string()),
        ("state", state),
        ("due", time(timer.due_ms)),
        ("topic", timer.topic.clone()),
        ("queue", shown_timer.queue_id.to_string()),
        ("born", time(shown_timer.born_ms)),
        ("stored", time(timer.stored_ms)),
        ("carried on", shown_timer.carried_on.to_string()),
        ("log offset", shown_timer.log_offset.to_string()),
        ("body", format!("{} bytes", shown_timer.body_length)),
        ("recall handle", shown(shown_timer.recall_handle.as_ref())),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    for (name, value) in properties {
        table.add_row([name.clone(), value.clone()]);
    }
    table.to_string()
}

fn recalled(answer: &RecalledTimers, dry_run: bool) -> String {
    let done = if dry_run { "would be taken back" } else { "taken back" };
    let more = if answer.more { "; there are more, ask again" } else { "" };
    format!("{}\n{} {done}{more}", timers(&answer.recalled), answer.recalled.len())
}
