//! Attributes of topics and groups, and changes of them in the form `+key=value,-other`.

use std::collections::BTreeMap;

use crate::error::Refusal;
use tenonmq_protocol::code::ResponseCode;

/// What a value may be.
enum Allowed {
    OneOf(&'static [&'static str]),
    AtLeast(i64),
}

struct Attribute {
    name: &'static str,
    changeable: bool,
    allowed: Allowed,
}

/// Type of messages that producers send to a topic.
pub const MESSAGE_TYPE: &str = "message.type";
/// How a topic's queues are kept.
pub const QUEUE_TYPE: &str = "queue.type";

const ATTRIBUTES: [Attribute; 4] = [
    Attribute {
        name: MESSAGE_TYPE,
        changeable: true,
        allowed: Allowed::OneOf(&["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED"]),
    },
    Attribute { name: QUEUE_TYPE, changeable: false, allowed: Allowed::OneOf(&["BatchCQ", "SimpleCQ"]) },
    Attribute { name: "cleanup.policy", changeable: false, allowed: Allowed::OneOf(&["DELETE", "COMPACTION"]) },
    Attribute { name: "reserve.time", changeable: true, allowed: Allowed::AtLeast(-1) },
];

/// Changes, by attribute: a new value, or `None` to remove it.
pub type Changes<'a> = BTreeMap<&'a str, Option<&'a str>>;

fn refuse(remark: String) -> Refusal {
    Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
}

/// Reads `+key=value,-other`.
///
/// # Errors
/// 1 with Apache's words.
pub fn parse(text: &str) -> Result<Changes<'_>, Refusal> {
    let mut changes = Changes::new();
    for piece in text.split(',').filter(|piece| !piece.trim().is_empty()) {
        let (key, value) = match piece.split_once('=') {
            Some((key, value)) => {
                let name = key.strip_prefix('+');
                (name.ok_or_else(|| refuse(format!("add/alter attribute format is wrong: {key}")))?, Some(value))
            }
            None => {
                let name = piece.strip_prefix('-');
                (name.ok_or_else(|| refuse(format!("delete attribute format is wrong: {piece}")))?, None)
            }
        };
        if key.is_empty() || key.contains(['+', '-']) {
            return Err(refuse("kv string format wrong.".into()));
        }
        if changes.insert(key, value).is_some() {
            return Err(refuse(format!("alter duplication key. key: {key}")));
        }
    }
    Ok(changes)
}

/// The attributes after `changes`; `current` is `None` for a topic that is being created.
///
/// # Errors
/// 1 with Apache's words: an unknown key, a value that is not allowed, an attribute that cannot change.
pub fn apply(
    current: Option<&BTreeMap<String, String>>,
    changes: &Changes<'_>,
) -> Result<BTreeMap<String, String>, Refusal> {
    apply_known(&ATTRIBUTES, current, changes)
}

/// The same for the attributes of a subscription group, of which there is none yet.
///
/// # Errors
/// As [`apply`].
pub fn apply_group(
    current: Option<&BTreeMap<String, String>>,
    changes: &Changes<'_>,
) -> Result<BTreeMap<String, String>, Refusal> {
    apply_known(&[], current, changes)
}

fn apply_known(
    known: &[Attribute],
    current: Option<&BTreeMap<String, String>>,
    changes: &Changes<'_>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut attributes = current.cloned().unwrap_or_default();
    for (&key, &value) in changes {
        let Some(attribute) = known.iter().find(|attribute| attribute.name == key) else {
            return Err(refuse(format!("unsupported key: {key}")));
        };
        if current.is_none() && value.is_none() {
            return Err(refuse(format!("only add attribute is supported while creating topic. key: {key}")));
        }
        if current.is_some() && !attribute.changeable {
            return Err(refuse(format!("attempt to update an unchangeable attribute. key: {key}")));
        }
        match value {
            Some(value) => {
                attribute.check(value)?;
                attributes.insert(key.to_owned(), value.to_owned());
            }
            None if attributes.remove(key).is_none() => {
                return Err(refuse(format!("attempt to delete a nonexistent key: {key}")));
            }
            None => {}
        }
    }
    Ok(attributes)
}

impl Attribute {
    fn check(&self, value: &str) -> Result<(), Refusal> {
        let allowed = match self.allowed {
            Allowed::OneOf(values) => values.contains(&value),
            Allowed::AtLeast(least) => value.parse().is_ok_and(|number: i64| number >= least),
        };
        if allowed { Ok(()) } else { Err(refuse(format!("value [{value}] of attribute {} is not allowed", self.name))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(current: Option<&BTreeMap<String, String>>, text: &str) -> Result<BTreeMap<String, String>, String> {
        let changes = parse(text).map_err(|refusal| refusal.remark.into_owned())?;
        apply(current, &changes).map_err(|refusal| refusal.remark.into_owned())
    }

    #[test]
    fn a_new_topic_takes_attributes_with_a_plus_sign_only() {
        let attributes = applied(None, "+message.type=FIFO,+queue.type=BatchCQ").unwrap();
        assert_eq!(attributes["message.type"], "FIFO");
        assert!(applied(None, "-message.type").unwrap_err().starts_with("only add attribute"));
    }

    #[test]
    fn the_queue_type_of_a_topic_never_changes() {
        let current = applied(None, "+queue.type=SimpleCQ").unwrap();
        let error = applied(Some(&current), "+queue.type=BatchCQ").unwrap_err();
        assert_eq!(error, "attempt to update an unchangeable attribute. key: queue.type");
    }

    #[test]
    fn unknown_keys_bad_values_and_bad_syntax_are_named() {
        assert_eq!(applied(None, "+colour=red").unwrap_err(), "unsupported key: colour");
        assert!(applied(None, "+message.type=RED").unwrap_err().contains("RED"));
        assert!(applied(None, "message.type=FIFO").unwrap_err().starts_with("add/alter attribute format is wrong"));
        assert!(
            applied(None, "+message.type=FIFO,+message.type=NORMAL").unwrap_err().starts_with("alter duplication key")
        );
    }
}
