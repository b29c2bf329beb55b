//! `tenonmq admin offset …`: how far groups have come, and moving them.

use tenonmq_protocol::body::offset_desk::{PreviewReset, ResetPreview};

use super::{Desk, Failure, shown, table};

/// Verbs of `offset`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Offset {
    /// How many messages a reset would repeat or skip; changes nothing
    Preview(Wanted),
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
