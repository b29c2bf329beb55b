//! The name/value fields of a header (`extFields`), borrowed.

use std::str::FromStr;

use crate::command::HeaderScratch;
use crate::error::HeaderError;

/// The fields of one command. Cheap to copy; getters that fail name the field.
///
/// A name that stands twice counts with its last value, as in a Java map.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    source: Source<'a>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    /// Places in a scanned header.
    Scanned { header: &'a str, scratch: &'a HeaderScratch },
    /// An owned command's list.
    Pairs(&'a [(String, String)]),
}

impl<'a> Fields<'a> {
    pub(crate) fn scanned(header: &'a str, scratch: &'a HeaderScratch) -> Self {
        Self { source: Source::Scanned { header, scratch } }
    }

    /// The fields of an owned command.
    pub fn pairs(pairs: &'a [(String, String)]) -> Self {
        Self { source: Source::Pairs(pairs) }
    }

    /// The value of `name`, if it is there.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        match self.source {
            Source::Scanned { header, scratch } => scratch.find(header, name),
            Source::Pairs(pairs) => pairs.iter().rfind(|(found, _)| found == name).map(|(_, value)| value.as_str()),
        }
    }

    /// The values of the fields `a`, `b` and so on, in one pass.
    #[inline]
    pub(crate) fn letters<const N: usize>(&self) -> [Option<&'a str>; N] {
        match self.source {
            Source::Scanned { header, scratch } => scratch.letters(header),
            Source::Pairs(_) => std::array::from_fn(|at| {
                let letter = u8::try_from(at).ok().and_then(|at| b'a'.checked_add(at))?;
                self.get(std::str::from_utf8(&[letter]).ok()?)
            }),
        }
    }

    /// The value of `name`; its absence is an error.
    pub fn text(&self, name: &'static str) -> Result<&'a str, HeaderError> {
        self.get(name).ok_or(HeaderError::missing(name))
    }

    /// The value of `name`, or `""`.
    pub fn text_or_empty(&self, name: &str) -> &'a str {
        self.get(name).unwrap_or_default()
    }

    /// The value of `name` as a number; absence and anything else than a number are errors.
    pub fn number<T: FromStr>(&self, name: &'static str) -> Result<T, HeaderError> {
        parse(name, self.text(name)?)
    }

    /// The value of `name` as a number, or `default` when it is absent. Anything else than a number is an error.
    pub fn number_or<T: FromStr>(&self, name: &'static str, default: T) -> Result<T, HeaderError> {
        self.get(name).map_or(Ok(default), |value| parse(name, value))
    }

    /// The value of `name` as a number, if it is there. Anything else than a number is an error.
    pub fn optional_number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, HeaderError> {
        self.get(name).map(|value| parse(name, value)).transpose()
    }

    /// Whether `name` holds `true` in any case. Absence and everything else is `false`, as in Java.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Names and values in the order of the header, repeated names included.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let source = self.source;
        (0..self.len()).filter_map(move |at| match source {
            Source::Scanned { header, scratch } => scratch.at(header, at),
            Source::Pairs(pairs) => pairs.get(at).map(|(name, value)| (name.as_str(), value.as_str())),
        })
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        match self.source {
            Source::Scanned { scratch, .. } => scratch.len(),
            Source::Pairs(pairs) => pairs.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

pub(crate) fn parse<T: FromStr>(name: &'static str, value: &str) -> Result<T, HeaderError> {
    value.parse().map_err(|_| HeaderError::invalid(name, value, "a number in range"))
}
