//! Several listeners in one producer.

use std::{collections::HashMap, fmt, future::Future};

use futures_util::future::BoxFuture;
use tracing::warn;

use super::{Check, CheckError, CheckListener, LocalState};

/// Sends each check to the listener of its message's topic and tag, so that one producer serves several kinds of
/// transactions.
///
/// The listener of topic and tag goes before that of the topic, and this before [`otherwise`](Self::otherwise). A check that
/// nobody serves is answered [`LocalState::Unknown`]: a newer version of the service may know it. A second listener for the
/// same place takes it over.
///
/// ```
/// use tenonmq_client::{Check, CheckRouter, LocalState};
/// # async fn is_paid(_: Option<&str>) -> Result<bool, std::io::Error> { Ok(true) }
/// let router = CheckRouter::new()
///     .on_topic("paid", async |check: Check| {
///         let paid = is_paid(check.key()).await?; // an error is answered "unknown"
///         Ok::<_, std::io::Error>(if paid { LocalState::Commit } else { LocalState::Unknown })
///     })
///     .on("paid", "vip", async |_: Check| LocalState::Commit);
/// # drop(router);
/// ```
#[derive(Default)]
#[must_use]
pub struct CheckRouter {
    topics: HashMap<String, Topic>,
    otherwise: Option<Boxed>,
}

#[derive(Default)]
struct Topic {
    tags: HashMap<String, Boxed>,
    any: Option<Boxed>,
}

type Boxed = Box<dyn ErasedListener>;

impl CheckRouter {
    /// A router without listeners.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves the checks of one topic, whatever the tag.
    pub fn on_topic(mut self, topic: impl Into<String>, listener: impl CheckListener) -> Self {
        self.topics.entry(topic.into()).or_default().any = Some(Box::new(listener));
        self
    }

    /// Serves the checks of messages with one tag in one topic.
    pub fn on(mut self, topic: impl Into<String>, tag: impl Into<String>, listener: impl CheckListener) -> Self {
        self.topics.entry(topic.into()).or_default().tags.insert(tag.into(), Box::new(listener));
        self
    }

    /// Serves all other checks.
    pub fn otherwise(mut self, listener: impl CheckListener) -> Self {
        self.otherwise = Some(Box::new(listener));
        self
    }

    fn listener(&self, check: &Check) -> Option<&dyn ErasedListener> {
        let message = check.message();
        let topic = self.topics.get(message.topic());
        let by_tag = || topic?.tags.get(message.tags()?);
        by_tag().or_else(|| topic?.any.as_ref()).or(self.otherwise.as_ref()).map(|listener| &**listener)
    }
}

impl CheckListener for CheckRouter {
    async fn check_local_transaction(&self, check: Check) -> Result<LocalState, CheckError> {
        match self.listener(&check) {
            Some(listener) => listener.check(check).await,
            None => {
                let (topic, tag) = (check.message().topic(), check.message().tags());
                warn!(topic, tag, "a check that no listener serves: unknown is answered");
                Ok(LocalState::Unknown)
            }
        }
    }
}

impl fmt::Debug for CheckRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckRouter").field("topics", &self.topics.keys()).finish_non_exhaustive()
    }
}

/// A [`CheckListener`] behind a pointer.
trait ErasedListener: Send + Sync {
    fn check(&self, check: Check) -> BoxFuture<'_, Result<LocalState, CheckError>>;
}

impl<L: CheckListener> ErasedListener for L {
    fn check(&self, check: Check) -> BoxFuture<'_, Result<LocalState, CheckError>> {
        let answer: Box<dyn Future<Output = _> + Send + '_> = Box::new(self.check_local_transaction(check));
        answer.into()
    }
}
