//! Subscription groups: how each consumer group may consume.
//!
//! Lookups read a snapshot: no lock, no allocation. A change is in force at once and raises the data version;
//! `config/subscriptionGroup.json` is written behind it, off the connection's task ([`Groups::save`]), because a group
//! that a consumer's arrival created is created again by its next heartbeat. Whoever must not answer before the file is
//! written, as an administrator's request, calls [`Groups::save`] itself.
//!
//! Rules: `transactions-retry-delay.md` sections 2.3, 5.1 and 5.2; shape of the file: `store.md` section 9.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tenonmq_protocol::body::{DataVersion, SubscriptionGroupConfig, SubscriptionGroupTable};
use tenonmq_storage::{ConfigFile, FileError, light};
use tokio::sync::Notify;

use super::{
    LoadError,
    clock::Clock,
    names::{GROUP_MAX, SYSTEM_GROUP_PREFIX, illegal_character},
    snapshot_map::{Full, SnapshotMap},
    topics::{Change, raise},
};
use crate::config::LiveConfig;

/// Groups that every broker has.
pub const BUILT_IN_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Bit of a forbidden value that stands for reading (`PermName.INDEX_PERM_READ`).
const READ_BIT: i32 = 1 << 2;

/// Group → topic → bits of what the group must not do with the topic.
pub type ForbiddenTable = BTreeMap<String, BTreeMap<String, i32>>;

#[derive(Debug, Default)]
struct Versioned {
    version: DataVersion,
    /// Changes since the start.
    changes: u64,
}

/// The table of subscription groups.
pub struct Groups {
    table: SnapshotMap<SubscriptionGroupConfig>,
    forbidden: ArcSwap<ForbiddenTable>,
    versioned: Mutex<Versioned>,
    /// Changes that the file has. Held while it is written.
    saved: Mutex<u64>,
    changed: Notify,
    file: ConfigFile,
    config: Arc<LiveConfig>,
    clock: Clock,
}

impl Groups {
    /// The table of `config/subscriptionGroup.json`, with the groups added that every broker has.
    ///
    /// # Errors
    /// The file and its backup exist and neither can be read.
    pub fn load(file: ConfigFile, config: Arc<LiveConfig>, clock: Clock) -> Result<Self, LoadError> {
        let stored: SubscriptionGroupTable = super::load_json(&file)?.unwrap_or_default();
        let needed = stored.subscription_group_table.len() + BUILT_IN_GROUPS.len();
        let limit = config.load().topics.max_groups.max(needed);
        let groups = Self {
            table: SnapshotMap::with_limit(limit),
            forbidden: ArcSwap::from_pointee(stored.forbidden_table),
            versioned: Mutex::new(Versioned { version: stored.data_version, changes: 0 }),
            saved: Mutex::new(0),
            changed: Notify::new(),
            file,
            config,
            clock,
        };
        for (name, config) in stored.subscription_group_table {
            let config = SubscriptionGroupConfig { group_name: name.clone(), ..config };
            groups.table.get_or_insert(&name, || config);
        }
        for name in BUILT_IN_GROUPS {
            groups.table.get_or_insert(name, || group(name));
        }
        Ok(groups)
    }

    /// A group's configuration.
    pub fn get(&self, name: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.table.get(name)
    }

    /// Whether the group exists.
    pub fn contains(&self, name: &str) -> bool {
        self.table.with(name, |_| ()).is_some() || self.is_light(name)
    }

    /// Whether it is a group of light queues: these are many, have nothing to say, and exist without being created.
    fn is_light(&self, name: &str) -> bool {
        light::is_light(name) && self.config.load().topics.light
    }

    /// A group's configuration; a missing group is created if that is allowed and its name is legal. `None` also when
    /// there are too many groups.
    pub fn find_or_create(&self, name: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        if let Some(found) = self.get(name) {
            return Some(found);
        }
        if self.is_light(name) {
            return Some(Arc::new(group(name)));
        }
        if !self.may_create(name) {
            return None;
        }
        let created = self.table.get_or_insert(name, || group(name));
        let Some((config, new)) = created else {
            tracing::warn!(group = name, "not created: there are too many subscription groups");
            return None;
        };
        if new {
            tracing::info!(group = name, "created a subscription group for its first consumer");
            self.note_change();
        }
        Some(config)
    }

    /// Creates or replaces a group as an administrator says. Names and attributes are the caller's to check.
    ///
    /// # Errors
    /// The group is new and there are too many.
    pub fn put(&self, config: SubscriptionGroupConfig) -> Result<Change, Full> {
        let name = config.group_name.clone();
        let config = Arc::new(config);
        let before = self.table.insert(&name, Arc::clone(&config))?;
        self.note_change();
        Ok(match before {
            None => Change::Created,
            Some(old) if *old == *config => Change::Unchanged,
            Some(_) => Change::Updated,
        })
    }

    /// Removes a group and what it is forbidden. False when there was none. Its offsets and locks are the caller's.
    pub fn remove(&self, name: &str) -> bool {
        self.edit_forbidden(|table| table.remove(name).is_some());
        let existed = self.table.remove(name).is_some();
        if existed {
            self.note_change();
        }
        existed
    }

    /// Stops a group from consuming (`consumeEnable`). False when there is none.
    pub fn disable_consume(&self, name: &str) -> bool {
        let Some(old) = self.get(name) else { return false };
        let config = SubscriptionGroupConfig { consume_enable: false, ..(*old).clone() };
        self.put(config).is_ok()
    }

    /// Whether the group must not read the topic.
    pub fn is_forbidden(&self, group: &str, topic: &str) -> bool {
        self.forbidden_bits(group, topic) & READ_BIT != 0
    }

    /// What the group must not do with the topic; 0 when nothing is forbidden.
    pub fn forbidden_bits(&self, group: &str, topic: &str) -> i32 {
        let table = self.forbidden.load();
        table.get(group).and_then(|topics| topics.get(topic)).copied().unwrap_or(0)
    }

    /// Sets or clears one bit of what the group must not do with the topic.
    pub fn set_forbidden(&self, group: &str, topic: &str, bit: u32, forbid: bool) {
        let mask = 1_i32.checked_shl(bit).unwrap_or(0);
        let changed = self.edit_forbidden(|table| {
            let old = table.get(group).and_then(|topics| topics.get(topic)).copied().unwrap_or(0);
            let new = if forbid { old | mask } else { old & !mask };
            if new != 0 {
                table.entry(group.to_owned()).or_default().insert(topic.to_owned(), new);
            } else if let Some(topics) = table.get_mut(group) {
                topics.remove(topic);
                table.retain(|_, topics| !topics.is_empty());
            }
            old != new
        });
        if changed {
            self.note_change();
        }
    }

    /// Every group, in no order.
    pub fn all(&self) -> Vec<Arc<SubscriptionGroupConfig>> {
        self.table.all().into_iter().map(|(_, config)| config).collect()
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no group; never, as every broker has some.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Version of the table.
    pub fn version(&self) -> DataVersion {
        self.versioned.lock().version
    }

    /// The whole table in the shape of the file and of code 201.
    pub fn snapshot(&self) -> SubscriptionGroupTable {
        let version = self.version();
        let groups = self.table.all().into_iter();
        SubscriptionGroupTable {
            data_version: version,
            forbidden_table: ForbiddenTable::clone(&self.forbidden.load()),
            subscription_group_table: groups.map(|(name, config)| (name.to_string(), (*config).clone())).collect(),
        }
    }

    /// Resolves when there may be something to save.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Writes the file if it lacks changes. Blocks on the disk: not for a connection's task.
    ///
    /// # Errors
    /// The file cannot be written; the next call tries again.
    pub fn save(&self) -> Result<(), FileError> {
        let mut saved = self.saved.lock();
        let changes = self.versioned.lock().changes;
        if changes == *saved && self.file.path().exists() {
            return Ok(());
        }
        super::save_json(&self.file, &self.snapshot())?;
        *saved = changes;
        Ok(())
    }

    fn may_create(&self, name: &str) -> bool {
        let allowed = self.config.load().topics.auto_create_groups || name.starts_with(SYSTEM_GROUP_PREFIX);
        allowed && !name.is_empty() && name.chars().count() <= GROUP_MAX && illegal_character(name).is_none()
    }

    fn edit_forbidden(&self, edit: impl Fn(&mut ForbiddenTable) -> bool) -> bool {
        let _one_at_a_time = self.versioned.lock();
        let mut table = ForbiddenTable::clone(&self.forbidden.load());
        let changed = edit(&mut table);
        if changed {
            self.forbidden.store(Arc::new(table));
        }
        changed
    }

    fn note_change(&self) {
        {
            let mut versioned = self.versioned.lock();
            raise(&mut versioned.version, self.clock.now_ms());
            versioned.changes += 1;
        }
        self.changed.notify_one();
    }
}

/// A group as it is when nobody says otherwise.
pub fn group(name: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: name.to_owned(), ..SubscriptionGroupConfig::default() }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
