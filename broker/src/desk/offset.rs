//! `tenonmq admin offset …`: how far groups have come, and moving them.

use tenonmq_protocol::body::offset_desk::{
    ListMoves, MoveList, OffsetMove, PreviewReset, ResetGroup, ResetPreview, UndoMove,
};

use super::{Desk, Failure, shown, table, time};

/// Verbs of `offset`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Offset {
    /// How many messages a reset would repeat or skip; changes nothing
    Preview(Wanted),
    /// Moves a group, and records why
    Reset {
        #[command(flatten)]
        wanted: Wanted,
        /// Why; it is kept in the history
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Where offsets went anywhere but forward, newest first
    History {
        /// Only of this consumer group
        #[arg(long)]
        group: Option<String>,
        /// Only of this topic
        #[arg(long)]
        topic: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Only entries before this one
        #[arg(long, value_name = "ID")]
        before: Option<u64>,
    },
    /// Takes back what an entry of the history did
    Undo {
        /// Number of the entry
        id: u64,
        /// Also when the group has moved on since
        #[arg(long)]
        force: bool,
        /// Why; it is kept in the history
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// Which group is to be moved where.
#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// The consumer group
    group: String,
    /// The topic
    topic: String,
    /// Where to: min, max, an offset, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "min|max|OFFSET|TIME")]
    to: String,
    /// Only this queue
    #[arg(long, value_name = "ID")]
    queue: Option<i32>,
}

impl Offset {
    pub(crate) async fn run(self, desk: &Desk) -> Result<(), Failure> {
        match self {
            Self::Preview(wanted) => preview(desk, wanted).await,
            Self::Reset { wanted, reason } => reset(desk, wanted, reason).await,
            Self::History { group, topic, limit, before } => {
                let answer = desk.ask(&ListMoves { before, group, limit: Some(limit), topic }).await?;
                desk.show(&answer, history)
            }
            Self::Undo { id, force, reason } => {
                let answer = desk.ask(&UndoMove { force, id, reason }).await?;
                desk.show(&answer, |entry| {
                    format!("{}\nentry {id} is taken back by entry {}", moves([entry]), entry.id)
                })
            }
        }
    }
}

async fn preview(desk: &Desk, wanted: Wanted) -> Result<(), Failure> {
    let (to, value) = target(&wanted.to)?;
    let request =
        PreviewReset { group: wanted.group, topic: wanted.topic, queue_id: wanted.queue, to: to.to_owned(), value };
    let answer = desk.ask(&request).await?;
    desk.show(&answer, preview_table)
}

async fn reset(desk: &Desk, wanted: Wanted, reason: String) -> Result<(), Failure> {
    let (to, value) = target(&wanted.to)?;
    let Wanted { group, topic, queue: queue_id, .. } = wanted;
    let answer = desk.ask(&ResetGroup { group, topic, queue_id, to: to.to_owned(), value, reason }).await?;
    desk.show(&answer, |done| {
        format!("{}\ndone; `tenonmq admin offset undo {}` takes it back", preview_table(&done.moved), done.id)
    })
}

fn history(list: &MoveList) -> String {
    let total = list.backward_commits;
    format!("{}\n{total} commits of older values since the broker started", moves(&list.moves))
}

fn moves<'a>(entries: impl IntoIterator<Item = &'a OffsetMove>) -> String {
    let mut table = table(["id", "time", "what", "group", "topic", "queues", "times", "by", "reason"]);
    for entry in entries {
        let queues = entry.queues.iter();
        let queues = queues.map(|step| format!("{}: {} → {}", step.queue_id, shown(step.from), shown(step.to)));
        let action = match entry.undoes {
            Some(id) => format!("{} of {id}", entry.action),
            None => entry.action.clone(),
        };
        table.add_row([
            entry.id.to_string(),
            time(entry.time),
            action,
            entry.group.clone(),
            entry.topic.clone(),
            queues.collect::<Vec<_>>().join("\n"),
            entry.times.to_string(),
            entry.by.clone(),
            entry.reason.clone(),
        ]);
    }
    table.to_string()
}

fn preview_table(preview: &ResetPreview) -> String {
    let mut table = table(["queue", "begins", "ends", "stands at", "goes to", "repeats", "skips"]);
    for queue in &preview.queues {
        table.add_row([
            queue.queue_id.to_string(),
            queue.min.to_string(),
            queue.max.to_string(),
            shown(queue.committed),
            queue.target.to_string(),
            queue.repeats.to_string(),
            queue.skips.to_string(),
        ]);
    }
    format!("{table}\n{} messages would come again, {} would be skipped", preview.repeats, preview.skips)
}

/// What `--to` means: digits are an offset; anything else that is not `min` or `max` is a time.
fn target(text: &str) -> Result<(&'static str, Option<i64>), Failure> {
    match text {
        "min" => Ok(("min", None)),
        "max" => Ok(("max", None)),
        _ => match text.parse::<i64>() {
            Ok(offset) => Ok(("offset", Some(offset))),
            Err(_) => {
                let time: jiff::Timestamp = text.parse().map_err(|_| {
                    Failure::Usage(format!("--to {text}: neither min, max, an offset nor a time with zone"))
                })?;
                Ok(("time", Some(time.as_millisecond())))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_end_an_offset_or_a_time() {
        assert_eq!(target("min").unwrap(), ("min", None));
        assert_eq!(target("max").unwrap(), ("max", None));
        assert_eq!(target("42").unwrap(), ("offset", Some(42)));
        assert_eq!(target("1970-01-01T00:00:01Z").unwrap(), ("time", Some(1000)));
        assert!(target("yesterday").unwrap_err().to_string().contains("--to yesterday"));
    }
}
