//! Finding messages: by key (12) and by their place in the log (33).

use bytes::Bytes;
use tenonmq_protocol::{code::ResponseCode, header::QueryMessage, message::RecordView};
use tenonmq_storage::index::builder::keys;

use crate::{core::Core, error::Refusal};

/// Most messages in one answer (`maxMsgsNumBatch`).
const MOST: usize = 64;
/// Entries of the index looked at, for each message asked for, when some of the first are of other keys with its hash.
const WIDER: usize = 16;
/// Bytes of the log that one question has indexed first. Only after a start there is more, and then it is answered from what
/// is indexed so far.
const INDEX_AT_ONCE: u64 = 1 << 20;

/// What a query by key found.
pub struct Found {
    /// Stored records in the order of the log.
    pub records: Vec<Bytes>,
    /// Store time of the newest message in the index.
    pub index_time: i64,
    /// Its log offset.
    pub index_offset: i64,
}

/// Messages of a topic with a key, stored within a time. The one that was just sent is among them.
///
/// # Errors
/// 22 when there is none.
pub fn by_key(core: &Core, header: &QueryMessage<'_>) -> Result<Found, Refusal> {
    let asked = if header.unique_key {
        core.config.load().pull.max_query as usize
    } else {
        usize::try_from(header.max_count).unwrap_or(0)
    };
    let asked = asked.min(MOST);
    let (begin, end) = (header.begin_timestamp, header.end_timestamp);
    core.store.index_now(INDEX_AT_ONCE);
    let query = |most| {
        let mut found = core.store.query_by_key(header.topic, header.key, most, begin, end);
        let candidates = found.records.len();
        let placed = found.offsets.iter().copied().zip(std::mem::take(&mut found.records));
        let mut placed: Vec<_> = placed.filter(|(_, record)| has_key(record, header.topic, header.key)).collect();
        placed.truncate(asked);
        (found, placed, candidates)
    };
    let (mut found, mut placed, candidates) = query(asked);
    if placed.len() < candidates && candidates == asked {
        (found, placed, _) = query(asked * WIDER);
    }
    if placed.is_empty() {
        let remark = "can not find message, maybe time range not correct";
        return Err(Refusal::new(ResponseCode::QUERY_NOT_FOUND, remark));
    }
    placed.sort_by_key(|(offset, _)| *offset);
    Ok(Found {
        records: placed.into_iter().map(|(_, record)| record).collect(),
        index_time: found.last_update_timestamp,
        index_offset: found.last_update_offset.cast_signed(),
    })
}

/// Whether a record is of that topic and has that key. The index only knows hashes.
fn has_key(record: &[u8], topic: &str, key: &str) -> bool {
    RecordView::parse(record)
        .is_ok_and(|record| record.topic() == topic && keys(record.properties_bytes()).any(|one| one == key))
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

#[cfg(test)]
mod tests {
    use tenonmq_protocol::message::{Assigned, NewRecord, body_crc};

    use super::has_key;

    fn record(properties: &str) -> Vec<u8> {
        let address = ([127, 0, 0, 1], 10911).into();
        let record = NewRecord {
            topic: "orders",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: address,
            store_host: address,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"order",
            properties: properties.as_bytes(),
            body_crc: body_crc(b"order"),
        };
        let mut bytes = vec![0; record.encoded_len()];
        record.encode(&mut bytes, Assigned { queue_offset: 0, physical_offset: 0, store_timestamp: 0 });
        bytes
    }

    #[test]
    fn thread_3613_a_message_of_another_key_with_the_same_hash_is_not_found() {
        let bytes = record("KEYS\x01Aa first\x02UNIQ_KEY\x017F01\x02");
        for key in ["Aa", "first", "7F01"] {
            assert!(has_key(&bytes, "orders", key), "{key}");
        }
        assert!(!has_key(&bytes, "orders", "BB"), "whose Java hash is that of Aa");
        assert!(!has_key(&bytes, "others", "Aa"));
        assert!(!has_key(&bytes, "orders", "Aa first"));
    }
}
