//! Property text: `name \u{1} value \u{2} name \u{1} value \u{2} …`, the wire's form, kept as it is.

use std::fmt;

const NAME_END: char = '\u{1}';
const VALUE_END: char = '\u{2}';

/// The properties of one message. A name occurs once.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct PropertyText(String);

impl PropertyText {
    /// Takes text as it came from a broker. Entries that mean nothing are kept and ignored.
    pub(crate) fn from_wire(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }

    /// The last value under `name`: upstream's parser lets the last of two win.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().filter(|(n, _)| *n == name).last().map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .split(VALUE_END)
            .filter_map(|entry| entry.split_once(NAME_END))
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
    }

    /// Sets or replaces; the error says what the wire cannot carry. An empty value removes, because upstream ignores
    /// entries without a value.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let reserved = |text: &str| text.contains([NAME_END, VALUE_END]);
        if name.is_empty() {
            return Err("has an empty name");
        }
        if reserved(name) || reserved(value) {
            return Err("contains a separator character (U+0001 or U+0002)");
        }
        self.remove(name);
        if !value.is_empty() {
            self.0.reserve(name.len() + value.len() + 2);
            self.0.push_str(name);
            self.0.push(NAME_END);
            self.0.push_str(value);
            self.0.push(VALUE_END);
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if self.get(name).is_none() {
            return;
        }
        let kept = self.0.split_inclusive(VALUE_END).filter(|entry| entry.split(NAME_END).next() != Some(name));
        self.0 = kept.collect();
    }
}

impl fmt::Debug for PropertyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_a_property_twice_keeps_the_second_value_only() {
        let mut text = PropertyText::default();
        text.set("TAGS", "a").unwrap();
        text.set("KEYS", "k").unwrap();
        text.set("TAGS", "b").unwrap();
        assert_eq!(text.as_str(), "KEYS\u{1}k\u{2}TAGS\u{1}b\u{2}");
    }

    #[test]
    fn a_missing_last_separator_is_accepted_and_the_last_duplicate_wins() {
        let text = PropertyText::from_wire("a\u{1}1\u{2}a\u{1}2\u{2}b\u{1}3");
        assert_eq!((text.get("a"), text.get("b")), (Some("2"), Some("3")));
    }

    #[test]
    fn separator_characters_are_refused() {
        assert!(PropertyText::default().set("a", "x\u{1}y").is_err());
        assert!(PropertyText::default().set("a\u{2}", "x").is_err());
        assert!(PropertyText::default().set("", "x").is_err());
    }
}
