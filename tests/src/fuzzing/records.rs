//! A piece of the commit log, or the body of a pull answer: one record behind the other.

use std::net::SocketAddr;

use tenonmq_protocol::message::{
    Assigned, LogItem, NewRecord, OffsetMessageId, Properties, RecordView, batch, properties, properties::Table, record,
};

/// What a body may grow to when it is decompressed, in bytes.
const DECOMPRESSED: usize = 64 << 10;

/// Walks the input as recovery walks a log file, and looks at every record.
pub(super) fn records(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        match LogItem::parse(rest) {
            Ok(LogItem::Record(view)) => {
                assert!(view.len() <= rest.len());
                look_at(&view);
                rest = &rest[view.len()..];
            }
            Ok(LogItem::Blank { len }) => rest = rest.get(len..).unwrap_or_default(),
            Ok(LogItem::End) => break,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    let read: usize = RecordView::iter_all(bytes).flatten().map(|view| view.len()).sum();
    assert!(read <= bytes.len());
    if let Ok(text) = std::str::from_utf8(bytes) {
        property_text(text);
    }
}

fn look_at(view: &RecordView<'_>) {
    let parts = view.body().len() + view.topic().len() + view.properties_bytes().len();
    assert!(parts < view.len(), "the parts lie in the record");
    property_text(view.properties_text());
    let _ = (view.verify_crc(), view.properties_crc(), view.sys_flag().transaction());
    let id = view.message_id();
    let meant = OffsetMessageId { host: plain(id.host), ..id };
    assert_eq!(id.to_string().parse::<OffsetMessageId>().map_err(|_| ()), Ok(meant));
    if let Ok(Some(kind)) = view.sys_flag().compression()
        && let Ok(plain) = kind.decompress(view.body(), DECOMPRESSED)
    {
        assert!(plain.len() <= DECOMPRESSED);
    }
    let _ = batch::count(view.body());
    written_again(view);
}

/// A record that is written again says the same, and from then on there is one way to write it.
fn written_again(view: &RecordView<'_>) {
    let first = encode(view);
    let again = RecordView::parse(&first).expect("a record that was written here");
    assert_eq!(facts(&again), facts(view));
    assert_eq!(
        (again.topic(), again.body(), again.properties_bytes()),
        (view.topic(), view.body(), view.properties_bytes())
    );
    assert_eq!(encode(&again), first);
}

fn encode(view: &RecordView<'_>) -> Vec<u8> {
    let new = NewRecord {
        prepared_transaction_offset: view.prepared_transaction_offset(),
        ..NewRecord::copy_of(view, view.properties_bytes())
    };
    new.check().expect("what was in a record fits in one");
    let mut bytes = vec![0; new.encoded_len()];
    let at = Assigned {
        queue_offset: view.queue_offset(),
        physical_offset: view.physical_offset(),
        store_timestamp: view.store_timestamp(),
    };
    new.encode(&mut bytes, at);
    assert_eq!(RecordView::parse(&bytes).map(|view| view.len()), Ok(bytes.len()));
    bytes
}

fn facts(view: &RecordView<'_>) -> impl PartialEq + std::fmt::Debug + use<> {
    let places = (view.queue_id(), view.queue_offset(), view.physical_offset(), view.prepared_transaction_offset());
    let times = (view.born_timestamp(), view.store_timestamp(), view.reconsume_times());
    let hosts = (plain(view.born_host()), plain(view.store_host()));
    (places, times, hosts, view.flag(), view.body_crc())
}

/// An IPv4 address that is written as one of IPv6 means the same, and is written as IPv4 from then on.
fn plain(host: SocketAddr) -> SocketAddr {
    SocketAddr::new(host.ip().to_canonical(), host.port())
}

/// What is read from a property text is in it, and survives being written.
fn property_text(text: &str) {
    let read = Properties::parse(text);
    for (name, value) in read.iter() {
        assert!(!name.is_empty() && text.contains(name) && text.contains(value));
        assert_eq!(properties::find(text, name).is_some(), read.get(name).is_some(), "{name}");
    }
    for table in [Table::Parsed, Table::Fresh] {
        let mut out = Vec::new();
        read.encode_as(table, &mut out);
        assert!(out.len() <= text.len() + 2, "no more than there was");
        let written = std::str::from_utf8(&out).expect("text of text");
        let again = Properties::parse(written);
        let kept = |(name, _): &(&str, &str)| !name.starts_with(properties::names::TRANSIENT_PREFIX);
        assert!(read.iter().filter(kept).all(|(name, value)| again.get(name) == Some(value)));
        let mut twice = Vec::new();
        again.encode_as(table, &mut twice);
        assert_eq!(twice, out, "one way to write properties");
    }
    let mut with_crc = text.as_bytes().to_vec();
    record::reserve_properties_crc(&mut with_crc);
    assert!(with_crc.len() <= text.len() + record::PROPERTIES_CRC_LEN + 1);
}
