//! What a group wants of a topic.

use std::collections::BTreeSet;

use crate::{error::Error, text::PropertyText};
use tenonmq_protocol::message::properties::names;

/// Chooses messages of a topic. A string of tags converts into one: `"a || b"`, or `"*"` for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Every message.
    All,
    /// Messages with one of these tags.
    Tags(BTreeSet<String>),
    /// An SQL-92 expression over properties, evaluated by the broker (which must have it enabled).
    Sql(String),
}

impl Filter {
    /// An SQL-92 expression over the messages' properties, evaluated by the broker: `"a > 5 AND color IN ('red')"`.
    /// One that the broker does not take is an error of `connect` (push, simple) or of the pull.
    ///
    /// ```
    /// use tenonmq_client::{Filter, PushConsumer};
    /// let builder = PushConsumer::builder("127.0.0.1:9876")
    ///     .group("audit")
    ///     .subscribe("paid", Filter::sql("amount BETWEEN 100 AND 500 AND TAGS IS NOT NULL"));
    /// ```
    pub fn sql(expression: impl Into<String>) -> Self {
        Self::Sql(expression.into())
    }

    /// The expression as the wire carries it.
    pub fn expression(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::Tags(tags) => tags.iter().map(String::as_str).collect::<Vec<_>>().join(" || "),
            Self::Sql(expression) => expression.clone(),
        }
    }

    /// The wire's name for the kind of expression.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::All | Self::Tags(_) => "TAG",
            Self::Sql(_) => "SQL92",
        }
    }

    /// Whether a message passes. The broker compares hashes of tags only, so the client looks at the text; an SQL
    /// expression was evaluated by the broker.
    pub(crate) fn accepts(&self, properties: &PropertyText) -> bool {
        match self {
            Self::All | Self::Sql(_) => true,
            Self::Tags(tags) => properties.get(names::TAGS).is_some_and(|tag| tags.contains(tag)),
        }
    }

    pub(crate) fn validate(&self, topic: &str) -> Result<(), Error> {
        match self {
            Self::Tags(tags) if tags.is_empty() => {
                Err(Error::Config(format!("the subscription of {topic:?} names no tag; say \"*\" for all")))
            }
            Self::Sql(expression) if expression.trim().is_empty() => {
                Err(Error::Config(format!("the subscription of {topic:?} has an empty expression")))
            }
            _ => Ok(()),
        }
    }
}

impl<T: AsRef<str>> From<T> for Filter {
    fn from(expression: T) -> Self {
        match expression.as_ref().trim() {
            "" | "*" => Self::All,
            tags => Self::Tags(tags.split("||").map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_expressions_are_split_at_double_bars() {
        assert_eq!(Filter::from("a || b||c").expression(), "a || b || c");
        assert_eq!(Filter::from(" * "), Filter::All);
        assert_eq!(Filter::from(""), Filter::All);
    }

    #[test]
    fn a_tag_is_compared_by_its_text() {
        let filter = Filter::from("Aa");
        // "Aa" and "BB" have the same Java hash, so a broker lets both through
        assert!(filter.accepts(&PropertyText::from_wire("TAGS\u{1}Aa\u{2}")));
        assert!(!filter.accepts(&PropertyText::from_wire("TAGS\u{1}BB\u{2}")));
        assert!(!filter.accepts(&PropertyText::from_wire("")));
    }
}
