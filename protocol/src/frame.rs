//! Where one frame ends and the next begins.
//!
//! ```text
//! totalLength(i32) serialization(u8) headerLength(u24) header body
//! ```
//!
//! `totalLength` does not count itself.

use crate::error::FrameError;

/// Limit of a whole frame in bytes unless configured (`com.rocketmq.remoting.frameMaxLength`).
pub const DEFAULT_MAX_FRAME: usize = 16_777_216;

/// Bytes before the header.
pub(crate) const PREFIX_LEN: usize = 8;

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Serialization {
    /// A JSON object.
    #[default]
    Json,
    /// Apache's `ROCKETMQ` layout. Codes above 32767 do not fit in it.
    Binary,
}

impl Serialization {
    /// Its number in the frame.
    pub const fn code(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Binary => 1,
        }
    }
}

/// One complete frame, borrowed from the read buffer.
#[derive(Debug, Clone, Copy)]
pub struct FrameView<'a> {
    /// How the header is written.
    pub serialization: Serialization,
    /// The header's bytes.
    pub header: &'a [u8],
    /// The body, perhaps empty.
    pub body: &'a [u8],
    /// Length of the whole frame, its length field included: how far to advance the buffer.
    pub len: usize,
}

impl<'a> FrameView<'a> {
    /// The first frame in `buf`, or `None` while more bytes are needed. `max` limits the whole frame.
    pub fn peek(buf: &'a [u8], max: usize) -> Result<Option<FrameView<'a>>, FrameError> {
        let Some(prefix) = buf.first_chunk::<4>() else { return Ok(None) };
        let total = i32::from_be_bytes(*prefix);
        let len = usize::try_from(total).ok().filter(|&total| total >= 4);
        let len = len.ok_or(FrameError::TotalLength(total))? + 4;
        if len > max {
            return Err(FrameError::TooLarge { len: len as u64, max });
        }
        let Some((prefix, _)) = buf.split_first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let [_, _, _, _, serialization, high, middle, low] = *prefix;
        let serialization = match serialization {
            0 => Serialization::Json,
            1 => Serialization::Binary,
            other => return Err(FrameError::Serialization(other)),
        };
        let header_len = u32::from_be_bytes([0, high, middle, low]) as usize;
        if header_len + PREFIX_LEN > len {
            return Err(FrameError::HeaderLength { header: header_len, total: len - 4 });
        }
        let Some((header, body)) = buf.get(PREFIX_LEN..len).and_then(|rest| rest.split_at_checked(header_len)) else {
            return Ok(None);
        };
        Ok(Some(FrameView { serialization, header, body, len }))
    }
}
