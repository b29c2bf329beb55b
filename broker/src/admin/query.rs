//! Finding messages: by key (12) and by their place in the log (33).

use bytes::Bytes;
use tenonmq_protocol::{code::ResponseCode, header::QueryMessage};

use crate::{core::Core, error::Refusal};

/// Most messages in one answer (`maxMsgsNumBatch`).
const MOST: usize = 64;

/// What a query by key found.
pub struct Found {
    /// Stored records in the order of the log.
    pub records: Vec<Bytes>,
    /// Store time of the newest message in the index.
    pub index_time: i64,
    /// Its log offset.
    pub index_offset: i64,
}

/// Messages of a topic with a key, stored within a time.
///
/// # Errors
/// 22 when there is none.
pub fn by_key(core: &Core, header: &QueryMessage<'_>) -> Result<Found, Refusal> {
    let asked = if header.unique_key {
        core.config.load().pull.max_query as usize
    } else {
        usize::try_from(header.max_count).unwrap_or(0)
    };
    let found = core.store.query_by_key(
        header.topic,
        header.key,
        asked.min(MOST),
        header.begin_timestamp,
        header.end_timestamp,
    );
    if found.records.is_empty() {
        let remark = "can not find message, maybe time range not correct";
        return Err(Refusal::new(ResponseCode::QUERY_NOT_FOUND, remark));
    }
    let mut placed: Vec<_> = found.offsets.iter().copied().zip(found.records).collect();
    placed.sort_by_key(|(offset, _)| *offset);
    Ok(Found {
        records: placed.into_iter().map(|(_, record)| record).collect(),
        index_time: found.last_update_timestamp,
        index_offset: found.last_update_offset.cast_signed(),
    })
}

/// The record at a log offset.
///
/// # Errors
/// 1 when no record starts there.
pub fn by_offset(core: &Core, offset: i64) -> Result<Bytes, Refusal> {
    let record = u64::try_from(offset).ok().and_then(|offset| core.store.read(offset));
    record.ok_or_else(|| {
        Refusal::new(ResponseCode::SYSTEM_ERROR, format!("can not find message by the offset, {offset}"))
    })
}
