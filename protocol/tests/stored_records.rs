//! Every record that Apache's broker stored decodes to what Apache's decoder says, and encodes back to its bytes.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tenonmq_protocol::message::properties::{Table, names, tags_code};
use tenonmq_protocol::message::record::{self, PropertiesCrc};
use tenonmq_protocol::message::{Assigned, LogItem, NewRecord, Properties, RecordView};

fn golden(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store")).join(path)
}

/// The whole log of a store variant: its files one after the other.
fn log_of(variant: &str) -> Vec<u8> {
    let mut files: Vec<_> =
        fs::read_dir(golden(variant).join("data/commitlog")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|file| fs::read(file).unwrap()).collect()
}

fn expected_of(variant: &str) -> Vec<Value> {
    let text = fs::read_to_string(golden(variant).join("expected/commitlog.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn for_each_record(mut check: impl FnMut(&str, &Value, RecordView<'_>)) {
    for variant in ["clean", "killed", "ext"] {
        let log = log_of(variant);
        for expected in expected_of(variant).iter().filter(|line| line["kind"] == "message") {
            let at = expected["physicalOffset"].as_u64().unwrap() as usize;
            let Ok(LogItem::Record(record)) = LogItem::parse(&log[at..]) else { panic!("{variant} at {at}") };
            check(variant, expected, record);
        }
    }
}

#[test]
fn a_walk_over_the_log_meets_records_blanks_and_the_end_where_apache_does() {
    for variant in ["clean", "killed", "ext"] {
        let log = log_of(variant);
        let mut at = 0;
        for expected in expected_of(variant) {
            assert_eq!(expected["physicalOffset"], at, "{variant}");
            at += match (expected["kind"].as_str().unwrap(), LogItem::parse(&log[at..]).unwrap()) {
                ("message", LogItem::Record(record)) => record.len(),
                ("blank", LogItem::Blank { len }) => len,
                ("end", LogItem::End) => break,
                (kind, item) => panic!("{variant} at {at}: {kind} expected, {item:?} found"),
            };
        }
    }
}

#[test]
fn every_field_of_every_record_is_what_apache_reads() {
    for_each_record(|variant, expected, record| {
        let at = &expected["physicalOffset"];
        let is = |field: &str, value: Value| assert_eq!(expected[field], value, "{variant} at {at}: {field}");
        let host = |host: std::net::SocketAddr| {
            let ip = if host.ip() == std::net::Ipv6Addr::LOCALHOST {
                "0:0:0:0:0:0:0:1".into()
            } else {
                host.ip().to_string()
            };
            Value::from(format!("{ip}|{}", host.port()))
        };
        is("size", record.len().into());
        is("magic", format!("0x{:08X}", record.magic()).into());
        is("topic", record.topic().into());
        is("queueId", record.queue_id().into());
        is("queueOffset", record.queue_offset().into());
        is("physicalOffset", record.physical_offset().into());
        is("flag", record.flag().into());
        is("sysFlag", record.sys_flag().0.into());
        is("bornTimestamp", record.born_timestamp().into());
        is("bornHost", host(record.born_host()));
        is("storeTimestamp", record.store_timestamp().into());
        is("storeHost", host(record.store_host()));
        is("reconsumeTimes", record.reconsume_times().into());
        is("preparedTransactionOffset", record.prepared_transaction_offset().into());
        is("bodyCRC", record.body_crc().into());
        is("bodyLength", record.body().len().into());
        is("msgId", record.message_id().to_string().into());
        is("propertiesText", record.properties_text().into());
        let properties = record.properties();
        let map = properties.iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
        is("properties", Value::Object(map.collect()));
        is("tagsCode", tags_code(properties.get(names::TAGS)).into());
        record.verify_crc().unwrap();
    });
}

#[test]
fn every_record_encodes_back_to_its_bytes() {
    for_each_record(|variant, expected, view| {
        let new = NewRecord {
            topic: view.topic(),
            queue_id: view.queue_id(),
            flag: view.flag(),
            sys_flag: view.sys_flag().0,
            born_timestamp: view.born_timestamp(),
            born_host: view.born_host(),
            store_host: view.store_host(),
            reconsume_times: view.reconsume_times(),
            prepared_transaction_offset: view.prepared_transaction_offset(),
            body: view.body(),
            properties: view.properties_bytes(),
            body_crc: record::body_crc(view.body()),
        };
        new.check().unwrap();
        let mut bytes = vec![0xEE; new.encoded_len()];
        new.encode(&mut bytes, assigned(&view));
        assert!(bytes == view.bytes(), "{variant} at {}", expected["physicalOffset"]);
    });
}

fn assigned(view: &RecordView<'_>) -> Assigned {
    Assigned {
        queue_offset: view.queue_offset(),
        physical_offset: view.physical_offset(),
        store_timestamp: view.store_timestamp(),
    }
}

#[test]
fn properties_are_written_in_the_order_apache_wrote_them() {
    let mut fresh = 0;
    for_each_record(|variant, expected, record| {
        let text = record.properties_text();
        let text = text.split_once("__CRC32#").map_or(text, |(before, _)| before);
        if text.matches("UNIQ_KEY\u{1}").count() > 1 {
            return; // an element of a batch keeps the client's bytes
        }
        let properties = Properties::parse(text);
        let written = |table| {
            let mut out = Vec::new();
            properties.encode_as(table, &mut out);
            String::from_utf8(out).unwrap()
        };
        if written(Table::Parsed) != text {
            fresh += 1;
            assert_eq!(written(Table::Fresh), text, "{variant} at {}: {}", expected["physicalOffset"], record.topic());
        }
    });
    assert!(fresh < 20, "{fresh} records were written from a small table");
}

#[test]
fn whole_record_checksums_are_verified_and_reproduced() {
    let mut seen = 0;
    for_each_record(|variant, _, view| {
        let outcome = view.properties_crc();
        assert_eq!(outcome == PropertiesCrc::Good, variant == "ext", "{variant}: {outcome:?}");
        if variant != "ext" {
            return;
        }
        seen += 1;
        let mut bytes = view.bytes().to_vec();
        let end = bytes.len();
        bytes[end - 11..end - 1].fill(b'0');
        assert!(record::fill_properties_crc(&mut bytes));
        assert!(bytes == view.bytes());
        bytes[90] ^= 1;
        if let Ok(LogItem::Record(bad)) = LogItem::parse(&bytes) {
            assert_eq!(bad.properties_crc(), PropertiesCrc::Bad);
        }
    });
    assert!(seen > 0);
}
