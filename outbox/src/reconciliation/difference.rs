//! What does not agree.

use std::collections::BTreeSet;

use super::Record;

/// In which way a key does not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Only the first source has it.
    Missing,
    /// Only the second source has it.
    Surplus,
    /// Both have it, with other values.
    Different,
    /// One source has it more than once.
    Duplicate,
    /// It does not agree, and is so young that it may still be under way.
    Unsettled,
}

impl Kind {
    /// As it is in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Surplus => "surplus",
            Self::Different => "different",
            Self::Duplicate => "duplicate",
            Self::Unsettled => "unsettled",
        }
    }
}

/// A field with two values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    /// Its name; `amount` for the amount.
    pub field: String,
    /// What the first source has.
    pub left: Option<String>,
    /// What the second source has.
    pub right: Option<String>,
}

/// A key that does not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The business key.
    pub key: String,
    /// In which way.
    pub kind: Kind,
    /// Which fields differ, for a key that both have.
    pub fields: Vec<Differing>,
    /// What the first source has. Of a duplicate: the copy, at its side.
    pub left: Option<Record>,
    /// What the second source has.
    pub right: Option<Record>,
    /// Of a duplicate: where the copy is in its source, from 1.
    pub position: Option<u64>,
}

/// The fields of two records that differ.
pub(super) fn differing(left: &Record, right: &Record) -> Vec<Differing> {
    let (ours, theirs) = (left.values(), right.values());
    let names: BTreeSet<&str> = ours.keys().chain(theirs.keys()).copied().collect();
    let pairs = names.into_iter().map(|name| (name, ours.get(name), theirs.get(name)));
    pairs
        .filter(|(_, ours, theirs)| ours != theirs)
        .map(|(name, ours, theirs)| Differing { field: name.into(), left: ours.cloned(), right: theirs.cloned() })
        .collect()
}
