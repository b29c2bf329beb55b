//! A map from names to shared values that is read far more often than its keys change.
//!
//! Readers load a snapshot and take no lock. A change of keys copies one of [`SHARDS`] parts, so that even a hundred
//! thousand names are added in good time.

use std::{
    hash::{BuildHasher, BuildHasherDefault},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHasher};

const SHARDS: usize = 64;

type Table<V> = FxHashMap<Arc<str>, Arc<V>>;

#[derive(Debug)]
struct Shard<V> {
    table: ArcSwap<Table<V>>,
    changing: Mutex<()>,
}

/// Names → shared values, with a limit on the number of names.
#[derive(Debug)]
pub struct SnapshotMap<V> {
    shards: Box<[Shard<V>]>,
    len: AtomicUsize,
    limit: usize,
}

impl<V> SnapshotMap<V> {
    /// An empty map that takes `limit` names. Names added at the same moment may exceed it by a few.
    pub fn with_limit(limit: usize) -> Self {
        let shard = |_| Shard { table: ArcSwap::default(), changing: Mutex::default() };
        Self { shards: (0..SHARDS).map(shard).collect(), len: AtomicUsize::new(0), limit }
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<Arc<V>> {
        self.shard(name).table.load().get(name).cloned()
    }

    /// What `look` makes of the value of that name, without counting a reference.
    pub fn with<T>(&self, name: &str, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.shard(name).table.load().get(name).map(|value| look(value))
    }

    /// The value of that name, made by `make` when it is missing. `None` when the map is full. True with a new one.
    pub fn get_or_insert(&self, name: &str, make: impl FnOnce() -> V) -> Option<(Arc<V>, bool)> {
        if let Some(value) = self.get(name) {
            return Some((value, false));
        }
        let shard = self.shard(name);
        let _changing = shard.changing.lock();
        if let Some(value) = self.get(name) {
            return Some((value, false));
        }
        if self.len() >= self.limit {
            return None;
        }
        let value = Arc::new(make());
        self.edit(shard, |table| drop(table.insert(name.into(), Arc::clone(&value))));
        Some((value, true))
    }

    /// Sets the value of that name; the one before it. An error when the name is new and the map is full.
    pub fn insert(&self, name: &str, value: Arc<V>) -> Result<Option<Arc<V>>, Full> {
        let shard = self.shard(name);
        let _changing = shard.changing.lock();
        let before = self.get(name);
        if before.is_none() && self.len() >= self.limit {
            return Err(Full { limit: self.limit });
        }
        self.edit(shard, |table| drop(table.insert(name.into(), value)));
        Ok(before)
    }

    /// Removes a name; its value.
    pub fn remove(&self, name: &str) -> Option<Arc<V>> {
        self.remove_if(name, |_| true)
    }

    /// Removes a name if `condition` holds for its value, which nobody can replace meanwhile.
    pub fn remove_if(&self, name: &str, condition: impl FnOnce(&Arc<V>) -> bool) -> Option<Arc<V>> {
        let shard = self.shard(name);
        let _changing = shard.changing.lock();
        let value = self.get(name).filter(condition)?;
        self.edit(shard, |table| drop(table.remove(name)));
        Some(value)
    }

    /// Every name with its value, in no order.
    pub fn all(&self) -> Vec<(Arc<str>, Arc<V>)> {
        let pairs = |shard: &Shard<V>| {
            let table = shard.table.load_full();
            table.iter().map(|(name, value)| (Arc::clone(name), Arc::clone(value))).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(pairs).collect()
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Called with the shard's lock held.
    fn edit(&self, shard: &Shard<V>, change: impl FnOnce(&mut Table<V>)) {
        let mut table = Table::clone(&shard.table.load());
        let before = table.len();
        change(&mut table);
        let after = table.len();
        shard.table.store(Arc::new(table));
        self.len.fetch_add(after, Ordering::Relaxed);
        self.len.fetch_sub(before, Ordering::Relaxed);
    }

    fn shard(&self, name: &str) -> &Shard<V> {
        let hash = BuildHasherDefault::<FxHasher>::default().hash_one(name);
        let middle_bits = usize::from((hash >> 32) as u16); // the map inside uses the lowest and the highest ones
        &self.shards[middle_bits % SHARDS]
    }
}

/// A map that takes no further name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {limit} names already, and that is the limit")]
pub struct Full {
    /// Names that the map takes.
    pub limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_after_it_was_added_and_not_after_it_was_removed() {
        let map = SnapshotMap::with_limit(1000);
        for number in 0..200 {
            assert!(map.get_or_insert(&format!("name-{number}"), || number).is_some_and(|(_, new)| new));
        }
        assert_eq!(map.len(), 200);
        assert_eq!(map.get("name-17").as_deref(), Some(&17));
        assert_eq!(map.with("name-17", |value| value + 1), Some(18));
        assert_eq!(map.remove("name-17").as_deref(), Some(&17));
        assert_eq!(map.get("name-17"), None);
        assert_eq!(map.all().len(), 199);
    }

    #[test]
    fn a_second_insertion_of_a_name_finds_the_first() {
        let map = SnapshotMap::with_limit(10);
        map.get_or_insert("name", || 1);
        assert_eq!(map.get_or_insert("name", || 2), Some((Arc::new(1), false)));
        assert_eq!(map.insert("name", Arc::new(3)), Ok(Some(Arc::new(1))));
        assert_eq!(map.get("name").as_deref(), Some(&3));
    }

    #[test]
    fn a_full_map_takes_no_new_name_but_new_values() {
        let map = SnapshotMap::with_limit(1);
        map.get_or_insert("one", || 1);
        assert_eq!(map.get_or_insert("two", || 2), None);
        assert_eq!(map.insert("two", Arc::new(2)), Err(Full { limit: 1 }));
        assert_eq!(map.insert("one", Arc::new(5)), Ok(Some(Arc::new(1))));
        map.remove("one");
        assert!(map.get_or_insert("two", || 2).is_some());
    }

    #[test]
    fn a_conditional_removal_leaves_what_does_not_match() {
        let map = SnapshotMap::with_limit(10);
        map.get_or_insert("one", || 1);
        assert_eq!(map.remove_if("one", |value| **value == 2), None);
        assert_eq!(map.len(), 1);
    }
}
