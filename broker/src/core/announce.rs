//! Telling the name servers about a changed topic before the change is answered.

use std::{future::Future, pin::Pin, sync::OnceLock};

use tenonmq_protocol::body::TopicConfig;

/// Whoever keeps the name servers informed.
pub trait Announce: Send + Sync + 'static {
    /// Resolves when the name servers were told, or could not be reached in time.
    fn topic_changed(&self, topic: &TopicConfig) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A place for an [`Announce`] that is made after the tables it announces.
#[derive(Default)]
pub struct Announcer(OnceLock<Box<dyn Announce>>);

impl Announcer {
    /// Announces through `announce` from now on. Only the first call counts.
    pub fn set(&self, announce: impl Announce) {
        let _ = self.0.set(Box::new(announce));
    }

    /// Makes a new or changed topic known.
    pub async fn topic_changed(&self, topic: &TopicConfig) {
        if let Some(announce) = self.0.get() {
            announce.topic_changed(topic).await;
        }
    }
}
