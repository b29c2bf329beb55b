//! What a coordinator says to branches, and what they answer: headers of messages, so that the content is the user's alone.

use bytes::Bytes;

use super::{participant::Vote, progress::Kind};
use crate::{
    error::Error,
    message::{Incoming, Outgoing},
};

const KIND: &str = "coordination_kind";
const GLOBAL: &str = "coordination_global";
const BRANCH: &str = "coordination_branch";
const ACTION: &str = "coordination_action";
const REPLY_TO: &str = "coordination_reply_to";
const OUTCOME: &str = "coordination_outcome";

/// What a branch is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Reserve; in a saga, do it.
    Try,
    /// Use what was reserved.
    Confirm,
    /// Give back what was reserved; in a saga, compensate what was done.
    Cancel,
}

impl Action {
    const ALL: [Self; 3] = [Self::Try, Self::Confirm, Self::Cancel];

    /// As it is in headers and business ids.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Try => "try",
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
        }
    }
}

/// Which branch of which global transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BranchId {
    /// What kind of transaction it is.
    pub kind: Kind,
    /// Names the transaction once and for all, in all services.
    pub global: String,
    /// The branch's name in it.
    pub branch: String,
}

/// A command that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// For which branch.
    pub id: BranchId,
    /// What to do.
    pub action: Action,
    /// What the transaction is about: the content of its [`Plan`](super::Plan).
    pub content: Bytes,
    /// The topic of answers.
    pub reply_to: String,
    /// The message's business key.
    key: String,
}

/// An answer that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) global: String,
    pub(super) branch: String,
    pub(super) action: Action,
    pub(super) vote: Vote,
}

impl Command {
    /// Reads a message of a coordinator.
    ///
    /// # Errors
    /// [`Error::Message`], naming the header that is missing or wrong.
    pub fn read(message: &Incoming) -> Result<Self, Error> {
        let id = BranchId {
            kind: named(message, KIND, &Kind::ALL, Kind::as_str)?,
            global: header(message, GLOBAL)?.to_owned(),
            branch: header(message, BRANCH)?.to_owned(),
        };
        let action = named(message, ACTION, &Action::ALL, Action::as_str)?;
        let reply_to = header(message, REPLY_TO)?.to_owned();
        Ok(Self { id, action, content: message.content().clone(), reply_to, key: message.business_key().to_owned() })
    }

    /// The answer to it. Its id is made from the command's, so that each command is answered once.
    pub(super) fn answer(&self, vote: &Vote) -> Outgoing {
        let (outcome, content) = match vote {
            Vote::Done => ("done", "done"),
            Vote::Refused(reason) if reason.is_empty() => ("refused", "no reason was given"),
            Vote::Refused(reason) => ("refused", reason.as_str()),
        };
        Outgoing::new(&self.reply_to, format!("{}/answer", self.key), content.to_owned())
            .header(GLOBAL, &self.id.global)
            .header(BRANCH, &self.id.branch)
            .header(ACTION, self.action.as_str())
            .header(OUTCOME, outcome)
    }
}

impl Answer {
    pub(super) fn read(message: &Incoming) -> Result<Self, Error> {
        let vote = match header(message, OUTCOME)? {
            "done" => Vote::Done,
            "refused" => Vote::Refused(String::from_utf8_lossy(message.content()).into_owned()),
            other => return Err(wrong(message, OUTCOME, other)),
        };
        Ok(Self {
            global: header(message, GLOBAL)?.to_owned(),
            branch: header(message, BRANCH)?.to_owned(),
            action: named(message, ACTION, &Action::ALL, Action::as_str)?,
            vote,
        })
    }
}

/// A command as it is published. `round` tells repeats apart, which receivers would otherwise take for copies.
pub(super) fn command(
    id: &BranchId,
    action: Action,
    topic: &str,
    content: Bytes,
    reply_to: &str,
    round: i64,
) -> Outgoing {
    let business_id = format!("{}/{}/{}/{round}", id.global, id.branch, action.as_str());
    Outgoing::new(topic, business_id, content)
        .header(KIND, id.kind.as_str())
        .header(GLOBAL, &id.global)
        .header(BRANCH, &id.branch)
        .header(ACTION, action.as_str())
        .header(REPLY_TO, reply_to)
}

fn header<'m>(message: &'m Incoming, name: &str) -> Result<&'m str, Error> {
    message.header(name).ok_or_else(|| refused(message, format!("it has no header {name}")))
}

fn named<T: Copy>(message: &Incoming, header_name: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, Error> {
    let text = header(message, header_name)?;
    all.iter().copied().find(|one| name(*one) == text).ok_or_else(|| wrong(message, header_name, text))
}

fn wrong(message: &Incoming, name: &str, text: &str) -> Error {
    refused(message, format!("its header {name} is {:?}", text.chars().take(80).collect::<String>()))
}

fn refused(message: &Incoming, reason: String) -> Error {
    Error::Message { topic: message.topic().to_owned(), business_id: message.business_key().to_owned(), reason }
}
