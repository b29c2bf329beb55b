//! What the machine can do at most, without a broker.

pub(crate) mod fdatasync;
pub(crate) mod sendfile;

use std::net::SocketAddr;

use tenonmq_protocol::message::{
    UniqueKeyGenerator,
    record::{Assigned, NewRecord, body_crc},
};

/// A record as a broker stores it for `load send`.
fn record(size: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..size).map(|at| b'a' + (at % 26) as u8).collect();
    let key = UniqueKeyGenerator::new([127, 0, 0, 1].into(), std::process::id(), 0).next(0);
    let properties = format!("UNIQ_KEY\u{1}{}\u{2}WAIT\u{1}true\u{2}", key.as_str());
    let host = SocketAddr::from(([127, 0, 0, 1], 10911));
    let new = NewRecord {
        topic: "BenchmarkTest",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body,
        properties: properties.as_bytes(),
        body_crc: body_crc(&body),
    };
    let mut record = vec![0; new.encoded_len()];
    new.encode(&mut record, Assigned::default());
    record
}

#[cfg(test)]
mod tests {
    use tenonmq_protocol::message::RecordView;

    #[test]
    fn the_record_of_the_baselines_is_one_that_brokers_read() {
        let bytes = super::record(1024);
        let record = RecordView::parse(&bytes).unwrap();
        assert_eq!((record.body().len(), record.topic(), record.len()), (1024, "BenchmarkTest", bytes.len()));
        record.verify_crc().unwrap();
    }
}
