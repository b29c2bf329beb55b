//! Every configuration key that this program knows, what values it takes and what it is by default.
//!
//! Names and defaults are Apache RocketMQ's, so that its files can be used as they are; [`own`] has the
//! few that exist only here. A key in the table may have no effect in this program: thread-pool sizes,
//! for example, are accepted and shown again, and nothing reads them.
//!
//! Invariant: a name occurs once over all tables.

mod broker;
mod namesrv;
mod network;
mod own;
mod store;

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Bool,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A decimal fraction.
    Double,
    /// Any text.
    Text,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
}

/// What a key is when nobody sets it.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// This text.
    Fixed(&'static str),
    /// Computed from the number of processors. Such keys size thread pools upstream.
    Cpus(fn(i64) -> i64),
    /// The name of the machine.
    HostName,
    /// The address that clients can reach, see `route::address`.
    Address,
    /// Where the data is: see [`super::Machine`].
    DataDirectory,
    /// Nothing; the key is not shown while it is unset.
    Unset,
}

/// Which of upstream's configuration classes a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// The data directory.
    Store,
    /// The broker.
    Broker,
    /// Sockets that are listened on, by either role.
    Server,
    /// Connections that are made.
    Client,
    /// The name-server role.
    NameServer,
    /// Only here.
    Own,
}

/// One row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As written in a file.
    pub name: &'static str,
    /// What its value must look like.
    pub kind: Kind,
    /// What it is when nobody sets it.
    pub default: Default,
}

/// A row; short, because there are hundreds.
const fn key(name: &'static str, kind: Kind, default: Default) -> Key {
    Key { name, kind, default }
}

const TABLES: &[(Area, &[Key])] = &[
    (Area::Store, store::KEYS),
    (Area::Broker, broker::KEYS),
    (Area::Server, network::SERVER),
    (Area::Client, network::CLIENT),
    (Area::NameServer, namesrv::KEYS),
    (Area::Own, own::KEYS),
];

/// Every key with its area, table by table.
pub fn all() -> impl Iterator<Item = (Area, &'static Key)> {
    TABLES.iter().flat_map(|(area, keys)| keys.iter().map(move |key| (*area, key)))
}

/// The key of exactly this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    static BY_NAME: OnceLock<BTreeMap<&'static str, &'static Key>> = OnceLock::new();
    BY_NAME.get_or_init(|| all().map(|(_, key)| (key.name, key)).collect()).get(name).copied()
}

/// The key of this name when case, `_`, `-` and `.` do not count: how environment variables are matched.
#[must_use]
pub fn find_loosely(name: &str) -> Option<&'static Key> {
    static BY_LETTERS: OnceLock<BTreeMap<String, &'static Key>> = OnceLock::new();
    BY_LETTERS.get_or_init(|| all().map(|(_, key)| (letters(key.name), key)).collect()).get(&letters(name)).copied()
}

/// Longest name that is taken for a misspelt key, in bytes; comparing takes the product of the lengths.
const MISSPELT_MAX: usize = 100;

/// The known name that looks most like an unknown one, if any looks like it at all.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    static KNOWN: LazyLock<Vec<(String, &str)>> =
        LazyLock::new(|| all().map(|(_, key)| (letters(key.name), key.name)).collect());
    if name.len() > MISSPELT_MAX {
        return None;
    }
    let wanted = letters(name);
    let likeness = |known: &str| strsim::jaro_winkler(&wanted, known);
    KNOWN
        .iter()
        .map(|(known, name)| (likeness(known), *name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness >= 0.85)
        .map(|(_, name)| name)
}

fn letters(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | '.')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_occurs_twice_even_when_case_does_not_count() {
        let mut seen = BTreeMap::new();
        for (_, key) in all() {
            assert_eq!(seen.insert(letters(key.name), key.name), None);
        }
        assert!(seen.len() > 400, "only {} keys", seen.len());
    }

    #[test]
    fn a_fixed_default_is_a_value_that_the_key_takes() {
        for (_, key) in all() {
            let Default::Fixed(text) = key.default else {
                continue;
            };
            let fits = match key.kind {
                Kind::Bool => text.parse::<bool>().is_ok(),
                Kind::Int => text.parse::<i32>().is_ok(),
                Kind::Long => text.parse::<i64>().is_ok(),
                Kind::Double => text.parse::<f64>().is_ok(),
                Kind::Text => true,
                Kind::Choice(words) => words.contains(&text),
            };
            assert!(fits, "{} = {text}", key.name);
        }
    }

    #[test]
    fn a_misspelt_key_is_told_from_nonsense() {
        assert_eq!(nearest("transactionCheckMaxx"), Some("transactionCheckMax"));
        assert_eq!(nearest("flushDiscType"), Some("flushDiskType"));
        assert_eq!(nearest("qqqq"), None);
    }

    #[test]
    fn a_name_of_a_megabyte_is_not_compared_with_every_key() {
        assert_eq!(nearest(&"transactionCheckMax".repeat(1 << 16)), None);
    }

    #[test]
    fn the_captured_configuration_of_a_broker_has_only_known_keys() {
        let frames =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/wire/json-admin-getBrokerConfig.bin"))
                .unwrap();
        let text = String::from_utf8_lossy(&frames);
        let body = text.split_once("\"version\":479}").unwrap().1;
        let body = body.split_once("\"version\":479}").unwrap().1;
        let mut count = 0;
        for line in body.lines() {
            let (name, _) = line.split_once('=').unwrap();
            assert!(find(name).is_some(), "{name} is not in the tables");
            count += 1;
        }
        assert!(count > 300, "only {count} lines");
    }
}
