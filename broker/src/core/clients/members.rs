//! The members of one group: who is connected, and when each was last heard of.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use arc_swap::ArcSwap;
use tenonmq_protocol::{Language, body::SubscriptionData};

use super::wants::Wants;
use crate::remoting::Connection;

/// What a heartbeat says about its sender.
#[derive(Debug, Clone, Copy)]
pub struct ClientInfo<'a> {
    /// The connection that it came over.
    pub connection: &'a Arc<Connection>,
    /// Name that the client gave itself; unique among live clients when they are configured well.
    pub client_id: &'a str,
    /// What it is written in.
    pub language: Language,
    /// Its version, as an ordinal (`remoting.md` section 1.5).
    pub version: i32,
}

/// One connection that belongs to a group.
#[derive(Debug)]
pub struct Member {
    connection: Arc<Connection>,
    client_id: Arc<str>,
    language: Language,
    version: i32,
    last_seen_ms: AtomicI64,
    wants: ArcSwap<Wants>,
}

impl Member {
    fn new(info: &ClientInfo<'_>, now_ms: i64) -> Self {
        Self {
            connection: Arc::clone(info.connection),
            client_id: info.client_id.into(),
            language: info.language,
            version: info.version,
            last_seen_ms: AtomicI64::new(now_ms),
            wants: ArcSwap::default(),
        }
    }

    /// Where to reach it.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The name that it gave itself.
    pub fn client_id(&self) -> &Arc<str> {
        &self.client_id
    }

    /// What it is written in.
    pub fn language(&self) -> Language {
        self.language
    }

    /// Its version, as an ordinal.
    pub fn version(&self) -> i32 {
        self.version
    }

    /// When its last heartbeat came, in milliseconds since the Unix epoch.
    pub fn last_seen_ms(&self) -> i64 {
        self.last_seen_ms.load(Ordering::Relaxed)
    }

    pub(super) fn wants(&self) -> Arc<Wants> {
        self.wants.load_full()
    }

    fn seen(&self, now_ms: i64) {
        self.last_seen_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// Members ordered by connection, oldest first.
///
/// A list that became empty is `retired` together with its group: whoever still holds the group has to get it anew.
#[derive(Debug, Default)]
pub(super) struct MemberList {
    members: Vec<Arc<Member>>,
    pub(super) retired: bool,
}

impl MemberList {
    /// Notes a heartbeat; true when the connection was not a member before.
    ///
    /// A connection that names itself differently than before is the same member under its new name.
    pub(super) fn seen(&mut self, info: &ClientInfo<'_>, now_ms: i64) -> bool {
        match self.position(info.connection.id()) {
            Ok(index) => {
                let member = &mut self.members[index];
                if *member.client_id == *info.client_id {
                    member.seen(now_ms);
                } else {
                    tracing::warn!(old = %member.client_id, new = info.client_id, "a connection changed its client id");
                    let renamed = Member::new(info, now_ms);
                    renamed.wants.store(member.wants());
                    *member = Arc::new(renamed);
                }
                false
            }
            Err(index) => {
                self.members.insert(index, Arc::new(Member::new(info, now_ms)));
                true
            }
        }
    }

    /// Notes what a member wants; true when it wants something else than before.
    pub(super) fn wants(&self, connection_id: u64, wanted: &[SubscriptionData]) -> bool {
        let Ok(at) = self.position(connection_id) else { return false };
        let member = &self.members[at];
        let before = member.wants();
        if before.is(wanted) {
            return false;
        }
        let wants = Arc::new(Wants::of(wanted));
        let is_new = !before.agrees(&wants);
        member.wants.store(wants);
        is_new
    }

    pub(super) fn remove(&mut self, connection_id: u64) -> Option<Arc<Member>> {
        self.position(connection_id).ok().map(|index| self.members.remove(index))
    }

    /// Removes and returns those last seen before `before_ms`.
    pub(super) fn remove_silent(&mut self, before_ms: i64) -> Vec<Arc<Member>> {
        self.members.extract_if(.., |member| member.last_seen_ms() < before_ms).collect()
    }

    /// Carries out a removal, and retires the list when nobody is left.
    pub(super) fn depart(&mut self, remove: impl FnOnce(&mut Self) -> Vec<Arc<Member>>) -> Departure {
        let gone = remove(self);
        self.retired |= self.members.is_empty();
        Departure { gone, last: self.retired, conflict_changed: false }
    }

    pub(super) fn has(&self, connection_id: u64) -> bool {
        self.position(connection_id).is_ok()
    }

    pub(super) fn all(&self) -> &[Arc<Member>] {
        &self.members
    }

    fn position(&self, connection_id: u64) -> Result<usize, usize> {
        self.members.binary_search_by_key(&connection_id, |member| member.connection.id())
    }
}

/// Members that left a group.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) gone: Vec<Arc<Member>>,
    /// Nobody is left; the group is retired.
    pub(super) last: bool,
    /// Where members disagree has changed.
    pub(super) conflict_changed: bool,
}
