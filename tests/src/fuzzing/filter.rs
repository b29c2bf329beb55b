//! Subscriptions: tag and SQL92 expressions, and the places that a bloom filter gives them.

use std::sync::Arc;

use tenonmq_broker::{
    config::Filters,
    filter::{self, Expressions, Filter, Registry, sql::Sql},
};
use tenonmq_protocol::{
    body::SubscriptionData,
    message::{
        Properties,
        properties::{java_hash, tags_code},
    },
};
use tenonmq_storage::{ConfigFile, fs::FaultyFs};

/// An error is shown to whoever subscribes: it may quote the expression, each character as `\u` and four digits at most.
const ERROR_BYTES: usize = 1024;
const QUOTED_BYTES: usize = 6;

/// What stands before the first NUL is an expression, what is behind it the property text of a message.
pub(super) fn filters(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (expression, properties) = text.split_once('\0').unwrap_or((&text, "a\u{1}5\u{2}b\u{1}x\u{2}TAGS\u{1}t\u{2}"));
    sql(expression, properties);
    tags(expression);
    subscription(expression);
    stored(bytes);
}

fn sql(expression: &str, properties: &str) {
    match Sql::compile(expression) {
        Ok(compiled) => {
            assert_eq!(compiled.text(), expression);
            assert!(expression.ends_with(compiled.ignored()));
            let answer = compiled.matches(properties);
            assert_eq!(answer, compiled.matches(properties), "the same message, the same answer");
            let mut sorted = Vec::new();
            Properties::parse(properties).encode_into(&mut sorted);
            let sorted = String::from_utf8(sorted).expect("text of text");
            if !properties.contains("__") {
                assert_eq!(answer, compiled.matches(&sorted), "the order of properties counts: {expression}");
            }
            let heard = &expression[..expression.len() - compiled.ignored().len()];
            let alone = Sql::compile(heard).expect("what was heard of it is an expression");
            assert_eq!(answer, alone.matches(properties), "what is ignored counts: {expression}");
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && text.len() <= ERROR_BYTES + QUOTED_BYTES * expression.len(), "{text}");
        }
    }
}

/// A message whose tag is named passes; one passes alike however the alternatives are ordered.
fn tags(expression: &str) {
    let filter = Filter::tags(expression);
    let named: Vec<&str> = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).collect();
    for tag in &named {
        assert!(filter.passes_entry(tags_code(Some(tag))), "{tag:?} of {expression:?}");
    }
    let backwards: Vec<&str> = named.iter().rev().copied().collect();
    if !named.is_empty() && named != ["*"] {
        assert_eq!(Filter::tags(&backwards.join(" || ")), filter);
        assert_eq!(Filter::of_codes(named.iter().map(|tag| java_hash(tag))), filter);
    }
}

fn subscription(expression: &str) {
    let expressions = Expressions::default();
    for kind in [None, Some("TAG"), Some(filter::SQL92), Some("class")] {
        let data = SubscriptionData {
            topic: "T".into(),
            sub_string: expression.into(),
            expression_type: kind.map(Into::into),
            ..SubscriptionData::default()
        };
        let made = Filter::subscribed(&data, &expressions);
        assert_eq!(made, Filter::subscribed(&data, &expressions), "compiled once and found again");
    }
}

/// `consumerFilter.json`, with what the bloom filter gave, is read or refused by name.
fn stored(bytes: &[u8]) {
    let Ok(folder) = tempfile::tempdir_in(crate::tiny_store::memory()) else { return };
    let path = folder.path().join("config");
    std::fs::create_dir_all(&path).expect("a directory");
    std::fs::write(path.join(filter::FILE_NAME), bytes).expect("a file");
    let file = ConfigFile::new(Arc::new(FaultyFs::lazy()), folder.path(), filter::FILE_NAME);
    if let Err(error) = Registry::load(file, &Filters::default(), 0) {
        assert!(error.to_string().contains(filter::FILE_NAME), "{error}");
    }
}
