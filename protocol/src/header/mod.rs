//! The fields of each request and response as structs: our words inside, the wire's words only here.
//!
//! One file per capability. A field's type says how its absence is read: `&str` and numbers must be there, an `Option`
//! may be missing, a `bool` is then false, and a default stands behind `or`.

#[macro_use]
mod macros;

pub mod admin;
pub mod controller;
pub mod group;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod query;
pub mod recall;
pub mod receipt;
pub mod route;
pub mod send;
pub mod transaction;

pub use self::admin::*;
pub use self::group::*;
pub use self::offset::*;
pub use self::pop::*;
pub use self::pull::*;
pub use self::query::*;
pub use self::recall::RecallHandle;
pub use self::receipt::{ORDERED_REVIVE_QUEUE, PopTopic, ReceiptHandle};
pub use self::route::*;
pub use self::send::*;
pub use self::transaction::*;

use crate::code::RequestCode;
use crate::error::HeaderError;
use crate::fields::{Fields, parse};
use crate::writer::FieldSink;

/// The header of one kind of request.
pub trait RequestHeader<'a>: Sized {
    /// The request's code.
    const CODE: RequestCode;

    /// Reads the fields; unknown ones are ignored, an error names the field.
    fn decode(fields: &Fields<'a>) -> Result<Self, HeaderError>;

    /// Writes the fields.
    fn encode(&self, out: &mut impl FieldSink);
}

/// The header of one kind of response.
pub trait ResponseHeader<'a>: Sized {
    /// Reads the fields; unknown ones are ignored, an error names the field.
    fn decode(fields: &Fields<'a>) -> Result<Self, HeaderError>;

    /// Writes the fields.
    fn encode(&self, out: &mut impl FieldSink);
}

/// A type that a header field can have.
pub trait HeaderField<'a>: Sized {
    /// Reads the text of the field `name`; `None` when it is not there.
    fn read(name: &'static str, text: Option<&'a str>) -> Result<Self, HeaderError>;

    /// Writes the field `name`, or nothing when there is no value.
    fn write(&self, name: &'static str, out: &mut impl FieldSink);

    /// Reads the text of the field, or gives `default` when it is not there.
    fn read_or(name: &'static str, text: Option<&'a str>, default: Self) -> Result<Self, HeaderError> {
        if text.is_some() { Self::read(name, text) } else { Ok(default) }
    }
}

impl<'a> HeaderField<'a> for &'a str {
    fn read(name: &'static str, text: Option<&'a str>) -> Result<Self, HeaderError> {
        text.ok_or(HeaderError::missing(name))
    }

    fn write(&self, name: &'static str, out: &mut impl FieldSink) {
        out.put(name, *self);
    }
}

/// `true` in any case; absence and everything else is `false`, as in Java.
impl<'a> HeaderField<'a> for bool {
    fn read(_: &'static str, text: Option<&'a str>) -> Result<Self, HeaderError> {
        Ok(text.is_some_and(|text| text.eq_ignore_ascii_case("true")))
    }

    fn write(&self, name: &'static str, out: &mut impl FieldSink) {
        out.put(name, self);
    }
}

impl<'a, T: HeaderField<'a>> HeaderField<'a> for Option<T> {
    fn read(name: &'static str, text: Option<&'a str>) -> Result<Self, HeaderError> {
        text.map(|_| T::read(name, text)).transpose()
    }

    fn write(&self, name: &'static str, out: &mut impl FieldSink) {
        if let Some(value) = self {
            value.write(name, out);
        }
    }
}

macro_rules! number_fields {
    ($($number:ty),*) => {$(
        impl<'a> HeaderField<'a> for $number {
            fn read(name: &'static str, text: Option<&'a str>) -> Result<Self, HeaderError> {
                parse(name, text.ok_or(HeaderError::missing(name))?)
            }

            fn write(&self, name: &'static str, out: &mut impl FieldSink) {
                out.put(name, self);
            }
        }
    )*};
}
number_fields!(i32, i64, u32);
