//! The last so many keys, in memory.

use std::{
    collections::{HashSet, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
};

use parking_lot::Mutex;

use super::{Claim, Deduplicator};
use crate::consumer::Failure;

/// Remembers the keys that were completed last, in this process. Clones share what they know, so that several consumers
/// may use one.
#[derive(Clone)]
pub struct RecentIds(Arc<Mutex<Known>>);

struct Known {
    capacity: NonZeroUsize,
    running: HashSet<Arc<str>>,
    done: HashSet<Arc<str>>,
    /// The completed ones, oldest first.
    order: VecDeque<Arc<str>>,
}

impl RecentIds {
    /// Remembers up to `capacity` completed keys (at least one), then forgets the oldest. A key takes about 150 bytes.
    pub fn new(capacity: usize) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        let known = Known { capacity, running: HashSet::new(), done: HashSet::new(), order: VecDeque::new() };
        Self(Arc::new(Mutex::new(known)))
    }

    /// How many completed keys are remembered.
    pub fn len(&self) -> usize {
        self.0.lock().order.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Deduplicator for RecentIds {
    async fn claim(&self, key: &str) -> Result<Claim, Failure> {
        let mut known = self.0.lock();
        Ok(if known.done.contains(key) {
            Claim::Done
        } else if known.running.insert(key.into()) {
            Claim::New
        } else {
            Claim::InProgress
        })
    }

    async fn complete(&self, key: &str) -> Result<(), Failure> {
        let mut known = self.0.lock();
        let key = known.running.take(key).unwrap_or_else(|| key.into());
        if known.done.insert(Arc::clone(&key)) {
            known.order.push_back(key);
        }
        while known.order.len() > known.capacity.get() {
            if let Some(oldest) = known.order.pop_front() {
                known.done.remove(&oldest);
            }
        }
        Ok(())
    }

    fn release(&self, key: &str) {
        self.0.lock().running.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_key_is_forgotten_first() {
        let ids = RecentIds::new(2);
        for key in ["a", "b", "a", "c"] {
            if ids.claim(key).await.unwrap() == Claim::New {
                ids.complete(key).await.unwrap();
            }
        }
        assert_eq!(ids.len(), 2);
        assert_eq!(ids.claim("c").await.unwrap(), Claim::Done);
        assert_eq!(ids.claim("b").await.unwrap(), Claim::Done);
        assert_eq!(ids.claim("a").await.unwrap(), Claim::New);
    }
}
