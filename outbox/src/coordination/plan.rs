//! What shall be done, before it is begun.

use std::time::Duration;

use bytes::Bytes;

use super::progress::Kind;
use crate::{error::Error, message::key_fault};

/// So that a command's business id, `<global>/<branch>/<action>/<round>`, and its answer's fit into a key.
const LONGEST_GLOBAL: usize = 150;
const LONGEST_BRANCH: usize = 50;
const MOST_BRANCHES: usize = 100;
/// What is to be waited for longer was written under a wrong clock.
pub(super) const LONGEST_LIMIT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A global transaction: its name, what it is about, and its branches.
///
/// ```
/// use std::time::Duration;
/// use tenonmq_outbox::coordination::Plan;
/// let plan = Plan::saga("order-42/take-away", r#"{"order":42,"price":1890}"#)
///     .within(Duration::from_secs(20))
///     .branch("payment", "payment_commands")
///     .branch_within("kitchen", "kitchen_commands", Duration::from_secs(120));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(super) kind: Kind,
    pub(super) global: String,
    pub(super) content: Bytes,
    pub(super) branches: Vec<Planned>,
    limit: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) topic: String,
    /// That of the plan, without.
    pub(super) limit: Option<Duration>,
}

impl Plan {
    /// Try in all branches at once, then confirm or cancel in all. The name is of the *transaction*, once and for all, in all
    /// services (`order-42/reserve`); the content is what every branch is told.
    pub fn tcc(global: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self::new(Kind::Tcc, global.into(), content.into())
    }

    /// One branch after the other; what was done is compensated in reverse when one refuses.
    pub fn saga(global: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self::new(Kind::Saga, global.into(), content.into())
    }

    fn new(kind: Kind, global: String, content: Bytes) -> Self {
        Self { kind, global, content, branches: Vec::new(), limit: Duration::from_secs(30) }
    }

    /// Adds a branch: its name here, and the topic of the service that does it. In a saga the order counts.
    #[must_use]
    pub fn branch(mut self, name: impl Into<String>, topic: impl Into<String>) -> Self {
        self.branches.push(Planned { name: name.into(), topic: topic.into(), limit: None });
        self
    }

    /// The same with a time limit of its own.
    #[must_use]
    pub fn branch_within(mut self, name: impl Into<String>, topic: impl Into<String>, limit: Duration) -> Self {
        self.branches.push(Planned { name: name.into(), topic: topic.into(), limit: Some(limit) });
        self
    }

    /// How long a branch may take to answer its try, from when it is told to; then all is cancelled. For branches without a limit
    /// of their own. Default 30 s; at least 1 ms, at most 30 days.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub(super) fn limit_of(&self, branch: &Planned) -> Duration {
        branch.limit.unwrap_or(self.limit).clamp(Duration::from_millis(1), LONGEST_LIMIT)
    }

    /// What is wrong with names and numbers; the rest is the messages' to check.
    pub(super) fn check(&self) -> Result<(), Error> {
        let fault = || {
            if let Some(fault) = name_fault("global id", &self.global, LONGEST_GLOBAL) {
                return Some(fault);
            }
            if self.branches.is_empty() || self.branches.len() > MOST_BRANCHES {
                return Some(format!("it has {} branches; 1 to {MOST_BRANCHES} are allowed", self.branches.len()));
            }
            for (at, branch) in self.branches.iter().enumerate() {
                if let Some(fault) = name_fault("branch", &branch.name, LONGEST_BRANCH) {
                    return Some(fault);
                }
                if branch.name.contains('/') {
                    return Some(format!("the branch {:?} has a slash in its name", branch.name));
                }
                if self.branches.iter().take(at).any(|other| other.name == branch.name) {
                    return Some(format!("two branches are called {:?}", branch.name));
                }
            }
            None
        };
        match fault() {
            None => Ok(()),
            Some(reason) => Err(self.refused(reason)),
        }
    }

    fn refused(&self, reason: String) -> Error {
        let topic = self.branches.first().map(|branch| branch.topic.clone()).unwrap_or_default();
        Error::Message { topic, business_id: self.global.chars().take(LONGEST_GLOBAL).collect(), reason }
    }
}

fn name_fault(what: &str, name: &str, longest: usize) -> Option<String> {
    if name.len() > longest {
        return Some(format!("the {what} takes {} bytes of {longest}", name.len()));
    }
    key_fault(what, name)
}
