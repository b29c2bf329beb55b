//! The fields of each request and response as structs: our words inside, the wire's words only here.

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
