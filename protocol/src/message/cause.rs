//! Why a message could not be processed, as data that travels with it.
//!
//! A consumer that sends a message back may say why: in extra fields of the request, or in the property
//! [`CAUSES`](super::properties::names::CAUSES) when it sends to its retry topic itself. The property is a JSON array of
//! [`FailureCause`], the newest last, of at most [`MAX_TEXT`] bytes: the oldest are dropped first. Apache's clients and
//! brokers keep it and do not look at it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::properties::{find, names};

/// Longest text of all causes of one message, in bytes.
pub const MAX_TEXT: usize = 1024;
/// Longest class, digest and host, in bytes; more is cut off.
const MAX_CLASS: usize = 200;
const MAX_DIGEST: usize = 100;
const MAX_HOST: usize = 64;

/// Why one try failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailureCause<'a> {
    /// Class of the error, for example `java.net.ConnectException`.
    pub class: Cow<'a, str>,
    /// What tells errors of one class apart: the digest of a stack, or a short message. May be empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub digest: Cow<'a, str>,
    /// The host that it failed on. May be empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub host: Cow<'a, str>,
    /// Which try it was, from 1.
    #[serde(rename = "try")]
    pub attempt: i32,
    /// When the broker heard of it, in milliseconds; 0 when it was not asked.
    pub at: i64,
}

impl FailureCause<'_> {
    /// What causes are counted by: class and digest.
    pub fn key(&self) -> String {
        if self.digest.is_empty() { self.class.to_string() } else { format!("{} {}", self.class, self.digest) }
    }
}

/// The causes in the text of the property; none when it is not such a text.
pub fn parse(text: &str) -> Vec<FailureCause<'_>> {
    serde_json::from_str(text).unwrap_or_default()
}

/// The newest cause in a property text.
pub fn last_of(properties: &str) -> Option<FailureCause<'_>> {
    parse(find(properties, names::CAUSES)?).pop()
}

/// The text of the property with one more cause: at most [`MAX_TEXT`] bytes, the oldest dropped first.
pub fn push(text: Option<&str>, cause: &FailureCause<'_>) -> String {
    let mut causes = text.map(parse).unwrap_or_default();
    causes.push(FailureCause {
        class: Cow::Borrowed(cut(&cause.class, MAX_CLASS)),
        digest: Cow::Borrowed(cut(&cause.digest, MAX_DIGEST)),
        host: Cow::Borrowed(cut(&cause.host, MAX_HOST)),
        ..*cause
    });
    let pieces: Vec<String> = causes.iter().filter_map(|cause| serde_json::to_string(cause).ok()).collect();
    let mut len = 1; // brackets and commas: one more than there are pieces
    let fits = |piece: &&String| {
        len += piece.len() + 1;
        len <= MAX_TEXT
    };
    let kept = pieces.iter().rev().take_while(fits).count();
    let kept: Vec<&str> = pieces.iter().skip(pieces.len() - kept).map(String::as_str).collect();
    format!("[{}]", kept.join(","))
}

/// The longest beginning of at most `max` bytes, in whole characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(class: &str, attempt: i32) -> FailureCause<'_> {
        FailureCause { class: class.into(), host: "10.0.0.1".into(), attempt, at: 7, ..FailureCause::default() }
    }

    #[test]
    fn causes_are_kept_in_order_and_read_again() {
        let one = push(None, &cause("A", 1));
        assert_eq!(one, r#"[{"class":"A","host":"10.0.0.1","try":1,"at":7}]"#);
        let two = push(Some(&one), &cause("B", 2));
        assert_eq!(parse(&two), [cause("A", 1), cause("B", 2)]);
        assert_eq!(last_of(&format!("TAGS\u{1}x\u{2}TENON_CAUSES\u{1}{two}\u{2}")), Some(cause("B", 2)));
    }

    #[test]
    fn the_oldest_causes_are_dropped_and_long_ones_are_cut() {
        let long = "é".repeat(2000);
        let digest = "\u{1}\u{2}\"".repeat(1000);
        let mut text = String::new();
        for attempt in 1..50 {
            let cause = FailureCause { digest: digest.as_str().into(), ..cause(&long, attempt) };
            text = push(Some(&text), &cause);
            assert!(text.len() <= MAX_TEXT, "{} bytes", text.len());
            assert!(!text.contains(['\u{1}', '\u{2}']), "separators of properties are escaped");
            let last = parse(&text).pop().unwrap();
            assert_eq!((last.attempt, last.class.len(), last.host.as_ref()), (attempt, 200, "10.0.0.1"));
        }
    }

    #[test]
    fn a_property_that_is_no_list_of_causes_counts_as_none() {
        assert_eq!(parse("{"), []);
        assert_eq!(parse(&push(Some("nonsense"), &cause("A", 1))), [cause("A", 1)]);
    }
}
