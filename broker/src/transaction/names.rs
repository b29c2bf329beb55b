//! Group and topic names as small numbers, so that a pending message holds four bytes for each.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Names without a pending message are kept up to this many, so that steady traffic allocates none.
const KEEP_IDLE: usize = 4096;

/// Number of a name within one [`Names`].
pub(super) type NameId = u32;

/// What is known about one name, beside the name.
#[derive(Debug)]
pub(super) struct Named<T> {
    /// The name itself.
    pub(super) name: Arc<str>,
    /// Pending messages that refer to it.
    pub(super) pending: u64,
    /// What else is kept for it.
    pub(super) state: T,
}

/// Names in use. An id stays valid while its name has pending messages.
#[derive(Debug)]
pub(super) struct Names<T> {
    ids: FxHashMap<Arc<str>, NameId>,
    slots: Vec<Option<Named<T>>>,
    free: Vec<NameId>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { ids: FxHashMap::default(), slots: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Names<T> {
    /// The id of `name`, with one more pending message counted.
    pub(super) fn acquire(&mut self, name: &str) -> NameId {
        let id = match self.ids.get(name) {
            Some(&id) => id,
            None => self.insert(name),
        };
        if let Some(named) = self.get_mut(id) {
            named.pending += 1;
        }
        id
    }

    /// Counts one pending message less.
    pub(super) fn release(&mut self, id: NameId) {
        if let Some(named) = self.get_mut(id) {
            named.pending = named.pending.saturating_sub(1);
        }
    }

    /// The id of `name` if it is in use.
    pub(super) fn id(&self, name: &str) -> Option<NameId> {
        self.ids.get(name).copied()
    }

    /// What is known about `id`.
    pub(super) fn get(&self, id: NameId) -> Option<&Named<T>> {
        self.slots.get(id as usize)?.as_ref()
    }

    /// What is known about `id`, to change it.
    pub(super) fn get_mut(&mut self, id: NameId) -> Option<&mut Named<T>> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    /// Every name that is kept, those without pending messages included.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Named<T>> {
        self.slots.iter().flatten()
    }

    fn insert(&mut self, name: &str) -> NameId {
        if self.free.is_empty() && self.ids.len() >= KEEP_IDLE && self.ids.len().is_power_of_two() {
            self.drop_idle();
        }
        let name: Arc<str> = name.into();
        let named = Named { name: Arc::clone(&name), pending: 0, state: T::default() };
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(slot) = self.slots.get_mut(id as usize) {
                    *slot = Some(named);
                }
                id
            }
            None => {
                self.slots.push(Some(named));
                (self.slots.len() - 1) as NameId
            }
        };
        self.ids.insert(name, id);
        id
    }

    fn drop_idle(&mut self) {
        for (id, slot) in self.slots.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(|named| named.pending == 0)
                && let Some(named) = slot.take()
            {
                self.ids.remove(&named.name);
                self.free.push(id as NameId);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_pending_messages_make_room_before_the_table_grows_without_bound() {
        let mut names = Names::<()>::default();
        let kept = names.acquire("kept");
        for n in 0..20 * KEEP_IDLE {
            let id = names.acquire(&format!("group {n}"));
            names.release(id);
        }
        assert!(names.slots.len() <= KEEP_IDLE);
        assert_eq!(names.id("kept"), Some(kept));
        assert_eq!(names.get(kept).map(|named| named.pending), Some(1));
    }
}
