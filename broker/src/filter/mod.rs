//! Which messages of a topic a subscription wants.
//!
//! A [`Filter`] is cheap to clone and is asked twice: [`Filter::passes_entry`] sees the queue entry alone and throws out
//! what certainly is not wanted, [`Filter::passes_record`] sees the stored record and decides. [`fetch`] does both.
//! Rules: `transactions-retry-delay.md` section 9.

mod bloom;
mod expressions;
mod registry;
pub mod sql;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use tenonmq_protocol::{
    body::SubscriptionData,
    code::ResponseCode,
    message::{
        RecordView,
        properties::{find, java_hash, names::RETRY_TOPIC},
    },
};
use tenonmq_storage::{Entry, FetchLimits, Fetched, Queue, QueueKind};

pub use expressions::Expressions;
pub use registry::{FILE_NAME, Registry, keep_saved};

use crate::{
    core::{Core, clients::ConsumerGroup},
    error::Refusal,
};
use sql::Sql;

/// Expression type of tags, which is also what a missing type means.
pub const TAG: &str = "TAG";
/// Expression type of conditions on properties.
pub const SQL92: &str = "SQL92";

/// A filter, ready for use. Cloning it counts a reference at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Kind);

#[derive(Debug, Clone)]
enum Kind {
    All,
    Nothing,
    /// Java string hashes, sorted.
    Tags(Arc<[i32]>),
    Sql(Arc<Sql>),
    /// For the group's retry topic: what the group wants of the topic that a message came from.
    Retried(Arc<ConsumerGroup>),
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) | (Self::Nothing, Self::Nothing) => true,
            (Self::Tags(one), Self::Tags(other)) => one == other,
            (Self::Sql(one), Self::Sql(other)) => one == other,
            (Self::Retried(one), Self::Retried(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Kind {}

impl Filter {
    /// Wants every message.
    pub const ALL: Self = Self(Kind::All);
    /// Wants none: the filter of an expression that does not compile.
    pub const NOTHING: Self = Self(Kind::Nothing);

    /// The filter of a tag expression like `A || B`; empty and `*` mean all. Blank alternatives are ignored.
    pub fn tags(expression: &str) -> Self {
        let expression = expression.trim();
        if expression.is_empty() || expression == "*" {
            return Self::ALL;
        }
        Self::of_codes(expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).map(java_hash))
    }

    /// The filter of a set of tag codes, as heartbeats carry it.
    pub fn of_codes(codes: impl IntoIterator<Item = i32>) -> Self {
        let mut codes: Vec<i32> = codes.into_iter().collect();
        codes.sort_unstable();
        codes.dedup();
        Self(Kind::Tags(codes.into()))
    }

    /// What a member wants of a topic. Tags are taken by their codes, which the client has computed; of an expression that
    /// does not compile, nothing is wanted.
    pub fn subscribed(data: &SubscriptionData, expressions: &Expressions) -> Self {
        let expression = data.sub_string.trim();
        match data.expression_type.as_deref() {
            _ if data.class_filter_mode => Self::ALL,
            kind if is_tag_type(kind) && (expression.is_empty() || expression == "*") => Self::ALL,
            kind if is_tag_type(kind) => Self::of_codes(data.code_set.iter().copied()),
            Some(SQL92) => match expressions.compile(&data.sub_string) {
                Ok(sql) => Self(Kind::Sql(sql)),
                Err(error) => {
                    tracing::warn!(topic = data.topic, expression = data.sub_string, %error, "a subscription is no expression");
                    Self::NOTHING
                }
            },
            kind => {
                tracing::warn!(topic = data.topic, kind, "a subscription's expression type is unknown");
                Self::NOTHING
            }
        }
    }

    /// For the retry topic of `group` under `filterSupportRetry`: each message is judged by what the group wants of the
    /// topic that it came from.
    pub fn retried(group: Arc<ConsumerGroup>) -> Self {
        Self(Kind::Retried(group))
    }

    /// Whether a message with this tag code may be wanted. Equal hashes pass: the client compares the tags themselves.
    #[inline]
    pub fn passes_entry(&self, tags_code: i64) -> bool {
        match &self.0 {
            Kind::All | Kind::Sql(_) | Kind::Retried(_) => true,
            Kind::Nothing => false,
            Kind::Tags(codes) => codes.contains(&(tags_code as i32)), // the low half, as Apache compares
        }
    }

    /// Whether [`passes_record`](Self::passes_record) has a say after [`passes_entry`](Self::passes_entry).
    pub fn needs_record(&self) -> bool {
        matches!(self.0, Kind::Sql(_) | Kind::Retried(_))
    }

    /// Whether a stored message is wanted. No allocation.
    pub fn passes_record(&self, record: &RecordView<'_>) -> bool {
        match &self.0 {
            Kind::All | Kind::Tags(_) => true,
            Kind::Nothing => false,
            Kind::Sql(sql) => sql.matches(&properties(record)),
            Kind::Retried(group) => {
                let properties = properties(record);
                let origin = find(&properties, RETRY_TOPIC).and_then(|topic| group.subscription(topic));
                match origin.as_deref().map(|subscription| &subscription.filter.0) {
                    Some(Kind::Sql(sql)) => sql.matches(&properties),
                    _ => true,
                }
            }
        }
    }
}

/// The property text; what a client's batch brought in another encoding is made readable, as Java does.
fn properties<'a>(record: &RecordView<'a>) -> Cow<'a, str> {
    String::from_utf8_lossy(record.properties_bytes())
}

/// Whether an expression type means tags.
pub fn is_tag_type(kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| kind.is_empty() || kind == TAG)
}

/// The filter of an expression that a request carries itself.
///
/// # Errors
/// 1: this broker does not evaluate such expressions. 23: there is no such type, or the expression is not of it.
pub fn carried(core: &Core, kind: Option<&str>, expression: Option<&str>) -> Result<Filter, Refusal> {
    let kind = match kind {
        Some(kind) if !is_tag_type(Some(kind)) => kind,
        _ => return Ok(Filter::tags(expression.unwrap_or_default())),
    };
    let expression = expression.unwrap_or_default();
    if !core.config.load().filters.sql && !expression.is_empty() {
        return Err(not_supported(kind));
    }
    compile(core, kind, expression).map_err(|error| {
        let remark = format!("parse the consumer's subscription failed: {error}");
        Refusal::new(ResponseCode::SUBSCRIPTION_PARSE_FAILED, remark)
    })
}

/// Whether this broker can evaluate an expression (46).
///
/// # Errors
/// 1: it evaluates tags only. 23: the expression does not compile; the remark is Apache's.
pub fn check(core: &Core, data: &SubscriptionData) -> Result<(), Refusal> {
    let expression = &*data.sub_string;
    match data.expression_type.as_deref() {
        _ if data.class_filter_mode => Err(not_supported("class")),
        Some(kind) if !is_tag_type(Some(kind)) => {
            if !core.config.load().filters.sql {
                return Err(not_supported(kind));
            }
            let refused = |remark| Refusal::new(ResponseCode::SUBSCRIPTION_PARSE_FAILED, remark);
            compile(core, kind, expression).map(|_| ()).map_err(refused)
        }
        _ => Ok(()),
    }
}

fn compile(core: &Core, kind: &str, expression: &str) -> Result<Filter, String> {
    match kind {
        SQL92 if expression.is_empty() => Err("the expression is empty".to_owned()),
        SQL92 => {
            core.expressions.compile(expression).map(|sql| Filter(Kind::Sql(sql))).map_err(|error| error.to_string())
        }
        _ => Err(format!("expression type {kind} is neither {TAG} nor {SQL92}")),
    }
}

/// Apache's answer while `enablePropertyFilter` is off.
pub fn not_supported(kind: &str) -> Refusal {
    let remark = format!("The broker does not support consumer to filter message by {kind}");
    Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
}

/// Records of `queue` from the offset `from` on that `filter` lets pass.
pub fn fetch(core: &Core, queue: &Queue, from: i64, limits: FetchLimits, filter: &Filter) -> Fetched {
    let store = &core.store;
    let holds_batches = queue.kind() == QueueKind::Batch;
    let entry_passes = |entry: &Entry| match entry.ext_address() {
        // The tags of a batch are inside; the client takes it apart and compares them.
        None if holds_batches && entry.tags_code == 0 => true,
        None => filter.passes_entry(entry.tags_code),
        Some(_) => store.tags_code(queue, entry).is_none_or(|code| filter.passes_entry(code)),
    };
    if !filter.needs_record() {
        return store.fetch(queue, from, limits, entry_passes);
    }
    let record_passes =
        |_: &Entry, bytes: &[u8]| RecordView::parse(bytes).is_ok_and(|record| filter.passes_record(&record));
    store.fetch_filtered(queue, from, limits, entry_passes, record_passes)
}
