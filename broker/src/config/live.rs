//! The configuration of a running program: read without a lock, changed as a whole.
//!
//! Invariant: the typed snapshot is what [`Config::build`] makes of the values beside it. A change that
//! does not give a valid configuration changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tenonmq_storage::fs::{FileSystem, RealFs};
use tokio::sync::watch;

use super::keys::{self, Area};
use super::load::{FileText, Input, load};
use super::machine::Machine;
use super::model::Config;
use super::properties;
use super::updates;
use super::values::{ConfigError, Source, Values};

/// One key whose value a request changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The key.
    pub key: &'static str,
    /// What it amounted to before.
    pub from: String,
    /// What it is now.
    pub to: String,
}

/// Snapshot, values and the count of changes.
#[derive(Debug)]
pub struct LiveConfig {
    current: ArcSwap<Config>,
    machine: Machine,
    values: Mutex<Values>,
    /// Counts the requests that changed something.
    changes: watch::Sender<u64>,
    /// Where changes are kept for the next start.
    kept_in: Option<Kept>,
}

/// A file on a disk.
struct Kept {
    disk: Arc<dyn FileSystem>,
    path: PathBuf,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(f)
    }
}

/// Keys of the process that another process must not be able to change (upstream's own list).
const NEVER: &[&str] = &["configBlackList", "brokerConfigPath", "rocketmqHome", "configStorePath", "kvConfigPath"];

impl LiveConfig {
    /// Starts from what [`super::load()`] found.
    #[must_use]
    pub fn new(config: Config, values: Values, machine: Machine) -> Self {
        Self {
            current: ArcSwap::from_pointee(config),
            machine,
            values: Mutex::new(values),
            changes: watch::Sender::new(0),
            kept_in: None,
        }
    }

    /// Keeps changes in this file, from which [`super::load()`] is given them at the next start.
    #[must_use]
    pub fn keeping_changes_in(self, path: PathBuf) -> Self {
        self.keeping_changes_on(Arc::new(RealFs), path)
    }

    /// The same, on another disk: for tests that break it.
    #[must_use]
    pub fn keeping_changes_on(self, disk: Arc<dyn FileSystem>, path: PathBuf) -> Self {
        Self { kept_in: Some(Kept { disk, path }), ..self }
    }

    /// A configuration of these keys and values alone, for a broker inside another program or a test: nothing comes
    /// from the environment, and the defaults do not depend on the machine.
    ///
    /// # Errors
    /// [`ConfigError`], as for flags: an unknown key is one.
    pub fn embedded<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Arc<Self>, ConfigError> {
        Self::embedded_in(settings, None).map(Arc::new)
    }

    /// As [`embedded`](Self::embedded), with what requests changed before: it counts where no setting says otherwise.
    ///
    /// # Errors
    /// As [`embedded`](Self::embedded).
    pub fn embedded_in<'a>(
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
        changes: Option<FileText>,
    ) -> Result<Self, ConfigError> {
        let flag = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned(), "setting".to_owned());
        let input = Input { flags: settings.into_iter().map(flag).collect(), changes, ..Input::default() };
        let machine = Machine::for_tests();
        let loaded = load(&input, &machine)?;
        Ok(Self::new(loaded.config, loaded.values, machine))
    }

    /// The configuration at this moment, without touching memory that other threads write. Keep it no longer than it
    /// takes to serve one request, and not while waiting.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Config>> {
        self.current.load()
    }

    /// How many requests have changed something: the counter of the version that readers are told.
    #[must_use]
    pub fn changes(&self) -> u64 {
        *self.changes.borrow()
    }

    /// Wakes whoever holds it after each change; the snapshot is the new one by then.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Every key of the broker with what it amounts to.
    ///
    /// Answers GET_BROKER_CONFIG (26).
    #[must_use]
    pub fn get_all(&self) -> BTreeMap<String, String> {
        let areas = [Area::Store, Area::Broker, Area::Server, Area::Client, Area::Own];
        let mut all = self.values.lock().all_effective(&areas, &self.machine);
        let config = self.load();
        all.insert("haListenPort".into(), config.identity.ha_port.to_string());
        all
    }

    /// Every key of the name-server role with what it amounts to.
    ///
    /// Answers GET_NAMESRV_CONFIG (319).
    #[must_use]
    pub fn get_all_of_name_server(&self) -> BTreeMap<String, String> {
        let areas = [Area::NameServer, Area::Server];
        let mut all = self.values.lock().all_effective(&areas, &self.machine);
        let config = self.load();
        let config = &config.name_server;
        all.insert("listenPort".into(), config.port.to_string());
        all.insert("bindAddress".into(), config.bind.to_string());
        all.insert("kvConfigPath".into(), config.kv_path.display().to_string());
        let never = "configBlackList;configStorePath;kvConfigPath";
        all.insert("configBlackList".into(), never.into());
        all
    }

    /// [`LiveConfig::get_all`] as the text of the answer, one `key=value` a line without escapes.
    #[must_use]
    pub fn text_of(all: &BTreeMap<String, String>) -> String {
        let lines = all.iter().map(|(key, value)| format!("{key}={value}\n"));
        lines.collect()
    }

    /// Changes what the text names. Keys that nobody knows are ignored, as upstream does.
    ///
    /// Answers UPDATE_BROKER_CONFIG (25) and UPDATE_NAMESRV_CONFIG (318). All or nothing.
    ///
    /// # Errors
    /// [`ConfigError::Refused`] when a key is on the black list, [`ConfigError::BadValue`] or
    /// [`ConfigError::Conflict`] when the outcome would not be valid, [`ConfigError::Usage`] when the text
    /// is not properties.
    pub fn apply(&self, text: &str) -> Result<Vec<Changed>, ConfigError> {
        let entries = properties::parse(text).map_err(|e| ConfigError::Usage(e.to_string()))?;
        let mut held = self.values.lock();
        let refused = self.refused(&held);
        if let Some(entry) = entries.iter().find(|entry| refused.contains(&entry.key)) {
            let key = entry.key.clone();
            return Err(ConfigError::Refused { key });
        }
        let mut values = held.clone();
        let mut touched = Vec::new();
        for entry in &entries {
            if let Some(key) = keys::find(&entry.key) {
                values.set(key, &entry.value, Source::Update);
                touched.push(key);
            }
        }
        let config = Config::build(&values, &self.machine)?;
        touched.sort_by_key(|key| key.name);
        touched.dedup_by_key(|key| key.name);
        let changed: Vec<Changed> = touched
            .into_iter()
            .map(|key| Changed {
                key: key.name,
                from: held.effective(key, &self.machine).unwrap_or_default(),
                to: values.effective(key, &self.machine).unwrap_or_default(),
            })
            .filter(|change| change.from != change.to)
            .collect();
        if !changed.is_empty() {
            if let Some(Kept { disk, path }) = &self.kept_in {
                let written = updates::write(&**disk, path, &values);
                written.map_err(|source| ConfigError::NotKept { path: path.clone(), source })?;
            }
            *held = values;
            self.current.store(Arc::new(config));
            self.changes.send_modify(|changes| *changes += 1);
        }
        Ok(changed)
    }

    fn refused(&self, values: &Values) -> Vec<String> {
        let configured =
            keys::find("configBlackList").and_then(|key| values.effective(key, &self.machine)).unwrap_or_default();
        let configured = configured.split(';').map(|key| key.trim().to_owned());
        configured.chain(NEVER.iter().map(|&key| key.to_owned())).filter(|key| !key.is_empty()).collect()
    }
}
