//! `tenonmq admin dlq …`: what groups have given up, and sending it again.

use std::io::Write as _;

use clap::ValueEnum;
use tenonmq_protocol::body::dead_letter_desk::{
    DeadLetterFilter, DeadLetterGroups, DeadLetterPage, ListDeadLetters, ListRedrives, RedriveAction, RedriveJob,
    RedriveJobs, RedriveOutcome, RedriveResults, RedriveState, RedriveTarget, ShowDeadLetters, ShowRedriveResults,
    StartRedrive, SteerRedrive,
};

use super::{Desk, Failure, shown, table, time};

/// Verbs of `dlq`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Dlq {
    /// Groups with dead letters
    List {
        /// Only this group
        group: Option<String>,
    },
    /// Dead letters of a group, oldest first
    Show {
        #[command(flatten)]
        which: Which,
        /// Letters at most
        #[arg(long, default_value_t = 20)]
        count: i32,
        /// Offset to begin at
        #[arg(long, value_name = "OFFSET")]
        at: Option<i64>,
    },
    /// Dead letters of a group as JSON, one a line, with properties and the body as base64
    Export {
        #[command(flatten)]
        which: Which,
    },
    /// Dead letters that came back after they were sent again
    Quarantine {
        #[command(flatten)]
        which: Which,
        /// Sent again at least so often
        #[arg(long, value_name = "TIMES", default_value_t = 3)]
        times: i32,
    },
    /// Sends dead letters again, behind; prints the job
    Redrive(Box<Redrive>),
    /// Redrive jobs and how far they are
    Jobs {
        /// Only this one
        job: Option<i64>,
    },
    /// What became of each letter of a job
    Results {
        /// The job
        job: i64,
        /// Leaves out those that were sent
        #[arg(long)]
        not_sent: bool,
    },
    /// Stops a job until it is resumed
    Pause {
        /// The job
        job: i64,
    },
    /// Has a paused job go on
    Resume {
        /// The job
        job: i64,
    },
    /// Ends a job
    Cancel {
        /// The job
        job: i64,
    },
}

/// A group, and which of its dead letters. All conditions hold at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The consumer group
    group: String,
    /// With this tag
    #[arg(long)]
    tag: Option<String>,
    /// With this key, or unique key
    #[arg(long)]
    key: Option<String>,
    /// That came from this topic
    #[arg(long)]
    topic: Option<String>,
    /// That failed at last by this class, or class and digest ("CLASS DIGEST"); - for those that say nothing
    #[arg(long)]
    cause: Option<String>,
    /// Given up at or after this time, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = millis)]
    since: Option<i64>,
    /// Given up before this time
    #[arg(long, value_name = "TIME", value_parser = millis)]
    until: Option<i64>,
}

/// What to send again, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Redrive {
    #[command(flatten)]
    which: Which,
    /// Where to: the group's retry topic, the topics they came from, or another topic
    #[arg(long, value_enum, default_value_t = To::Retry)]
    to: To,
    /// The topic, with --to topic
    #[arg(long, value_name = "TOPIC", required_if_eq("to", "topic"))]
    to_topic: Option<String>,
    /// Exactly the letter with this id; may be repeated
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Messages a second; 0: as the broker is configured
    #[arg(long, default_value_t = 0)]
    rate: i32,
    /// Ends after so many
    #[arg(long, default_value_t = 0)]
    max: i64,
    /// Counts what would be sent, by cause, and sends nothing
    #[arg(long)]
    dry_run: bool,
    /// Sends those in quarantine too
    #[arg(long)]
    force: bool,
    /// Sends those again that a job has sent before
    #[arg(long)]
    again: bool,
    /// Waits until the job has ended; fails unless every letter was sent
    #[arg(long)]
    wait: bool,
}

/// Where to.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum To {
    Retry,
    Origin,
    Topic,
}

fn millis(text: &str) -> Result<i64, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| "not a time with zone, such as 2026-01-31T12:00:00Z")?;
    Ok(time.as_millisecond())
}

impl Which {
    fn filter(self) -> (String, DeadLetterFilter) {
        let Self { group, tag, key, topic, cause, since, until } = self;
        (group, DeadLetterFilter { cause, from: since, key, min_redriven: 0, tag, topic, until })
    }
}

impl Dlq {
    pub(crate) async fn run(self, desk: &Desk) -> Result<(), Failure> {
        let steer = async |action, id| {
            let job = desk.ask(&SteerRedrive { action, id }).await?;
            desk.show(&job, |job| jobs_table(std::slice::from_ref(job)))
        };
        match self {
            Self::List { group } => list(desk, group).await,
            Self::Show { which, count, at } => {
                let (group, filter) = which.filter();
                let page = letters(desk, &ShowDeadLetters { count, filter, from: at, group, whole: false }).await?;
                desk.show(&page, letters_table)
            }
            Self::Quarantine { which, times } => {
                let (group, filter) = which.filter();
                let filter = DeadLetterFilter { min_redriven: times, ..filter };
                let page =
                    letters(desk, &ShowDeadLetters { count: 0, filter, from: None, group, whole: false }).await?;
                desk.show(&page, letters_table)
            }
            Self::Export { which } => export(desk, which).await,
            Self::Redrive(wanted) => redrive(desk, *wanted).await,
            Self::Jobs { job } => {
                let jobs = desk.ask(&ListRedrives { id: job }).await?;
                desk.show(&jobs, |jobs: &RedriveJobs| jobs_table(&jobs.jobs))
            }
            Self::Results { job, not_sent } => results(desk, job, not_sent).await,
            Self::Pause { job } => steer(RedriveAction::Pause, job).await,
            Self::Resume { job } => steer(RedriveAction::Resume, job).await,
            Self::Cancel { job } => steer(RedriveAction::Cancel, job).await,
        }
    }
}

async fn list(desk: &Desk, group: Option<String>) -> Result<(), Failure> {
    let mut asked = ListDeadLetters { group, ..ListDeadLetters::default() };
    let mut all = DeadLetterGroups::default();
    loop {
        let page = desk.ask(&asked).await?;
        all.groups.extend(page.groups);
        match page.next {
            Some(next) => asked.after = Some(next),
            None => break,
        }
    }
    desk.show(&all, groups_table)
}

/// As many letters as are asked for: one answer looks at a bounded number of them.
async fn letters(desk: &Desk, asked: &ShowDeadLetters) -> Result<DeadLetterPage, Failure> {
    let wanted = usize::try_from(asked.count).ok().filter(|count| *count > 0).unwrap_or(usize::MAX);
    let (mut found, mut from) = (DeadLetterPage::default(), asked.from);
    loop {
        let missing = i32::try_from(wanted.saturating_sub(found.letters.len())).unwrap_or(0);
        let page = desk.ask(&ShowDeadLetters { from, count: missing, ..asked.clone() }).await?;
        found.letters.extend(page.letters);
        found.next = page.next;
        if page.next.is_none() || found.letters.len() >= wanted {
            return Ok(found);
        }
        from = page.next;
    }
}

async fn export(desk: &Desk, which: Which) -> Result<(), Failure> {
    let (group, filter) = which.filter();
    let mut asked = ShowDeadLetters { count: 0, filter, from: None, group, whole: true };
    let mut out = std::io::stdout().lock();
    loop {
        let page = desk.ask(&asked).await?;
        for letter in &page.letters {
            serde_json::to_writer(&mut out, letter).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        match page.next {
            Some(next) => asked.from = Some(next),
            None => return Ok(out.flush()?),
        }
    }
}

async fn redrive(desk: &Desk, wanted: Redrive) -> Result<(), Failure> {
    let wait = wanted.wait || wanted.dry_run;
    let (group, filter) = wanted.which.filter();
    let target = match wanted.to {
        To::Retry => RedriveTarget::Retry,
        To::Origin => RedriveTarget::Origin,
        To::Topic => RedriveTarget::Topic,
    };
    let asked = StartRedrive {
        again: wanted.again,
        dry_run: wanted.dry_run,
        filter,
        force: wanted.force,
        group,
        ids: wanted.ids,
        max_messages: wanted.max,
        per_second: wanted.rate,
        target,
        topic: wanted.to_topic,
    };
    let mut job = desk.ask(&asked).await?;
    while wait && job.state == RedriveState::Running {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let found = desk.ask(&ListRedrives { id: Some(job.id) }).await?;
        job = found.jobs.into_iter().next().unwrap_or(job);
    }
    desk.show(&job, job_text)?;
    let not_sent = job.failed + job.quarantined + job.skipped;
    match job.state {
        _ if !wait => Ok(()),
        RedriveState::Done if not_sent == 0 || asked.dry_run => Ok(()),
        RedriveState::Done => Err(Failure::Usage(format!(
            "{not_sent} of {} were not sent; see tenonmq admin dlq results {} --not-sent",
            job.matched, job.id
        ))),
        state => Err(Failure::Usage(format!("job {} is {state}: {}", job.id, shown(job.reason)))),
    }
}

async fn results(desk: &Desk, id: i64, only_not_sent: bool) -> Result<(), Failure> {
    let mut asked = ShowRedriveResults { count: 0, from: 0, id, only_not_sent };
    let mut all = RedriveResults::default();
    loop {
        let page = desk.ask(&asked).await?;
        all.results.extend(page.results);
        match page.next {
            Some(next) => asked.from = next,
            None => return desk.show(&all, results_table),
        }
    }
}

fn groups_table(groups: &DeadLetterGroups) -> String {
    let mut table = table(["group", "dead letters", "sent again", "oldest", "newest", "readable"]);
    for group in &groups.groups {
        table.add_row([
            group.group.clone(),
            group.messages.to_string(),
            group.sent_again.to_string(),
            time(group.oldest.unwrap_or(0)),
            time(group.newest.unwrap_or(0)),
            if group.readable { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table.to_string()
}

fn letters_table(page: &DeadLetterPage) -> String {
    let mut table = table(["offset", "id", "given up", "topic", "tag", "keys", "tries", "redriven", "cause", "bytes"]);
    for letter in &page.letters {
        let cause = letter.causes.last().map(|cause| format!("{} {}", cause.class, cause.digest));
        table.add_row([
            letter.offset.to_string(),
            letter.id.clone(),
            time(letter.stored),
            shown(letter.origin_topic.as_ref()),
            shown(letter.tags.as_ref()),
            shown(letter.keys.as_ref()),
            letter.retries.to_string(),
            format!("{}{}", letter.redriven, if letter.sent_again { " (sent again)" } else { "" }),
            shown(cause.as_deref().map(str::trim)),
            letter.body_length.to_string(),
        ]);
    }
    match page.next {
        Some(next) => format!("{table}\nmore: --at {next}"),
        None => table.to_string(),
    }
}

fn job_text(job: &RedriveJob) -> String {
    let mut text = jobs_table(std::slice::from_ref(job));
    if !job.causes.is_empty() {
        let mut causes = table(["cause", "letters"]);
        for (cause, count) in &job.causes {
            causes.add_row([cause.clone(), count.to_string()]);
        }
        text = format!("{text}\n\n{causes}");
    }
    text
}

fn jobs_table(jobs: &[RedriveJob]) -> String {
    let mut table = table([
        "job",
        "group",
        "to",
        "state",
        "at",
        "of",
        "matched",
        "sent",
        "failed",
        "skipped",
        "quarantined",
        "reason",
    ]);
    for job in jobs {
        let to = job.wanted.topic.clone().unwrap_or_else(|| job.wanted.target.to_string());
        table.add_row([
            job.id.to_string(),
            job.wanted.group.clone(),
            if job.wanted.dry_run { format!("{to} (dry run)") } else { to },
            job.state.to_string(),
            job.next.to_string(),
            job.end.to_string(),
            job.matched.to_string(),
            job.sent.to_string(),
            job.failed.to_string(),
            job.skipped.to_string(),
            job.quarantined.to_string(),
            shown(job.reason.as_ref()),
        ]);
    }
    table.to_string()
}

fn results_table(results: &RedriveResults) -> String {
    let mut table = table(["offset", "id", "outcome", "topic", "queue", "new id", "why"]);
    for result in &results.results {
        let is_sent = result.outcome == RedriveOutcome::Sent;
        table.add_row([
            result.offset.to_string(),
            result.id.clone(),
            result.outcome.to_string(),
            shown(result.topic.as_ref().filter(|_| is_sent)),
            shown(result.queue_id),
            shown(result.sent_id.as_ref()),
            shown(result.why.as_ref()),
        ]);
    }
    table.to_string()
}
