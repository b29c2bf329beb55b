//! Which messages of a topic a subscription wants.
//!
//! A [`Filter`] is cheap to clone and is asked twice: [`Filter::passes_entry`] sees the queue entry alone and throws out
//! what certainly is not wanted, [`Filter::passes_record`] sees the stored record and decides. [`fetch`] does both.
//! Rules: `transactions-retry-delay.md` section 9.

use std::sync::Arc;

use tenonmq_protocol::{
    code::ResponseCode,
    message::{RecordView, properties::java_hash},
};
use tenonmq_storage::{Entry, FetchLimits, Fetched, Queue, QueueKind};

use crate::{core::Core, error::Refusal};

/// Expression type of tags, which is also what a missing type means.
pub const TAG: &str = "TAG";
/// Expression type of conditions on properties.
pub const SQL92: &str = "SQL92";

/// A filter, ready for use. Cloning it counts a reference at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    All,
    /// Java string hashes, sorted.
    Tags(Arc<[i32]>),
}

impl Filter {
    /// Wants every message.
    pub const ALL: Self = Self(Kind::All);

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

    /// Whether a message with this tag code may be wanted. Equal hashes pass: the client compares the tags themselves.
    #[inline]
    pub fn passes_entry(&self, tags_code: i64) -> bool {
        match &self.0 {
            Kind::All => true,
            Kind::Tags(codes) => codes.contains(&(tags_code as i32)), // the low half, as Apache compares
        }
    }

    /// Whether [`passes_record`](Self::passes_record) has a say after [`passes_entry`](Self::passes_entry).
    pub fn needs_record(&self) -> bool {
        false
    }

    /// Whether a stored message is wanted. No allocation.
    pub fn passes_record(&self, _record: &RecordView<'_>) -> bool {
        true
    }
}

/// Whether an expression type means tags.
pub fn is_tag_type(kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| kind.is_empty() || kind == TAG)
}

/// The filter of an expression that a request carries itself.
///
/// # Errors
/// 1: this broker does not evaluate such expressions. 23: there is no such type, or the expression is not of it.
pub fn carried(_core: &Core, kind: Option<&str>, expression: Option<&str>) -> Result<Filter, Refusal> {
    match kind {
        kind if is_tag_type(kind) => Ok(Filter::tags(expression.unwrap_or_default())),
        Some(SQL92) if expression.is_some_and(|text| !text.is_empty()) => Err(not_supported(SQL92)),
        _ => {
            let remark = "parse the consumer's subscription failed";
            Err(Refusal::new(ResponseCode::SUBSCRIPTION_PARSE_FAILED, remark))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_passes_its_alternatives_and_nothing_else() {
        let filter = Filter::tags(" TagA ||TagB|| ");
        assert!(filter.passes_entry(java_hash("TagA").into()));
        assert!(filter.passes_entry(java_hash("TagB").into()));
        assert!(!filter.passes_entry(java_hash("TagC").into()));
        assert!(!filter.passes_entry(0));
    }

    #[test]
    fn a_star_and_an_empty_expression_pass_everything() {
        for expression in ["*", "", "  "] {
            assert_eq!(Filter::tags(expression), Filter::ALL);
        }
    }
}
