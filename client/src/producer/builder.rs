//! Building a [`Producer`].

use std::{sync::Arc, time::Duration};

use super::{Producer, Replies, Settings, role::ProducerRole};
use crate::{
    config::{ClientConfig, Compression, validate_group},
    error::Error,
    session::Session,
};

/// Settings of a producer; ends in [`connect`](Self::connect).
#[derive(Debug, Clone)]
#[must_use]
pub struct ProducerBuilder {
    client: ClientConfig,
    settings: Settings,
}

impl ProducerBuilder {
    pub(crate) fn new(client: ClientConfig) -> Self {
        Self { client, settings: Settings::default() }
    }

    /// The producer group. Required. Letters, digits, `_`, `-`, `%`, `|`.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.settings.group = group.into();
        self
    }

    /// Longest duration of one send, retries included. Default 3 s.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.settings.send_timeout = timeout;
        self
    }

    /// Further attempts after a send failed in a way that may pass, at another queue and broker where there is one.
    /// Default 2.
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.retries = retries;
        self
    }

    /// How large bodies are compressed. Default zlib, which every client can read.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.settings.compression = compression;
        self
    }

    /// Bodies of more bytes than this are compressed. Default 4096; `usize::MAX` compresses none.
    pub fn compress_over(mut self, bytes: usize) -> Self {
        self.settings.compress_over = bytes;
        self
    }

    /// Largest body in bytes, before compression; a larger one is refused without sending. Default 4 MiB, which is
    /// also the broker's default.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.settings.max_message_size = bytes;
        self
    }

    pub(crate) fn delayed_halves(mut self) -> Self {
        self.settings.delayed_halves = true;
        self
    }

    /// Checks the settings and that a name server can be reached.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work, [`Error::Connect`] when no name server is reachable.
    pub async fn connect(self) -> Result<Producer, Error> {
        validate_group(&self.settings.group)?;
        let replies = Arc::new(Replies::default());
        let role = ProducerRole::new(&self.settings.group, Arc::clone(&replies), None);
        let session = Session::start(self.client, Arc::new(role)).await?;
        Ok(Producer::new(session, self.settings, replies))
    }

    pub(crate) fn into_parts(self) -> (ClientConfig, Settings) {
        (self.client, self.settings)
    }
}
