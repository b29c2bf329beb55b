//! Telling the sender that what it asked for will not be.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;

use super::{BoxError, Missing, Repair, Repaired};
use crate::{
    database::{Dialect, begin},
    error::Error,
    fault::Point,
    inbox::Inbox,
    message::{Incoming, Outgoing},
    outbox::Outbox,
};

type Content = Box<dyn Fn(&Missing) -> Bytes + Send + Sync>;
type Barred = Pin<Box<dyn Future<Output = Result<bool, Error>> + Send>>;
type Bar = Arc<dyn Fn(Incoming) -> Barred + Send + Sync>;

/// Publishes a failure event, once for each business key: its business id is the key and `/failed`. That closes the gap.
///
/// The message that nobody acknowledged may still come to its receiver, which would then do what the sender believes to have
/// failed. [`barring`](Self::barring) makes that impossible where the receiver's database can be reached.
pub struct FailureEvent<D: Dialect> {
    outbox: Outbox<D>,
    topic: String,
    content: Option<Content>,
    bar: Option<Bar>,
}

impl<D: Dialect> FailureEvent<D> {
    /// Publishes through that outbox, to the sender's failure topic. The content is a JSON object with `key`, `topic` and
    /// `cause`.
    pub fn to(topic: impl Into<String>, outbox: &Outbox<D>) -> Self {
        Self { outbox: outbox.clone(), topic: topic.into(), content: None, bar: None }
    }

    /// Publishes another content: the same each time for the same thing.
    #[must_use]
    pub fn content<C: Into<Bytes>>(mut self, content: impl Fn(&Missing) -> C + Send + Sync + 'static) -> Self {
        self.content = Some(Box::new(move |missing| content(missing).into()));
        self
    }

    /// [Bars](Inbox::bar) the receiver's inbox for the message before the event is published. If it turns out that the
    /// message has been handled, nothing is published.
    #[must_use]
    pub fn barring<E: Dialect>(mut self, inbox: &Inbox<E>) -> Self {
        let inbox = inbox.clone();
        self.bar = Some(Arc::new(move |message| {
            let inbox = inbox.clone();
            Box::pin(async move { inbox.bar(&message, "its sender was told that it failed").await })
        }));
        self
    }

    fn event(&self, missing: &Missing) -> Outgoing {
        let content = match &self.content {
            Some(content) => content(missing),
            None => {
                let event = serde_json::json!({
                    "key": missing.key(),
                    "topic": missing.message.topic(),
                    "cause": "no counterpart",
                });
                event.to_string().into()
            }
        };
        Outgoing::new(&self.topic, format!("{}/failed", missing.key()), content)
    }
}

impl<D: Dialect> Repair for FailureEvent<D> {
    fn name(&self) -> &str {
        "failure_event"
    }

    async fn repair(&self, missing: &Missing) -> Result<Repaired, BoxError> {
        if let Some(bar) = &self.bar {
            if !bar(missing.message.clone()).await? {
                return Ok(Repaired::Begun("it has been handled: nobody is told of a failure".to_owned()));
            }
            self.outbox.0.faults.pass(Point::GapBarred)?;
        }
        let mut transaction = begin(&self.outbox.0.pool).await.map_err(Error::from)?;
        self.outbox.publish(&mut transaction, &self.event(missing)).await?;
        transaction.commit().await?;
        self.outbox.wake();
        Ok(Repaired::Settled(format!("{:?} is told that it failed", self.topic)))
    }
}

impl<D: Dialect> fmt::Debug for FailureEvent<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureEvent").field("topic", &self.topic).finish_non_exhaustive()
    }
}
