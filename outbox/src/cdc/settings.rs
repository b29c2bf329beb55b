//! How a change relay works.

use std::time::Duration;

use super::ChangeRelay;
use crate::{
    error::Error,
    schema::{Schema, Table},
};

/// PostgreSQL's limit on names.
const LONGEST_NAME: usize = 63;

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) slot: String,
    pub(super) publication: String,
    pub(super) net: Duration,
    pub(super) heartbeat: Duration,
    pub(super) guard_bytes: Option<u64>,
    pub(super) guard_pause: Duration,
    pub(super) standby_pause: Duration,
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
}

impl Settings {
    pub(super) fn named_after(database: &str, schema: &Schema) -> Self {
        let table = schema.name(Table::Published);
        Self {
            slot: made(&format!("tenonmq_{database}_{table}")),
            publication: made(&format!("tenonmq_{table}")),
            net: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            guard_bytes: Some(4 << 30),
            guard_pause: Duration::from_secs(300),
            standby_pause: Duration::from_secs(1),
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(30),
        }
    }
}

impl<P> ChangeRelay<P> {
    /// The replication slot: one for all instances of the service. Slots belong to the whole server, so the default is
    /// `tenonmq_<database>_<table>`.
    ///
    /// # Errors
    /// [`Error::Name`] for anything but small ASCII letters, digits and `_`, or more than 63 of them.
    pub fn slot(mut self, name: &str) -> Result<Self, Error> {
        self.settings.slot = checked("slot", name)?;
        Ok(self)
    }

    /// The publication, of inserts into the outbox's table. Default `tenonmq_<table>`. One that exists is used as it is.
    ///
    /// # Errors
    /// As [`slot`](Self::slot).
    pub fn publication(mut self, name: &str) -> Result<Self, Error> {
        self.settings.publication = checked("publication", name)?;
        Ok(self)
    }

    /// How often the table is looked at while the stream is read: for what a dead relay had leased, and for rows that people
    /// have sent again. Retries have their own time. Default 5 s.
    #[must_use]
    pub fn net(mut self, period: Duration) -> Self {
        self.settings.net = period.max(Duration::from_millis(1));
        self
    }

    /// How often a message without content is written into the WAL, so that a confirmed position moves on where nothing is
    /// published, and how often the slot is looked at. Default 10 s; at least 10 ms.
    #[must_use]
    pub fn heartbeat(mut self, period: Duration) -> Self {
        self.settings.heartbeat = period.max(Duration::from_millis(10));
        self
    }

    /// Drops the slot when it holds more WAL than that, and scans for five minutes, before the slot is made anew: the disk
    /// is worth more than the stream, and nothing is lost. `None` never drops it. Default 4 GiB. Only a living instance can
    /// do it: set the server's `max_slot_wal_keep_size` against the death of all, or watch the slot with
    /// [`ChangeSlot::drop_above`](super::ChangeSlot::drop_above).
    #[must_use]
    pub fn guard(mut self, bytes: Option<u64>) -> Self {
        self.settings.guard_bytes = bytes;
        self
    }

    /// How long the table is scanned after the guard dropped the slot. Default 5 min.
    #[must_use]
    pub fn guard_pause(mut self, pause: Duration) -> Self {
        self.settings.guard_pause = pause;
        self
    }

    /// How often an instance that waits for the slot looks whether it is free. Default 1 s.
    #[must_use]
    pub fn standby_pause(mut self, pause: Duration) -> Self {
        self.settings.standby_pause = pause.max(Duration::from_millis(1));
        self
    }

    /// Pauses between tries to get the stream back: the first, doubled up to the longest. Default 250 ms, 30 s.
    #[must_use]
    pub fn reconnect(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.first_pause = first.max(Duration::from_millis(1));
        self.settings.longest_pause = longest.max(self.settings.first_pause);
        self
    }
}

fn made(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let allowed = name.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '_' });
    allowed.take(LONGEST_NAME).collect()
}

fn checked(what: &'static str, name: &str) -> Result<String, Error> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > LONGEST_NAME {
        "it is too long"
    } else if name.starts_with(|first: char| first.is_ascii_digit()) {
        "it begins with a digit"
    } else if !name.bytes().all(is_allowed) {
        "it has other characters than small ASCII letters, digits and _"
    } else {
        return Ok(name.to_owned());
    };
    Err(Error::Name { what, name: name.chars().take(80).collect(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_more_than_names_are_refused() {
        for bad in ["", "1st", "a b", "a;b", "A", "a.b", "naïve", "a'", &"x".repeat(64)] {
            assert!(matches!(checked("slot", bad), Err(Error::Name { what: "slot", .. })), "{bad:?}");
        }
        assert_eq!(checked("slot", "relay_2").unwrap(), "relay_2");
    }

    #[test]
    fn default_names_tell_databases_and_schemas_apart() {
        let schema = Schema::default().within("Msg").unwrap();
        let settings = Settings::named_after("my-shop", &schema);
        assert_eq!(settings.slot, "tenonmq_my_shop_msg_msg_published");
        assert_eq!(settings.publication, "tenonmq_msg_msg_published");
        assert!(Settings::named_after(&"long".repeat(30), &schema).slot.len() <= LONGEST_NAME);
    }
}
