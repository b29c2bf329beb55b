//! The two ways a header is written. Reading is here; writing both is [`FrameWriter`](crate::FrameWriter).

pub(crate) mod binary;
pub(crate) mod json;
pub(crate) mod scratch;
mod text;

pub(crate) use self::text::{find_byte, find_byte_up_to, find_string_end, has_special, push_escaped, unescape};
