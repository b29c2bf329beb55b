//! Typed access to [`Values`]: the one place that turns text into numbers, durations and addresses.
//!
//! Every getter names the key in its error, with the value, who gave it and what is allowed. The reader
//! also remembers which keys were asked for: what was set and never asked for has no effect here.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::keys::{self, Kind};
use super::machine::Machine;
use super::values::{ConfigError, Values};

pub(super) struct Reader<'a> {
    values: &'a Values,
    machine: &'a Machine,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(values: &'a Values, machine: &'a Machine) -> Self {
        Self { values, machine, asked: RefCell::default() }
    }

    /// Keys that were set although nothing has asked for them.
    pub(super) fn without_effect(&self) -> Vec<&'static str> {
        let asked = self.asked.borrow();
        self.values.names().filter(|name| !asked.contains(name)).collect()
    }

    /// Empty when unset without a default.
    pub(super) fn text(&self, name: &'static str) -> String {
        let key = keys::find(name);
        debug_assert!(key.is_some(), "{name} is not in the tables");
        self.asked.borrow_mut().insert(name);
        key.and_then(|key| self.values.effective(key, self.machine)).unwrap_or_default()
    }

    /// `None` when nobody set the key, or to nothing.
    pub(super) fn given(&self, name: &'static str) -> Option<String> {
        self.asked.borrow_mut().insert(name);
        let given = self.values.get(name)?;
        (!given.text.is_empty()).then(|| given.text.clone())
    }

    /// A text that may not be empty.
    pub(super) fn required(&self, name: &'static str) -> Result<String, ConfigError> {
        let text = self.text(name);
        if text.is_empty() {
            return Err(self.bad(name, "it may not be empty"));
        }
        Ok(text)
    }

    pub(super) fn flag(&self, name: &'static str) -> Result<bool, ConfigError> {
        let text = self.text(name);
        if text.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err(self.bad(name, "use true or false"))
        }
    }

    pub(super) fn number<T>(&self, name: &'static str, range: RangeInclusive<T>) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + Display,
    {
        self.text(name).parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (low, high) = range.into_inner();
            self.bad(name, &format!("use a number from {low} to {high}"))
        })
    }

    pub(super) fn port(&self, name: &'static str) -> Result<u16, ConfigError> {
        self.number(name, 0..=u16::MAX)
    }

    /// A number of milliseconds, at least `least` of them.
    pub(super) fn millis(&self, name: &'static str, least: u64) -> Result<Duration, ConfigError> {
        self.number(name, least..=i64::MAX as u64).map(Duration::from_millis)
    }

    pub(super) fn seconds(&self, name: &'static str, least: u64) -> Result<Duration, ConfigError> {
        self.number(name, least..=u64::from(u32::MAX)).map(Duration::from_secs)
    }

    pub(super) fn address(&self, name: &'static str) -> Result<IpAddr, ConfigError> {
        self.text(name)
            .trim_matches(['[', ']'])
            .parse()
            .map_err(|_| self.bad(name, "use an IP address of this machine, or 0.0.0.0 for all"))
    }

    /// One of the words of a [`Kind::Choice`] key, as the table spells it.
    pub(super) fn choice(&self, name: &'static str) -> Result<&'static str, ConfigError> {
        let text = self.text(name);
        let words: &'static [&'static str] = match keys::find(name).map(|key| key.kind) {
            Some(Kind::Choice(words)) => words,
            _ => &[],
        };
        words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(&text))
            .copied()
            .ok_or_else(|| self.bad(name, &format!("use {}", words.join(" or "))))
    }

    /// The error for this key's value.
    pub(super) fn bad(&self, name: &'static str, allowed: &str) -> ConfigError {
        ConfigError::BadValue {
            key: name,
            value: self.text(name),
            from: match self.values.get(name) {
                Some(given) => given.source.to_string(),
                None => "default".to_owned(),
            },
            allowed: allowed.to_owned(),
        }
    }
}
