//! The handle of a popped message (`extraInfo`, property `POP_CK`): eight fields joined by blanks.

use std::fmt;

use crate::error::HeaderError;

/// Revive queue id that marks an ordered pop.
pub const ORDERED_REVIVE_QUEUE: i32 = 999;

/// Which topic a message was popped from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum PopTopic {
    /// The topic itself (`0`).
    #[default]
    Normal,
    /// `%RETRY%group_topic` (`1`).
    RetryV1,
    /// `%RETRY%group+topic` (`2`).
    RetryV2,
}

impl PopTopic {
    /// Its letter in handles and pop answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "0",
            Self::RetryV1 => "1",
            Self::RetryV2 => "2",
        }
    }

    /// The kind of that letter.
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Normal, Self::RetryV1, Self::RetryV2].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What a client hands back to acknowledge or to extend. Example: `3 1000 60000 2 0 b0 1 5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptHandle<'a> {
    /// First offset of the batch that it was popped in, for its queue.
    pub start_offset: i64,
    /// When it was popped, in milliseconds.
    pub pop_time: i64,
    /// How long it stays invisible, in milliseconds.
    pub invisible_millis: i64,
    /// Revive queue; [`ORDERED_REVIVE_QUEUE`] for ordered pops.
    pub revive_queue_id: i32,
    /// Which topic it was popped from.
    pub kind: PopTopic,
    /// Broker that it was popped from.
    pub broker_name: &'a str,
    /// Queue that it was popped from.
    pub queue_id: i32,
    /// Its offset there; handles of old clients lack it.
    pub offset: Option<i64>,
}

impl<'a> ReceiptHandle<'a> {
    /// Reads a handle; errors name the field `extraInfo`.
    pub fn parse(text: &'a str) -> Result<Self, HeaderError> {
        let mut parts = text.split(' ');
        let handle = (|| {
            let mut number = || parts.next()?.parse::<i64>().ok();
            let (start_offset, pop_time, invisible_millis) = (number()?, number()?, number()?);
            let revive_queue_id = i32::try_from(number()?).ok()?;
            let kind = PopTopic::from_text(parts.next()?)?;
            let broker_name = parts.next()?;
            let queue_id = parts.next()?.parse().ok()?;
            let offset = parts.next().map(|text| text.parse().ok().ok_or(())).transpose().ok()?;
            Some(Self {
                start_offset,
                pop_time,
                invisible_millis,
                revive_queue_id,
                kind,
                broker_name,
                queue_id,
                offset,
            })
        })();
        handle.ok_or_else(|| HeaderError::invalid("extraInfo", text, "a receipt handle"))
    }

    /// Whether order within the queue is kept.
    pub fn is_ordered(&self) -> bool {
        self.revive_queue_id == ORDERED_REVIVE_QUEUE
    }
}

impl fmt::Display for ReceiptHandle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start_offset, pop_time, invisible_millis, revive_queue_id, kind, broker_name, queue_id, .. } = self;
        let kind = kind.as_str();
        write!(f, "{start_offset} {pop_time} {invisible_millis} {revive_queue_id} {kind} {broker_name} {queue_id}")?;
        self.offset.map_or(Ok(()), |offset| write!(f, " {offset}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_reads_back_as_it_was_written() {
        for text in ["3 1000 60000 2 0 b0 1 5", "3 1000 60000 999 1 b0 1"] {
            let handle = ReceiptHandle::parse(text).unwrap();
            assert_eq!(handle.to_string(), text);
            assert_eq!(handle.is_ordered(), text.contains("999"));
        }
    }

    #[test]
    fn anything_else_is_an_error_that_names_the_field() {
        for text in ["", "3 1000 60000 2 0 b0", "3 1000 60000 2 9 b0 1 5", "3 1000 60000 2 0 b0 1 x", "a b c d e f g h"]
        {
            assert_eq!(ReceiptHandle::parse(text).unwrap_err().field(), "extraInfo", "{text}");
        }
    }
}
