//! `tenonmq admin transaction …`: what is undecided, why, and settling it by hand.

use std::{collections::VecDeque, io::Write as _};

use clap::ValueEnum;
use tenonmq_protocol::body::transaction_desk::{
    ActOnTransaction, ActedOnTransaction, AuditEntry, ExhaustedPage, ListExhausted, ListTransactions,
    PendingTransaction, ReadAudit, ShowTransaction, ShownTransaction, TransactionPage,
};

use super::{Desk, Failure, shown, table, time};

/// Verbs of `transaction`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Transaction {
    /// Undecided transactions, in the order in which they were sent
    List(List),
    /// One transaction: how it stands, who was asked, what was answered
    Show {
        /// Half offset, unique key (transaction id), or message id
        id: String,
    },
    /// Has a producer asked now
    Check(Act),
    /// Commits, whatever its producer will say
    Commit(Act),
    /// Rolls back, whatever its producer will say
    Rollback(Act),
    /// Takes up again one whose checks are used up
    Resume(Act),
    /// What was done by hand and what the broker gave up; with --json one object a line
    Audit(Audit),
}

/// Which ones. All conditions hold at once.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Those whose checks are used up (TRANS_CHECK_MAX_TIME_TOPIC) instead
    #[arg(long)]
    exhausted: bool,
    /// Only of this producer group
    #[arg(long)]
    group: Option<String>,
    /// Only those that go to this topic
    #[arg(long)]
    topic: Option<String>,
    /// Only with this key, or unique key
    #[arg(long)]
    key: Option<String>,
    /// Only those that are at least so old, such as 90s, 10m, 2h or 1d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<i64>,
    /// Only those that stand so
    #[arg(long, value_enum, conflicts_with = "exhausted")]
    stage: Option<Stage>,
    /// Only those behind this offset; see the end of a former list
    #[arg(long, value_name = "OFFSET")]
    after: Option<i64>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

/// How one stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Stage {
    /// Not due yet
    Waiting,
    /// Due, and no producer of the group is online
    NoProducer,
    /// Due, behind others of its group
    InLine,
    /// A producer was asked and has not answered
    Asked,
}

/// What is done to which one, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct Act {
    /// Half offset, unique key (transaction id), or message id
    id: String,
    /// Why; it is kept in the audit
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who does it; the audit adds the address
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    by: Option<String>,
}

/// Which lines of the audit. All conditions hold at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Audit {
    /// Only of this transaction: half offset or unique key
    id: Option<String>,
    /// Only of this producer group
    #[arg(long)]
    group: Option<String>,
    /// Only at or after this time, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = millis)]
    since: Option<i64>,
    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = millis)]
    until: Option<i64>,
    /// Only the newest so many; a table has 50 unless told otherwise, JSON all
    #[arg(long)]
    limit: Option<usize>,
}

fn millis(text: &str) -> Result<i64, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| "not a time with zone, such as 2026-01-31T12:00:00Z")?;
    Ok(time.as_millisecond())
}

/// A number with a unit, in milliseconds.
fn age(text: &str) -> Result<i64, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let wanted = units.iter().find_map(|(unit, ms)| {
        let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*ms).filter(|age| *age >= 0)
    });
    wanted.ok_or_else(|| "not a number with a unit, such as 90s, 10m, 2h or 1d".to_owned())
}

impl Transaction {
    pub(crate) async fn run(self, desk: &Desk) -> Result<(), Failure> {
        match self {
            Self::List(wanted) if wanted.exhausted => exhausted(desk, wanted).await,
            Self::List(wanted) => list(desk, wanted).await,
            Self::Show { id } => {
                let answer = desk.ask(&ShowTransaction { id }).await?;
                desk.show(&answer, whole)
            }
            Self::Check(wanted) => act(desk, "check", wanted).await,
            Self::Commit(wanted) => act(desk, "commit", wanted).await,
            Self::Rollback(wanted) => act(desk, "rollback", wanted).await,
            Self::Resume(wanted) => act(desk, "resume", wanted).await,
            Self::Audit(wanted) => audit(desk, wanted).await,
        }
    }
}

/// As many as are asked for: one answer looks at a bounded number of them.
async fn list(desk: &Desk, wanted: List) -> Result<(), Failure> {
    let List { group, topic, key, older_than, stage, after, limit, .. } = wanted;
    let stage = stage.and_then(|stage| Some(stage.to_possible_value()?.get_name().to_owned()));
    let mut asked = ListTransactions { after, group, key, limit: Some(limit), older_than, stage, topic };
    let mut all = TransactionPage::default();
    loop {
        let page = desk.ask(&asked).await?;
        all.transactions.extend(page.transactions);
        (all.next, all.pending) = (page.next, page.pending);
        let missing = missing(limit, all.transactions.len());
        if page.next.is_none() || missing == 0 {
            return desk.show(&all, pending_table);
        }
        (asked.after, asked.limit) = (page.next, Some(missing));
    }
}

async fn exhausted(desk: &Desk, wanted: List) -> Result<(), Failure> {
    let List { group, topic, key, older_than, after, limit, .. } = wanted;
    let mut asked = ListExhausted { after, group, key, limit: Some(limit), older_than, topic };
    let mut all = ExhaustedPage::default();
    loop {
        let page = desk.ask(&asked).await?;
        all.transactions.extend(page.transactions);
        all.next = page.next;
        let missing = missing(limit, all.transactions.len());
        if page.next.is_none() || missing == 0 {
            return desk.show(&all, exhausted_table);
        }
        (asked.after, asked.limit) = (page.next, Some(missing));
    }
}

fn missing(limit: u32, found: usize) -> u32 {
    limit.saturating_sub(u32::try_from(found).unwrap_or(u32::MAX))
}

async fn act(desk: &Desk, action: &str, wanted: Act) -> Result<(), Failure> {
    let Act { id, reason, by } = wanted;
    let answer = desk.ask(&ActOnTransaction { action: action.to_owned(), by, id, reason }).await?;
    desk.show(&answer, |done: &ActedOnTransaction| {
        format!("{} (half offset {}): {}", shown(done.unique_key.as_ref()), done.half_offset, done.result)
    })
}

async fn audit(desk: &Desk, wanted: Audit) -> Result<(), Failure> {
    let Audit { id, group, since, until, limit } = wanted;
    let limit = limit.unwrap_or(if desk.json { usize::MAX } else { 50 });
    let mut asked = ReadAudit { from: None, group, id, since, until };
    let mut newest = VecDeque::new();
    loop {
        let page = desk.ask(&asked).await?;
        if desk.json && limit == usize::MAX {
            write_lines(&page.entries)?;
        } else {
            newest.extend(page.entries);
            newest.drain(..newest.len().saturating_sub(limit));
        }
        match page.next {
            Some(next) => asked.from = Some(next),
            None => break,
        }
    }
    if desk.json {
        return Ok(write_lines(&newest)?);
    }
    Ok(super::output::print(&audit_table(&newest))?)
}

fn write_lines<'a>(entries: impl IntoIterator<Item = &'a AuditEntry>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for entry in entries {
        serde_json::to_writer(&mut out, entry)?;
        writeln!(out)?;
    }
    out.flush()
}

fn pending_table(page: &TransactionPage) -> String {
    let mut table = table([
        "half offset",
        "id",
        "age",
        "group",
        "topic",
        "keys",
        "producers",
        "checks",
        "stage",
        "last answer",
        "next check",
    ]);
    for one in &page.transactions {
        table.add_row([
            one.half_offset.to_string(),
            shown(one.unique_key.as_ref()),
            span(one.age),
            one.group.clone(),
            one.topic.clone(),
            shown(one.keys.as_ref()),
            one.producers.to_string(),
            one.checks.to_string(),
            one.stage.clone(),
            one.last_answer.clone(),
            next_step(one),
        ]);
    }
    let more = page.next.map_or_else(String::new, |next| format!("; more: --after {next}"));
    format!("{table}\n{} of {} undecided transactions{more}", page.transactions.len(), page.pending)
}

fn exhausted_table(page: &ExhaustedPage) -> String {
    let mut table = table(["offset", "id", "given up", "group", "topic", "keys", "checks", "state", "message id"]);
    for one in &page.transactions {
        table.add_row([
            one.offset.to_string(),
            shown(one.unique_key.as_ref()),
            time(one.given_up),
            one.group.clone(),
            one.topic.clone(),
            shown(one.keys.as_ref()),
            one.checks.to_string(),
            one.state.clone(),
            one.id.clone(),
        ]);
    }
    match page.next {
        Some(next) => format!("{table}\nmore: --after {next}"),
        None => table.to_string(),
    }
}

/// What comes next, unless somebody decides.
fn next_step(one: &PendingTransaction) -> String {
    match (one.due_since, one.next_check, one.gives_up) {
        (Some(since), ..) => format!("due since {}", time(since)),
        (_, Some(at), _) => time(at),
        (.., Some(at)) => format!("none, gives up {}", time(at)),
        _ => "-".to_owned(),
    }
}

fn whole(one: &ShownTransaction) -> String {
    let mut text = facts(one);
    let mut section = |title: &str, body: String| text.push_str(&format!("\n\n{title}\n{body}"));
    if !one.checks.is_empty() {
        let mut checks = table(["check", "asked", "whom", "answer", "answered"]);
        for check in &one.checks {
            checks.add_row([
                check.number.to_string(),
                time(check.asked),
                check.whom.clone(),
                shown(check.answer.as_ref()),
                time(check.answered.unwrap_or(0)),
            ]);
        }
        section("checks since the broker started, the last ones", checks.to_string());
    }
    if !one.contradictions.is_empty() {
        let mut refused = table(["time", "wanted", "but it was"]);
        for other in &one.contradictions {
            refused.add_row([time(other.time), other.wanted.clone(), other.decided.clone()]);
        }
        section("refused, because it contradicts the first decision", refused.to_string());
    }
    let mut online = table(["client id", "address", "language"]);
    for producer in &one.producers {
        online.add_row([producer.client_id.clone(), producer.address.clone(), producer.language.clone()]);
    }
    match one.producers.len() {
        0 => section("producers online", "none".to_owned()),
        _ => section("producers online", online.to_string()),
    }
    if !one.audit.is_empty() {
        section("audit", audit_table(&one.audit));
    }
    text
}

fn facts(one: &ShownTransaction) -> String {
    let mut facts = table(["", ""]);
    let mut fact = |name: &str, value: String| {
        facts.add_row([name.to_owned(), value]);
    };
    fact("id", shown(one.unique_key.as_ref()));
    fact("state", one.state.clone());
    fact("group", one.group.clone());
    fact("topic", format!("{} queue {}", one.topic, one.queue_id));
    fact("keys", shown(one.keys.as_ref()));
    fact("half offset", one.half_offset.to_string());
    fact("log offset", one.log_offset.to_string());
    fact("stored", time(one.stored));
    fact("born", format!("{} by {}", time(one.born), one.born_host));
    fact("body", format!("{} bytes", one.body_length));
    let properties = one.properties.iter().map(|(name, value)| format!("{name}={value}"));
    fact("properties", properties.collect::<Vec<_>>().join("\n"));
    if let Some(pending) = &one.pending {
        fact("age", span(pending.age));
        if let Some(first) = pending.carried_from {
            fact("carried forward", format!("its log file was to go: first stored at half offset {first}"));
        }
        fact("stage", pending.stage.clone());
        fact("checks", pending.checks.to_string());
        fact("last answer", pending.last_answer.clone());
        fact("last asked", format!("{} {}", time(pending.asked_at.unwrap_or(0)), shown(pending.asked_whom.as_ref())));
        fact("next check", next_step(pending));
    }
    let text = facts.to_string();
    text.split_once('\n').map_or_else(String::new, |(_, rows)| rows.to_owned()) // without the empty headings
}

fn audit_table<'a>(entries: impl IntoIterator<Item = &'a AuditEntry>) -> String {
    let mut table = table(["time", "by", "action", "half offset", "id", "group", "topic", "reason", "result"]);
    for entry in entries {
        table.add_row([
            time(entry.time),
            entry.by.clone(),
            entry.action.clone(),
            entry.half_queue_offset.to_string(),
            entry.unique_key.clone(),
            entry.group.clone(),
            entry.topic.clone(),
            entry.reason.clone(),
            entry.result.clone(),
        ]);
    }
    table.to_string()
}

/// Milliseconds as people say them: the two biggest units.
fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_shown_with_units() {
        assert_eq!(age("90s").unwrap(), 90_000);
        assert_eq!(age("250ms").unwrap(), 250);
        assert_eq!(age("2h").unwrap(), 7_200_000);
        for wrong in ["", "5", "-1s", "m", "99999999999999999d"] {
            assert!(age(wrong).unwrap_err().contains("such as"), "{wrong}");
        }
        assert_eq!([span(-1), span(59_999), span(61_000)], ["0s", "59s", "1m 1s"]);
        assert_eq!([span(3_720_000), span(90_000_000)], ["1h 2m", "1d 1h"]);
    }
}
