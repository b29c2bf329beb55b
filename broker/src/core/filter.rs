//! Which messages of a topic a subscription wants, judged by the tag codes in the consume queue.

use std::sync::Arc;

use tenonmq_protocol::message::properties::java_hash;

/// A tag filter over consume-queue entries. Equal hashes pass: the client compares the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagFilter {
    /// Every message.
    All,
    /// Messages whose tag code is among these (Java string hashes, sorted).
    Codes(Arc<[i32]>),
}

impl TagFilter {
    /// The filter of an expression like `A || B`; empty and `*` mean all. Blank alternatives are ignored.
    pub fn parse(expression: &str) -> Self {
        let expression = expression.trim();
        if expression.is_empty() || expression == "*" {
            return Self::All;
        }
        Self::of_codes(expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).map(java_hash))
    }

    /// The filter of a set of codes, as heartbeats carry it.
    pub fn of_codes(codes: impl IntoIterator<Item = i32>) -> Self {
        let mut codes: Vec<i32> = codes.into_iter().collect();
        codes.sort_unstable();
        codes.dedup();
        Self::Codes(codes.into())
    }

    /// Whether a consume-queue entry with this tag code may be wanted.
    pub fn passes(&self, tags_code: i64) -> bool {
        match self {
            Self::All => true,
            Self::Codes(codes) => i32::try_from(tags_code).is_ok_and(|code| codes.contains(&code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_passes_its_alternatives_and_nothing_else() {
        let filter = TagFilter::parse(" TagA ||TagB|| ");
        assert!(filter.passes(java_hash("TagA").into()));
        assert!(filter.passes(java_hash("TagB").into()));
        assert!(!filter.passes(java_hash("TagC").into()));
        assert!(!filter.passes(0));
    }

    #[test]
    fn a_star_and_an_empty_expression_pass_everything() {
        for expression in ["*", "", "  "] {
            assert_eq!(TagFilter::parse(expression), TagFilter::All);
        }
    }
}
