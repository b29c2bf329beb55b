//! The version stamp that config files carry (`dataVersion`).
//!
//! Name servers, slaves and dashboards compare it to learn whether a table has changed.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A version of one table: raised on every change, never reset.
///
/// Equality needs all three fields; the order looks at the state version, then the counter, then the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Number of changes so far.
    pub counter: i64,
    /// Epoch of the master that made the change; 0 without a controller.
    pub state_version: i64,
    /// When the change was made, in milliseconds since the Unix epoch.
    pub timestamp: i64,
}

impl DataVersion {
    /// The version of a table that has not changed since `now_ms`.
    pub fn starting_at(now_ms: i64) -> Self {
        Self { counter: 0, state_version: 0, timestamp: now_ms }
    }

    /// Records one more change, made at `now_ms` under the master epoch `state_version`.
    pub fn raise(&mut self, state_version: i64, now_ms: i64) {
        self.counter = self.counter.wrapping_add(1);
        self.state_version = state_version;
        self.timestamp = now_ms;
    }
}

impl Default for DataVersion {
    fn default() -> Self {
        Self::starting_at(0)
    }
}

impl PartialOrd for DataVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DataVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |v: &Self| (v.state_version, v.counter, v.timestamp);
        key(self).cmp(&key(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_and_writes_the_members_of_the_reference() {
        let text = r#"{"counter":3,"stateVersion":0,"timestamp":1795248139547}"#;
        let version: DataVersion = serde_json::from_str(text).unwrap();
        assert_eq!(version, DataVersion { counter: 3, state_version: 0, timestamp: 1_795_248_139_547 });
        assert_eq!(serde_json::to_string(&version).unwrap(), text);
    }

    #[test]
    fn the_master_epoch_outweighs_the_counter_and_the_counter_the_time() {
        let version = |state_version, counter, timestamp| DataVersion { counter, state_version, timestamp };
        assert!(version(1, 0, 0) > version(0, 9, 9));
        assert!(version(0, 2, 0) > version(0, 1, 9));
        assert!(version(0, 1, 2) > version(0, 1, 1));
    }

    #[test]
    fn a_raise_counts_one_and_takes_the_time() {
        let mut version = DataVersion::starting_at(10);
        version.raise(0, 25);
        assert_eq!(version, DataVersion { counter: 1, state_version: 0, timestamp: 25 });
    }
}
