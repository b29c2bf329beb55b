//! SQL conditions that groups have registered, kept in `config/consumerFilter.json` as Apache keeps them.
//!
//! Pulls do not read this table: they go by the subscription itself. It is here for the file, which an Apache broker on
//! the same directory goes by before its consumers come back. What is registered, by which version it is replaced, when
//! it counts as dead and when it is forgotten are Apache's rules (`ConsumerFilterManager`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tenonmq_protocol::body::{ConsumerFilterData, ConsumerFilters, SubscriptionData, TopicFilters};
use tenonmq_storage::{ConfigFile, FileError};
use tokio::sync::watch;

use super::{SQL92, bloom::Bloom, expressions::Expressions, is_tag_type};
use crate::{
    config,
    core::{self, Core, LoadError},
    group::stopped,
};

/// Name of the file below `config/`.
pub const FILE_NAME: &str = "consumerFilter.json";
/// Time between two savings.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// Whom a broker finds registered at its start counts as gone since so long, in milliseconds.
const GONE_BEFORE_START_MS: i64 = 30_000;

/// The table.
pub struct Registry {
    bloom: Bloom,
    max: usize,
    keep_dead_ms: i64,
    state: Mutex<State>,
    /// Held while it is written.
    file: Mutex<ConfigFile>,
}

#[derive(Default)]
struct State {
    /// By group, then by topic.
    groups: BTreeMap<String, BTreeMap<String, ConsumerFilterData>>,
    entries: usize,
    changed: bool,
}

impl Registry {
    /// The table of the file. All that it holds counts as dead until its consumers come back; places in bit maps of other
    /// settings make all of it worthless, as at Apache.
    ///
    /// # Errors
    /// The file and its backup exist and neither can be read.
    pub fn load(file: ConfigFile, settings: &config::Filters, now_ms: i64) -> Result<Self, LoadError> {
        let bloom = Bloom::new(settings.bloom_error_percent, settings.bloom_groups);
        let stored: ConsumerFilters = core::load_json(&file)?.unwrap_or_default();
        let all = stored.filter_data_by_topic.into_values().flat_map(|topic| topic.group_filter_data.into_values());
        let mut state = State::default();
        for mut data in all {
            if !bloom.gave(data.bloom_filter_data.as_ref()) {
                tracing::info!(
                    group = data.consumer_group,
                    "the bloom filter has changed; registered filters are dropped"
                );
                state = State::default();
                break;
            }
            if data.dead_time == 0 {
                data.dead_time = data.born_time.max(now_ms - GONE_BEFORE_START_MS);
            }
            state.put(data);
        }
        state.changed = false;
        let keep_dead_ms = i64::try_from(settings.keep_dead.as_millis()).unwrap_or(i64::MAX);
        Ok(Self { bloom, max: settings.max_registered, keep_dead_ms, state: Mutex::new(state), file: Mutex::new(file) })
    }

    /// Takes in what a member of `group` wants. Of topics that it wants no more, the conditions die.
    pub fn heard(&self, group: &str, wanted: &[SubscriptionData], expressions: &Expressions, now_ms: i64) {
        let has_conditions = wanted.iter().any(|data| !is_tag_type(data.expression_type.as_deref()));
        let mut state = self.state.lock();
        if !has_conditions && !state.groups.contains_key(group) {
            return;
        }
        for data in wanted {
            self.register(&mut state, group, data, expressions, now_ms);
        }
        state.kill(group, now_ms, |topic| !wanted.iter().any(|data| data.topic == *topic));
    }

    /// The last member of `group` has left.
    pub fn left(&self, group: &str, now_ms: i64) {
        self.state.lock().kill(group, now_ms, |_| true);
    }

    /// What a group has registered for a topic.
    pub fn get(&self, group: &str, topic: &str) -> Option<ConsumerFilterData> {
        self.state.lock().groups.get(group)?.get(topic).cloned()
    }

    /// Everything, in the shape of the file.
    pub fn body(&self) -> ConsumerFilters {
        let mut body = ConsumerFilters::default();
        for (group, topics) in &self.state.lock().groups {
            for (topic, data) in topics {
                let of_topic = body.filter_data_by_topic.entry(topic.clone());
                let of_topic = of_topic.or_insert_with(|| TopicFilters { topic: topic.clone(), ..Default::default() });
                of_topic.group_filter_data.insert(group.clone(), data.clone());
            }
        }
        body
    }

    /// Forgets what has been dead for `filterDataCleanTimeSpan`, and writes the file if something has changed. Blocks on
    /// the disk: not for a connection's task.
    ///
    /// # Errors
    /// The file cannot be written; the next call tries again.
    pub fn save(&self, now_ms: i64) -> Result<(), FileError> {
        let file = self.file.lock();
        {
            let mut state = self.state.lock();
            state.forget(now_ms, self.keep_dead_ms);
            if !std::mem::take(&mut state.changed) {
                return Ok(());
            }
        }
        let saved = core::save_json(&file, &self.body());
        if saved.is_err() {
            self.state.lock().changed = true;
        }
        saved
    }

    fn register(
        &self,
        state: &mut State,
        group: &str,
        wanted: &SubscriptionData,
        expressions: &Expressions,
        now_ms: i64,
    ) {
        let Some(kind) = wanted.expression_type.as_deref().filter(|kind| !is_tag_type(Some(kind))) else { return };
        if wanted.sub_string.is_empty() {
            return;
        }
        let bloom = self.bloom.of(group, &wanted.topic);
        let old = state.groups.get_mut(group).and_then(|topics| topics.get_mut(&wanted.topic));
        if let Some(old) = old {
            if wanted.sub_version < old.client_version {
                return;
            }
            let same = old.expression == wanted.sub_string && old.expression_type == kind;
            if wanted.sub_version == old.client_version || (same && old.bloom_filter_data.as_ref() == Some(&bloom)) {
                let revived = std::mem::take(&mut old.dead_time) != 0;
                let newer = std::mem::replace(&mut old.client_version, wanted.sub_version) != wanted.sub_version;
                state.changed |= revived || newer;
                return;
            }
        } else if state.entries >= self.max {
            tracing::warn!(group, topic = wanted.topic, limit = self.max, "a filter is not kept (filterDataMax)");
            return;
        }
        if kind != SQL92 || expressions.compile(&wanted.sub_string).is_err() {
            state.remove(group, &wanted.topic);
            return;
        }
        state.put(ConsumerFilterData {
            bloom_filter_data: Some(bloom),
            born_time: now_ms,
            client_version: wanted.sub_version,
            consumer_group: group.to_owned(),
            dead: false,
            dead_time: 0,
            expression: wanted.sub_string.clone(),
            expression_type: kind.to_owned(),
            topic: wanted.topic.clone(),
        });
    }
}

impl State {
    fn put(&mut self, data: ConsumerFilterData) {
        self.changed = true;
        let data = ConsumerFilterData { dead: is_dead(&data), ..data };
        let topics = self.groups.entry(data.consumer_group.clone()).or_default();
        if topics.insert(data.topic.clone(), data).is_none() {
            self.entries += 1;
        }
    }

    fn remove(&mut self, group: &str, topic: &str) {
        let Some(topics) = self.groups.get_mut(group) else { return };
        if topics.remove(topic).is_some() {
            self.entries -= 1;
            self.changed = true;
        }
        if topics.is_empty() {
            self.groups.remove(group);
        }
    }

    fn kill(&mut self, group: &str, now_ms: i64, dies: impl Fn(&str) -> bool) {
        for (topic, data) in self.groups.get_mut(group).into_iter().flatten() {
            if !is_dead(data) && dies(topic) {
                data.dead_time = now_ms;
                self.changed = true;
            }
            data.dead = is_dead(data);
        }
    }

    fn forget(&mut self, now_ms: i64, keep_dead_ms: i64) {
        let (groups, before) = (&mut self.groups, self.entries);
        let is_old = |data: &ConsumerFilterData| is_dead(data) && now_ms.saturating_sub(data.dead_time) >= keep_dead_ms;
        groups.retain(|_, topics| {
            let had = topics.len();
            topics.retain(|_, data| !is_old(data));
            self.entries -= had - topics.len();
            !topics.is_empty()
        });
        self.changed |= self.entries != before;
    }
}

fn is_dead(data: &ConsumerFilterData) -> bool {
    data.dead_time >= data.born_time
}

/// Saves the table on its period and at the end.
pub async fn keep_saved(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let mut last = false;
    while !last {
        last = tokio::select! {
            () = core.clock.sleep(SAVE_INTERVAL) => false,
            () = stopped(&mut stop) => true,
        };
        let core = Arc::clone(&core);
        match tokio::task::spawn_blocking(move || core.filters.save(core.clock.now_ms())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "consumer filters not saved; the next time tries again"),
            Err(error) => tracing::error!(%error, "saving consumer filters ended early"),
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
