//! A dead letter as it lies in the log.

use base64::{Engine, engine::general_purpose::STANDARD};
use tenonmq_protocol::{
    body::dead_letter_desk::{DeadLetter, DeadLetterCause, DeadLetterFilter},
    message::{
        RecordView, cause,
        properties::{names as property, pairs},
    },
};

use crate::transaction::without_checksum;

/// How a letter without a cause is counted and asked for.
pub(super) const NO_CAUSE: &str = "-";

/// A record of a dead-letter topic with the properties that matter here.
#[derive(Clone, Copy)]
pub(super) struct Letter<'a> {
    pub(super) record: RecordView<'a>,
    /// All properties.
    pub(super) text: &'a str,
    pub(super) tags: Option<&'a str>,
    keys: Option<&'a str>,
    unique_key: Option<&'a str>,
    /// The topic that it came from.
    pub(super) origin_topic: Option<&'a str>,
    origin_id: Option<&'a str>,
    causes: Option<&'a str>,
    /// How often it was sent again out of the dead letters.
    pub(super) redriven: i32,
}

impl<'a> Letter<'a> {
    pub(super) fn of(record: RecordView<'a>) -> Self {
        let text = without_checksum(record.properties_text());
        let mut letter = Self {
            record,
            text,
            tags: None,
            keys: None,
            unique_key: None,
            origin_topic: None,
            origin_id: None,
            causes: None,
            redriven: 0,
        };
        for (name, value) in pairs(text) {
            match name {
                property::TAGS => letter.tags = Some(value),
                property::KEYS => letter.keys = Some(value),
                property::UNIQ_KEY => letter.unique_key = Some(value),
                property::RETRY_TOPIC => letter.origin_topic = Some(value),
                property::ORIGIN_MESSAGE_ID => letter.origin_id = Some(value),
                property::CAUSES => letter.causes = Some(value),
                property::REDRIVEN => letter.redriven = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        letter
    }

    /// Where it lies; what tells it from all others.
    pub(super) fn log_offset(&self) -> u64 {
        self.record.physical_offset().unsigned_abs()
    }

    /// What its last failure is counted by.
    pub(super) fn cause(&self) -> String {
        let last = self.causes.and_then(|text| cause::parse(text).pop());
        last.map_or_else(|| NO_CAUSE.to_owned(), |cause| cause.key())
    }

    /// Whether all conditions hold.
    pub(super) fn matches(&self, filter: &DeadLetterFilter) -> bool {
        let stored = self.record.store_timestamp();
        let is = |wanted: &Option<String>, value: Option<&str>| wanted.is_none() || wanted.as_deref() == value;
        let has_key = |key: &String| {
            self.unique_key == Some(key) || self.keys.is_some_and(|keys| keys.split(' ').any(|one| one == key))
        };
        filter.from.is_none_or(|from| stored >= from)
            && filter.until.is_none_or(|until| stored < until)
            && is(&filter.tag, self.tags)
            && is(&filter.topic, self.origin_topic)
            && filter.key.as_ref().is_none_or(has_key)
            && self.redriven >= filter.min_redriven
            && filter.cause.as_ref().is_none_or(|wanted| self.failed_by(wanted))
    }

    fn failed_by(&self, wanted: &str) -> bool {
        match self.causes.and_then(|text| cause::parse(text).pop()) {
            Some(cause) => cause.class == wanted || cause.key() == wanted,
            None => wanted == NO_CAUSE,
        }
    }

    /// The letter for people. `whole` adds body and properties.
    pub(super) fn shown(&self, whole: bool, sent_again: bool) -> DeadLetter {
        let text = |value: Option<&str>| value.map(str::to_owned);
        let record = &self.record;
        let causes = self.causes.map(cause::parse).unwrap_or_default().into_iter();
        let properties = || pairs(self.text).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        DeadLetter {
            body: whole.then(|| STANDARD.encode(record.body())),
            body_length: i64::try_from(record.body().len()).unwrap_or(i64::MAX),
            born: record.born_timestamp(),
            causes: causes
                .map(|cause| DeadLetterCause {
                    at: cause.at,
                    attempt: cause.attempt,
                    class: cause.class.into_owned(),
                    digest: cause.digest.into_owned(),
                    host: cause.host.into_owned(),
                })
                .collect(),
            compression: compression(record),
            id: record.message_id().to_string(),
            keys: text(self.keys),
            offset: record.queue_offset(),
            origin_id: text(self.origin_id),
            origin_topic: text(self.origin_topic),
            properties: if whole { properties() } else { Default::default() },
            redriven: self.redriven,
            retries: record.reconsume_times(),
            sent_again,
            stored: record.store_timestamp(),
            tags: text(self.tags),
            unique_key: text(self.unique_key),
        }
    }
}

fn compression(record: &RecordView<'_>) -> Option<String> {
    match record.sys_flag().compression() {
        Ok(kind) => kind.map(|kind| format!("{kind:?}").to_uppercase()),
        Err(unknown) => Some(format!("unknown kind {unknown}")),
    }
}
