//! What each key is set to and by whom, before it means anything.
//!
//! Sources are applied from the weakest to the strongest; a later one replaces what an earlier one said.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::keys::{self, Area, Key};
use super::machine::Machine;

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A line of a configuration file.
    File {
        /// As given on the command line.
        path: PathBuf,
        /// Counted from one; `None` where the format does not tell.
        line: Option<usize>,
    },
    /// An environment variable, by its name.
    Environment(String),
    /// A command-line flag, as typed.
    Flag(String),
    /// A request to change the running configuration.
    Update,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Update => f.write_str("configuration update"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value is not one that its key takes.
    #[error("{key} = {value:?} ({from}) is not allowed: {allowed}")]
    BadValue {
        /// The key as the tables spell it.
        key: &'static str,
        /// As given.
        value: String,
        /// Who gave it.
        from: String,
        /// What would be allowed, as a phrase.
        allowed: String,
    },
    /// Values that are allowed one by one contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// A configuration file cannot be read.
    #[error("cannot read the configuration file {}", .path.display())]
    Unreadable {
        /// As given.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A configuration file is not what its format allows.
    #[error("{}: {reason}", .path.display())]
    Syntax {
        /// As given.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// A flag lacks what it needs.
    #[error("{0}")]
    Usage(String),
    /// A change cannot be written down for the next start, and was not made.
    #[error("the change was not made, because it cannot be kept in {}: {source}", .path.display())]
    NotKept {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A request asked to change a key that may not be changed in this way.
    #[error("Can not update config in black list.")]
    Refused {
        /// The first such key.
        key: String,
    },
}

/// A value and who gave it.
#[derive(Debug, Clone)]
pub struct Given {
    /// Without blanks around it.
    pub text: String,
    /// The strongest source that named the key.
    pub source: Source,
}

/// Every key that somebody set.
#[derive(Debug, Clone, Default)]
pub struct Values {
    given: BTreeMap<&'static str, Given>,
}

impl Values {
    /// Sets a key, replacing what a weaker source said.
    pub fn set(&mut self, key: &'static Key, text: &str, source: Source) {
        let text = text.trim().to_owned();
        self.given.insert(key.name, Given { text, source });
    }

    /// What was set, if anything.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// The names of all keys that were set, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.given.keys().copied()
    }

    /// What a key amounts to: what was set, or else its default; `None` when it has neither.
    #[must_use]
    pub fn effective(&self, key: &Key, machine: &Machine) -> Option<String> {
        match self.given.get(key.name) {
            Some(given) => Some(given.text.clone()),
            None => machine.default_of(key),
        }
    }

    /// All keys of some areas with what they amount to.
    #[must_use]
    pub fn all_effective(&self, areas: &[Area], machine: &Machine) -> BTreeMap<String, String> {
        keys::all()
            .filter(|(area, _)| areas.contains(area))
            .filter_map(|(_, key)| Some((key.name.to_owned(), self.effective(key, machine)?)))
            .collect()
    }
}
