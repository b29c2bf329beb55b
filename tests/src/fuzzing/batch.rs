//! Batch bodies: what a batch send carries, and what an inner batch is stored as.

use tenonmq_protocol::message::{
    Assigned, BatchElement, BatchError, NewRecord, Properties, RecordView, SysFlag, batch, body_crc,
};

/// The input as a batch body, and stored as an inner batch.
pub(super) fn batches(bytes: &[u8]) {
    let elements: Result<Vec<BatchElement<'_>>, BatchError> = batch::elements(bytes).collect();
    assert_eq!(batch::count(bytes), elements.as_ref().map(Vec::len).map_err(|error| *error));
    let elements = match elements {
        Ok(elements) => elements,
        Err(error) => return assert!(error.to_string().contains("batch element at"), "{error}"),
    };
    let total: usize = elements.iter().map(BatchElement::encoded_len).sum();
    assert_eq!(total, bytes.len(), "the elements are the body");
    let mut written = Vec::new();
    for element in &elements {
        element.encode_into(&mut written).expect("what was read fits");
    }
    let again: Vec<_> = batch::elements(&written).collect::<Result<_, _>>().expect("a batch that was written here");
    assert_eq!(again, elements);
    for element in &elements {
        let mut stored = Vec::new();
        element.stored_properties(b"WAIT\x01true\x02", &mut stored);
        assert!(stored.len() <= element.properties.len() + 1 + 10);
        if let Ok(text) = std::str::from_utf8(&stored) {
            assert_eq!(Properties::parse(text).get("WAIT"), Some("true"), "the batch's own count last");
        }
    }
    inner(bytes, &elements);
}

/// A consumer takes an inner batch apart into what was sent.
fn inner(body: &[u8], elements: &[BatchElement<'_>]) {
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
    let new = NewRecord {
        topic: "T",
        queue_id: 0,
        flag: 0,
        sys_flag: SysFlag::INNER_BATCH | SysFlag::NEED_UNWRAP,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"",
        body_crc: body_crc(body),
    };
    let mut bytes = vec![0; new.encoded_len()];
    new.encode(&mut bytes, Assigned::default());
    let record = RecordView::parse(&bytes).expect("a record that was written here");
    assert!(record.sys_flag().has(SysFlag::INNER_BATCH) && record.verify_crc().is_ok());
    let read: Result<Vec<_>, _> = batch::elements(record.body()).collect();
    assert_eq!(read.as_deref(), Ok(elements));
}
