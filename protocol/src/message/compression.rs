//! Compressed bodies: zlib, LZ4 frames and zstd.

use std::io::{self, Read, Write};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// RFC 1950. What clients use unless told otherwise.
    Zlib,
    /// LZ4 frame format.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// Why a body cannot be compressed or decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    /// The plain body would be longer than allowed.
    #[error("body decompresses to more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes are not in the given format.
    #[error("body is not valid {kind:?}")]
    Invalid {
        /// The format.
        kind: Compression,
        /// What the codec said.
        #[source]
        source: io::Error,
    },
}

impl Compression {
    /// Level that Apache's client uses.
    pub const DEFAULT_LEVEL: u32 = 5;

    /// The compression type as bits of a system flag, without the bit that says "compressed".
    pub const fn bits(self) -> i32 {
        match self {
            Self::Lz4 => 0x100,
            Self::Zstd => 0x200,
            Self::Zlib => 0x300,
        }
    }

    /// Compresses a body. `level` means what it does to the format (1 to 9 for zlib); LZ4 has none.
    pub fn compress(self, body: &[u8], level: u32) -> Result<Vec<u8>, CompressionError> {
        let out = Vec::with_capacity(body.len() / 2 + 64);
        let done = match self {
            Self::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::new(level.min(9)));
                encoder.write_all(body).and_then(|()| encoder.finish())
            }
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
                encoder.write_all(body).and_then(|()| encoder.finish().map_err(io::Error::other))
            }
            Self::Zstd => zstd::encode_all(body, level.min(22) as i32),
        };
        done.map_err(|source| CompressionError::Invalid { kind: self, source })
    }

    /// Decompresses a body to at most `limit` bytes; anything that grows beyond is an error, not memory.
    pub fn decompress(self, body: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
        let invalid = |source| CompressionError::Invalid { kind: self, source };
        let mut out = Vec::with_capacity(body.len().saturating_mul(3).min(limit));
        let most = limit as u64 + 1;
        let read = match self {
            Self::Zlib => flate2::read::ZlibDecoder::new(body).take(most).read_to_end(&mut out),
            Self::Lz4 => lz4_flex::frame::FrameDecoder::new(body).take(most).read_to_end(&mut out),
            Self::Zstd => {
                zstd::stream::read::Decoder::with_buffer(body).map_err(invalid)?.take(most).read_to_end(&mut out)
            }
        };
        read.map_err(invalid)?;
        if out.len() > limit {
            return Err(CompressionError::TooLarge { limit });
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 3] = [Compression::Zlib, Compression::Lz4, Compression::Zstd];

    #[test]
    fn every_format_gives_back_what_it_was_given() {
        let body = b"tenon and mortise ".repeat(500);
        for kind in ALL {
            let packed = kind.compress(&body, Compression::DEFAULT_LEVEL).unwrap();
            assert!(packed.len() < body.len() / 4, "{kind:?}");
            assert_eq!(kind.decompress(&packed, body.len()).unwrap(), body);
        }
    }

    #[test]
    fn a_bomb_is_an_error_at_the_limit() {
        let body = vec![0; 1 << 20];
        for kind in ALL {
            let packed = kind.compress(&body, Compression::DEFAULT_LEVEL).unwrap();
            let outcome = kind.decompress(&packed, 4096);
            assert!(matches!(outcome, Err(CompressionError::TooLarge { limit: 4096 })), "{kind:?}");
        }
    }

    #[test]
    fn garbage_is_an_error_that_names_the_format() {
        for kind in ALL {
            let outcome = kind.decompress(b"certainly not compressed", 4096);
            assert!(matches!(outcome, Err(CompressionError::Invalid { kind: named, .. }) if named == kind));
        }
    }
}
