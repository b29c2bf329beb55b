//! Why bytes are not a frame, a command, or a header.

/// The bytes on a connection are no frames (any more). The connection has to be closed: where the next frame begins is
/// unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is larger than allowed.
    #[error("frame of {len} bytes exceeds the limit of {max} bytes")]
    TooLarge {
        /// Length of the frame with its length field.
        len: u64,
        /// The limit.
        max: usize,
    },
    /// The length field is negative or leaves no room for the header length.
    #[error("total length {0} is not that of a frame")]
    TotalLength(i32),
    /// The header would reach beyond the frame.
    #[error("header length {header} does not fit in a frame of total length {total}")]
    HeaderLength {
        /// The header length field.
        header: usize,
        /// The total length field.
        total: usize,
    },
    /// The byte that names the header's serialization is unknown.
    #[error("serialization type {0} is neither JSON (0) nor binary (1)")]
    Serialization(u8),
}

/// A frame's header is not a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Text is not UTF-8.
    #[error("header is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Offset in the header.
        at: usize,
    },
    /// The JSON text is broken.
    #[error("header is not JSON at byte {at}: {expected} expected")]
    Json {
        /// Offset in the header.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// A field of the envelope does not hold a 32-bit number.
    #[error("header field {field} is not a 32-bit number")]
    Number {
        /// Name of the field.
        field: &'static str,
    },
    /// A length in a binary header is negative or reaches beyond the header.
    #[error("{field} is {value}, but {available} bytes of header are left")]
    Length {
        /// Name of the length field.
        field: &'static str,
        /// What it holds.
        value: i32,
        /// Bytes left in the header.
        available: usize,
    },
    /// A binary header ends inside a field.
    #[error("header ends inside {field}")]
    Truncated {
        /// Name of the field.
        field: &'static str,
    },
    /// More fields than any request has.
    #[error("extFields holds more than {limit} fields")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// Values are nested deeper than any request's.
    #[error("header nests deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The header is larger than any request's.
    #[error("header of {len} bytes exceeds the limit of {limit} bytes")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit.
        limit: usize,
    },
}

/// A header field is missing or holds what it must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The field is not there.
    #[error("header field {field} is missing")]
    Missing {
        /// Its name on the wire.
        field: &'static str,
    },
    /// The field holds something else than it should.
    #[error("header field {field} holds {value:?}, {expected} expected")]
    Invalid {
        /// Its name on the wire.
        field: &'static str,
        /// What it holds, cut to its first 64 characters.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
}

impl HeaderError {
    /// The field is not there.
    pub const fn missing(field: &'static str) -> Self {
        Self::Missing { field }
    }

    /// The field holds `value` where it should hold what `expected` says.
    #[cold]
    pub fn invalid(field: &'static str, value: impl std::fmt::Display, expected: &'static str) -> Self {
        Self::Invalid { field, value: value.to_string().chars().take(64).collect(), expected }
    }

    /// Name on the wire of the field at fault.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Missing { field } | Self::Invalid { field, .. } => field,
        }
    }
}
