//! What a scan asks: what should have a counterpart, and what has one.

use std::{error::Error as StdError, future::Future};

use bytes::Bytes;

use super::Missing;
use crate::{database::Dialect, inbox::Inbox, message::Incoming};

/// Whatever a query or a repair of the user's own fails with.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Which page of all things a scan asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Where it begins: after the thing with this cursor. Empty for the first page ever.
    pub after: String,
    /// Only things that came to be before that; ms since the Unix epoch.
    pub before_ms: i64,
    /// The time; ms since the Unix epoch.
    pub now_ms: i64,
    /// How many at most.
    pub limit: u32,
}

impl Page {
    /// The cursor, for things that are numbered; 0 for the first page.
    pub fn after_number(&self) -> i64 {
        self.after.parse().unwrap_or(0)
    }
}

/// A thing that should have a counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub(super) cursor: String,
    pub(super) key: String,
    pub(super) topic: String,
    pub(super) content: Option<Bytes>,
}

impl Item {
    /// `key` is the business key that it shares with its counterpart; `cursor` says where it is in the order of the query,
    /// in at most 255 bytes.
    pub fn new(cursor: impl ToString, key: impl Into<String>) -> Self {
        Self { cursor: cursor.to_string(), key: key.into(), topic: String::new(), content: None }
    }

    /// The message that should have made the counterpart: [`MakeUp`](super::MakeUp) and
    /// [`FailureEvent`](super::FailureEvent) are given it. At most 64 KiB.
    #[must_use]
    pub fn message(mut self, topic: impl Into<String>, content: impl Into<Bytes>) -> Self {
        self.topic = topic.into();
        self.content = Some(content.into());
        self
    }
}

/// A page of things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// The things, in the order of their cursors.
    pub items: Vec<Item>,
    /// Where the next page begins; `None` when this one is where the last one was.
    pub reached: Option<String>,
    /// Whether nothing more is old enough.
    pub is_last: bool,
    /// Which things cannot be read, and why: they are passed by, and told of.
    pub unreadable: Vec<String>,
}

/// The time, and what is old enough; both in ms since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Now.
    pub now_ms: i64,
    /// What is older than that is old enough.
    pub before_ms: i64,
}

/// How a thing without a counterpart stands at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is to be repaired, with this message where it is known.
    Lacking(Option<Incoming>),
    /// It is too early: to be looked at again then (ms since the Unix epoch), or after the compensation's age.
    NotYet(Option<i64>, String),
    /// No counterpart is due any more, and why.
    Void(String),
}

/// What should have a counterpart. An `async` closure from [`Page`] to `Result<Vec<Item>, _>` is one: things in ascending order
/// of their cursors, those after [`Page::after`] that are older than [`Page::before_ms`].
pub trait Expectation: Send + Sync + 'static {
    /// The next page. It must be found by an index: it is asked for again and again.
    fn expected(&self, page: Page) -> impl Future<Output = Result<Batch, BoxError>> + Send;

    /// How a thing stands, asked before each repair. Of the message key and topic are known, and what [`Item::message`]
    /// told.
    fn standing(&self, missing: &Missing, moment: Moment) -> impl Future<Output = Result<Standing, BoxError>> + Send {
        let _ = (missing, moment);
        std::future::ready(Ok(Standing::Lacking(None)))
    }
}

impl<F, Fut, E> Expectation for F
where
    F: Fn(Page) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<Item>, E>> + Send,
    E: Into<BoxError>,
{
    async fn expected(&self, page: Page) -> Result<Batch, BoxError> {
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let mut items = self(page).await.map_err(Into::into)?;
        let is_last = items.len() < limit;
        items.truncate(limit);
        let reached = items.last().map(|item| item.cursor.clone());
        Ok(Batch { reached, is_last, items, unreadable: Vec::new() })
    }
}

/// What has a counterpart. An `async` closure from keys (`Vec<String>`) to those of them that exist on the other side
/// (`Result<Vec<String>, _>`) is one; so is the [`Inbox`] of another service, whose database can be reached.
pub trait Counterparts: Send + Sync + 'static {
    /// Those of the keys that exist on the other side.
    fn present(&self, keys: Vec<String>) -> impl Future<Output = Result<Vec<String>, BoxError>> + Send;

    /// Those of the keys which the other side has in hand: they are not repaired now.
    fn in_hand(&self, keys: Vec<String>) -> impl Future<Output = Result<Vec<String>, BoxError>> + Send {
        let _ = keys;
        std::future::ready(Ok(Vec::new()))
    }
}

impl<F, Fut, E> Counterparts for F
where
    F: Fn(Vec<String>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<String>, E>> + Send,
    E: Into<BoxError>,
{
    async fn present(&self, keys: Vec<String>) -> Result<Vec<String>, BoxError> {
        self(keys).await.map_err(Into::into)
    }
}

/// What the group has handled is present; what failed and is tried again is in hand; what was given up is lacking.
impl<D: Dialect> Counterparts for Inbox<D> {
    async fn present(&self, keys: Vec<String>) -> Result<Vec<String>, BoxError> {
        Ok(self.keys_that_are("done", &keys).await?)
    }

    async fn in_hand(&self, keys: Vec<String>) -> Result<Vec<String>, BoxError> {
        Ok(self.keys_that_are("pending", &keys).await?)
    }
}
