//! JSON as Apache's peers write and read it: the dialect of fastjson 1.2.
//!
//! Reading tolerates what fastjson tolerates and writes: bare, numeric and object map keys, an object key as quoted JSON
//! text, single quotes, numbers as strings and strings as numbers, `$ref` to another place of the same text, trailing
//! white space. In a struct a `null` counts as absent.
//!
//! Writing produces what all clients read: numeric and object keys raw, absent values left out, doubles with a fraction.

mod de;
mod node;
mod ser;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a body is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is not UTF-8.
    #[error("body is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Offset in the body.
        at: usize,
    },
    /// The text is broken.
    #[error("body is not JSON at byte {at}: {expected} expected")]
    Syntax {
        /// Offset in the body.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// Values are nested deeper than any body's.
    #[error("body nests deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// References blow the body up.
    #[error("body refers to itself too often")]
    TooManyReferences,
    /// A value is not of its field's type.
    #[error("body field {field}: {message}")]
    Value {
        /// Path of the field, its parts joined by dots; empty for the body as a whole.
        field: String,
        /// What is wrong.
        message: String,
    },
}

/// Reads a body.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    let text = std::str::from_utf8(body).map_err(|error| JsonError::NotUtf8 { at: error.valid_up_to() })?;
    from_str(text)
}

/// Reads a body that is known to be UTF-8.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    de::from_node(&node::parse(text)?)
}

/// Writes a body in Apache's dialect. Types whose `Serialize` fails are not supported; none of this crate's does.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    ser::write(value, ser::Style { standard: false, pretty: false })
}

/// Writes a body in Apache's dialect, one value a line, as it keeps configuration files.
pub fn to_vec_pretty<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    ser::write(value, ser::Style { standard: false, pretty: true })
}

/// Writes a body that any JSON parser reads: all keys quoted. For the clients that ask for it.
pub fn to_vec_standard<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    ser::write(value, ser::Style { standard: true, pretty: false })
}

#[cfg(test)]
mod tests;
