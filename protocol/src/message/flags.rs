//! The bits of `sysFlag`, in headers and in stored records.

use super::compression::Compression;

/// A record's or request's system flag. Origin of the bits: `MessageSysFlag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SysFlag(pub i32);

/// What a record is to the transaction machinery: bits 2 and 3 of the flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionType {
    /// An ordinary message.
    None,
    /// A half message.
    Prepared,
    /// The visible copy of a committed half message.
    Commit,
    /// A rolled-back message.
    Rollback,
}

impl TransactionType {
    /// The bits of this type, in place.
    pub const fn bits(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Prepared => 0x4,
            Self::Commit => 0x8,
            Self::Rollback => 0xC,
        }
    }
}

impl SysFlag {
    /// The body is compressed.
    pub const COMPRESSED: i32 = 0x1;
    /// The tags are several, not one.
    pub const MULTI_TAGS: i32 = 0x2;
    /// Mask of the transaction bits.
    pub const TRANSACTION_MASK: i32 = 0xC;
    /// The born host is an IPv6 address.
    pub const BORN_HOST_V6: i32 = 0x10;
    /// The store host is an IPv6 address.
    pub const STORE_HOST_V6: i32 = 0x20;
    /// The body is a batch that the consumer takes apart.
    pub const NEED_UNWRAP: i32 = 0x40;
    /// The record is an inner batch of a BatchCQ topic.
    pub const INNER_BATCH: i32 = 0x80;
    /// Mask of the compression type.
    pub const COMPRESSION_MASK: i32 = 0x700;

    /// Whether all of `bits` are set.
    pub const fn has(self, bits: i32) -> bool {
        self.0 & bits == bits
    }

    /// Whether the body is compressed.
    pub const fn is_compressed(self) -> bool {
        self.has(Self::COMPRESSED)
    }

    /// How the body is compressed; `None` when it is not. Unknown type bits are the error.
    pub const fn compression(self) -> Result<Option<Compression>, i32> {
        if !self.is_compressed() {
            return Ok(None);
        }
        match self.0 & Self::COMPRESSION_MASK {
            0 | 0x300 => Ok(Some(Compression::Zlib)),
            0x100 => Ok(Some(Compression::Lz4)),
            0x200 => Ok(Some(Compression::Zstd)),
            other => Err(other),
        }
    }

    /// The flag saying that the body is compressed with `kind`.
    #[must_use]
    pub const fn with_compression(self, kind: Compression) -> Self {
        Self((self.0 & !Self::COMPRESSION_MASK) | Self::COMPRESSED | kind.bits())
    }

    /// The flag saying that the body is plain.
    #[must_use]
    pub const fn without_compression(self) -> Self {
        Self(self.0 & !(Self::COMPRESSION_MASK | Self::COMPRESSED))
    }

    /// What the transaction bits say.
    pub const fn transaction(self) -> TransactionType {
        match self.0 & Self::TRANSACTION_MASK {
            0x4 => TransactionType::Prepared,
            0x8 => TransactionType::Commit,
            0xC => TransactionType::Rollback,
            _ => TransactionType::None,
        }
    }

    /// The flag with its transaction bits replaced.
    #[must_use]
    pub const fn with_transaction(self, kind: TransactionType) -> Self {
        Self((self.0 & !Self::TRANSACTION_MASK) | kind.bits())
    }

    /// Whether the born host is an IPv6 address.
    pub const fn born_host_v6(self) -> bool {
        self.has(Self::BORN_HOST_V6)
    }

    /// Whether the store host is an IPv6 address.
    pub const fn store_host_v6(self) -> bool {
        self.has(Self::STORE_HOST_V6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_bits_zero_and_three_both_mean_zlib() {
        assert_eq!(SysFlag(0x1).compression(), Ok(Some(Compression::Zlib)));
        assert_eq!(SysFlag(0x301).compression(), Ok(Some(Compression::Zlib)));
        assert_eq!(SysFlag(0x101).compression(), Ok(Some(Compression::Lz4)));
        assert_eq!(SysFlag(0x201).compression(), Ok(Some(Compression::Zstd)));
        assert_eq!(SysFlag(0x701).compression(), Err(0x700));
        assert_eq!(SysFlag(0x300).compression(), Ok(None));
    }

    #[test]
    fn replacing_the_transaction_bits_keeps_the_rest() {
        let flag = SysFlag(0x315).with_transaction(TransactionType::Commit);
        assert_eq!(flag, SysFlag(0x319));
        assert_eq!(flag.transaction(), TransactionType::Commit);
    }
}
