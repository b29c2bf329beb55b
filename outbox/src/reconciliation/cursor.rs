//! Walking through a source.

use std::vec;

use super::{Record, Source, Trouble};

/// A place in a source. Invariant: keys never become smaller on the way.
pub(super) struct Cursor<S> {
    source: S,
    page: vec::IntoIter<Record>,
    current: Option<Record>,
    /// Of `current`, from 1.
    position: u64,
    is_at_end: bool,
}

impl<S: Source> Cursor<S> {
    /// Before the first record.
    pub(super) fn new(source: S) -> Self {
        Self { source, page: Vec::new().into_iter(), current: None, position: 0, is_at_end: false }
    }

    pub(super) fn name(&self) -> &str {
        self.source.name()
    }

    /// The key of the record where it is; `None` at the end.
    pub(super) fn key(&self) -> Option<&str> {
        self.current.as_ref().map(Record::key)
    }

    /// To the next record. Returns the one before.
    pub(super) async fn advance(&mut self) -> Result<Option<Record>, Trouble> {
        let mut next = self.page.next();
        if next.is_none() && !self.is_at_end {
            self.page = self.source.page().await?.into_iter();
            next = self.page.next();
            self.is_at_end = next.is_none();
        }
        let previous = std::mem::replace(&mut self.current, next);
        self.position += u64::from(self.current.is_some());
        if let (Some(previous), Some(current)) = (&previous, &self.current)
            && previous.key > current.key
        {
            return Err(Trouble::Unsorted {
                name: self.source.name().to_owned(),
                key: current.key.clone(),
                previous: previous.key.clone(),
                position: self.position,
            });
        }
        Ok(previous)
    }

    /// The record where it is; goes on.
    pub(super) async fn take(&mut self) -> Result<Option<Record>, Trouble> {
        self.advance().await
    }

    /// The record where it is, with its place, if it has the key of `taken`; goes on then.
    pub(super) async fn take_copy(&mut self, taken: &Record) -> Result<Option<(Record, u64)>, Trouble> {
        if self.key() != Some(taken.key()) {
            return Ok(None);
        }
        let position = self.position;
        Ok(self.advance().await?.map(|record| (record, position)))
    }
}
