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
use crate::fields::Fields;
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
    /// Reads the field `name`.
    fn read(fields: &Fields<'a>, name: &'static str) -> Result<Self, HeaderError>;

    /// Writes the field `name`, or nothing when there is no value.
    fn write(&self, name: &'static str, out: &mut impl FieldSink);

    /// Reads the field, or gives `default` when it is not there.
    fn read_or(fields: &Fields<'a>, name: &'static str, default: Self) -> Result<Self, HeaderError> {
        if fields.get(name).is_some() { Self::read(fields, name) } else { Ok(default) }
    }
}

impl<'a> HeaderField<'a> for &'a str {
    fn read(fields: &Fields<'a>, name: &'static str) -> Result<Self, HeaderError> {
        fields.text(name)
    }

    fn write(&self, name: &'static str, out: &mut impl FieldSink) {
        out.put(name, *self);
    }
}

impl<'a> HeaderField<'a> for bool {
    fn read(fields: &Fields<'a>, name: &'static str) -> Result<Self, HeaderError> {
        Ok(fields.flag(name))
    }

    fn write(&self, name: &'static str, out: &mut impl FieldSink) {
        out.put(name, self);
    }
}

impl<'a, T: HeaderField<'a>> HeaderField<'a> for Option<T> {
    fn read(fields: &Fields<'a>, name: &'static str) -> Result<Self, HeaderError> {
        if fields.get(name).is_some() { T::read(fields, name).map(Some) } else { Ok(None) }
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
            fn read(fields: &Fields<'a>, name: &'static str) -> Result<Self, HeaderError> {
                fields.number(name)
            }

            fn write(&self, name: &'static str, out: &mut impl FieldSink) {
                out.put(name, self);
            }
        }
    )*};
}
number_fields!(i32, i64, u32);
