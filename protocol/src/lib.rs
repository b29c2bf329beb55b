//! Bytes on the wire and in the log, and the values they stand for.
//!
//! Everything here is a pure function of bytes: no sockets, no tasks, no clock, no state between calls. The remoting
//! protocol of Apache RocketMQ 4.9 and 5.x is spoken exactly; what a peer sends is never trusted, so every parser
//! answers garbage with an error that names what was wrong, and never panics.
//!
//! ```text
//! bytes ─ FrameView::peek ─► frame ─ CommandView::parse ─► envelope + Fields ─ RequestHeader::decode ─► typed header
//! typed header ─ encode ─► FrameWriter ─► bytes
//! ```
//!
//! * [`frame`], [`command`], [`fields`]: one frame, the envelope that all share, its name/value fields.
//! * [`code`]: request and response codes by their Apache names.
//! * [`header`]: the fields of each request and response as structs, one file per capability.
//! * [`body`]: bodies that are JSON, in the dialect of Apache's clients.
//! * [`message`]: the stored record, property text, batches, ids, compression. All that `storage` needs.

pub mod body;
pub mod code;
pub mod command;
pub mod error;
pub mod fields;
pub mod frame;
pub mod header;
pub mod language;
pub mod message;
mod serialize;
pub mod writer;

pub use self::code::{RequestCode, ResponseCode};
pub use self::command::{Command, CommandView, HeaderScratch};
pub use self::error::{DecodeError, FrameError, HeaderError};
pub use self::fields::Fields;
pub use self::frame::{DEFAULT_MAX_FRAME, FrameView, Serialization};
pub use self::header::{RequestHeader, ResponseHeader};
pub use self::language::Language;
pub use self::writer::{Envelope, FieldSink, FieldValue, FrameWriter};

/// Version that we report: `V5_3_3`, the broker that we stand in for. Clients gate features by it.
pub const VERSION: i32 = 479;
/// Bit of a command's flag that marks a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Bit of a command's flag that marks a request which wants no answer.
pub const FLAG_ONEWAY: i32 = 2;
