//! A global transaction as the table has it.

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::{
    coordinator::Shared,
    progress::{BranchState, Kind, Phase, Progress, Stage},
};
use crate::{
    database::{Dialect, Row, Sql, Unreadable, Value},
    error::Error,
    work::{Status, shortened},
};

/// A row.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) row: i64,
    pub(super) global: String,
    /// Where its branches answer.
    pub(super) topic: String,
    pub(super) content: Bytes,
    pub(super) progress: Progress,
    /// Rounds of commands, ever: tells repeats apart.
    pub(super) rounds: i64,
    pub(super) status: Status,
    /// Rounds of the commands that are not answered yet.
    pub(super) attempts: u32,
    pub(super) next_ms: i64,
    /// Why it is exhausted.
    pub(super) last_error: Option<String>,
}

impl<D: Dialect> Shared<D> {
    /// The row that `sql` finds, locked until the transaction ends where rows can be.
    pub(super) async fn load(
        &self,
        connection: &mut D::Connection,
        sql: &Sql,
        value: Value<'_>,
    ) -> Result<Option<Record>, Error> {
        let Some(row) = D::fetch(connection, sql, &[value]).await?.into_iter().next() else { return Ok(None) };
        let (row, read) = read(row);
        read.map(Some).map_err(|unreadable| self.table.unreadable(row, &unreadable))
    }

    pub(super) async fn save(&self, connection: &mut D::Connection, record: &Record) -> Result<(), Error> {
        let branches = to_text(&record.progress.branches);
        let values: [Value<'_>; 10] = [
            record.progress.phase.as_str().into(),
            Value::OptText(record.progress.reason.as_deref().map(shortened)),
            branches.as_str().into(),
            record.rounds.into(),
            record.status.as_str().into(),
            record.attempts.into(),
            record.next_ms.into(),
            Value::OptText(record.last_error.as_deref().map(shortened)),
            self.outbox.0.clock.now_ms().into(),
            record.row.into(),
        ];
        D::execute(connection, &self.save, &values).await?;
        Ok(())
    }
}

/// The row's id, and what is in it.
fn read(mut row: Row) -> (i64, Result<Record, Unreadable>) {
    let id = row.int("id").unwrap_or(0);
    let mut read = || {
        let global = row.text("global_id")?;
        let kind = row.parsed("kind", Kind::read)?;
        let phase = row.parsed("phase", Phase::read)?;
        let reason = row.opt_text("reason")?;
        let topic = row.text("topic")?;
        let content = row.bytes("content")?;
        let branches = row.parsed("branches", from_text)?;
        Ok(Record {
            row: id,
            global,
            topic,
            content,
            progress: Progress { kind, phase, reason, branches },
            rounds: row.int("rounds")?,
            status: row.parsed("status", Status::read)?,
            attempts: row.count("attempts")?,
            next_ms: row.int("next_attempt_at")?,
            last_error: row.opt_text("last_error")?,
        })
    };
    (id, read())
}

pub(super) fn to_text(branches: &[BranchState]) -> String {
    let one = |branch: &BranchState| {
        json!({
            "name": branch.name,
            "topic": branch.topic,
            "stage": branch.stage.as_str(),
            "limit_ms": branch.limit_ms,
            "due_ms": branch.due_ms,
        })
    };
    Json::Array(branches.iter().map(one).collect()).to_string()
}

fn from_text(text: &str) -> Result<Vec<BranchState>, String> {
    let list: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let list = list.as_array().filter(|list| !list.is_empty()).ok_or("it is no list of branches")?;
    list.iter().enumerate().map(|(at, one)| from_json(one).map_err(|fault| format!("branch {at}: {fault}"))).collect()
}

fn from_json(one: &Json) -> Result<BranchState, String> {
    let text = |name: &str| one[name].as_str().ok_or_else(|| format!("{name} is no text"));
    let number = |name: &str| one[name].as_i64().ok_or_else(|| format!("{name} is no number"));
    let stage = Stage::read(text("stage")?)?;
    let due_ms = if one["due_ms"].is_null() { None } else { Some(number("due_ms")?) };
    if due_ms.is_some() != (stage == Stage::Asked) {
        return Err(format!("it is {} and due_ms is {}", stage.as_str(), one["due_ms"]));
    }
    Ok(BranchState {
        name: text("name")?.to_owned(),
        topic: text("topic")?.to_owned(),
        stage,
        limit_ms: number("limit_ms")?,
        due_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::Plan;

    #[test]
    fn branches_are_read_as_they_were_written_and_what_is_wrong_is_named() {
        let mut progress = Progress::of(&Plan::saga("g", "x").branch("a", "t").branch("b", "u"));
        progress.advance(7);
        let text = to_text(&progress.branches);
        assert_eq!(from_text(&text).unwrap(), progress.branches);
        for (wrong, told) in [
            ("[", "EOF"),
            ("[]", "no list of branches"),
            ("{}", "no list of branches"),
            (&text.replace("asked", "eaten"), "branch 0: \"eaten\" is no stage"),
            (&text.replace("\"u\"", "7"), "branch 1: topic is no text"),
            (&text.replace("waiting", "asked"), "branch 1: it is asked and due_ms is null"),
        ] {
            let error = from_text(wrong).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
