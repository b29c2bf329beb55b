//! One producer group: whom to ask about its transactions.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

use super::members::{ClientInfo, Departure, Member, MemberList};
use crate::remoting::Connection;

/// A producer group with at least one member.
#[derive(Debug)]
pub struct ProducerGroup {
    name: Arc<str>,
    members: Mutex<MemberList>,
    /// Counts choices, so that they go round.
    choices: AtomicUsize,
}

impl ProducerGroup {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), members: Mutex::default(), choices: AtomicUsize::new(0) }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its members, oldest connection first.
    pub fn members(&self) -> Vec<Arc<Member>> {
        self.members.lock().all().to_vec()
    }

    /// Whether that connection is a member.
    pub fn has(&self, connection: &Connection) -> bool {
        self.members.lock().has(connection.id())
    }

    /// The next member in turn whose connection is open.
    pub fn next(&self) -> Option<Arc<Member>> {
        let members = self.members.lock();
        let all = members.all();
        let turn = self.choices.fetch_add(1, Ordering::Relaxed).checked_rem(all.len())?;
        let (earlier, rest) = all.split_at(turn); // the remainder is below the length
        rest.iter().chain(earlier).find(|member| member.connection().is_open()).cloned()
    }

    /// `None` when the group was just retired.
    pub(super) fn heard(&self, info: &ClientInfo<'_>, now_ms: i64) -> Option<bool> {
        let mut members = self.members.lock();
        (!members.retired).then(|| members.seen(info, now_ms))
    }

    pub(super) fn leave(&self, connection_id: u64) -> Departure {
        self.members.lock().depart(|members| members.remove(connection_id).into_iter().collect())
    }

    pub(super) fn drop_silent(&self, before_ms: i64) -> Departure {
        self.members.lock().depart(|members| members.remove_silent(before_ms))
    }
}
