//! Whatever arrives, parsers answer; they never panic, and what they accept they can write and read again.

use proptest::prelude::*;
use tenonmq_protocol::body::{HeartbeatData, RegisterBrokerBody, TopicStatsTable, json};
use tenonmq_protocol::header::{EndTransaction, PullMessage, RecallHandle, ReceiptHandle, SendMessage};
use tenonmq_protocol::message::properties::Table;
use tenonmq_protocol::message::{
    Assigned, BatchElement, Compression, LogItem, NewRecord, OffsetMessageId, Properties, RecordView, batch, record,
};
use tenonmq_protocol::{
    Command, CommandView, DEFAULT_MAX_FRAME, FrameView, HeaderScratch, Language, RequestHeader, Serialization,
};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

/// Text in which structure is likely: the characters that parsers look for, and others.
fn json_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(":"),
        Just(","),
        Just("\""),
        Just("'"),
        Just("\\"),
        Just("\\u0001"),
        Just("\\ud83d"),
        Just("\"code\":310"),
        Just("\"extFields\":{"),
        Just("\"a\":\"b\""),
        Just("\"$ref\":\"$.a[0]\""),
        Just("null"),
        Just("true"),
        Just("-1"),
        Just(" "),
        Just("é😀"),
        Just("offsetTable"),
        Just("\"clientID\""),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z_é%]{1,12}"
}

fn decode(serialization: Serialization, header: &[u8], body: &[u8]) -> Option<Command> {
    let len = 8 + header.len() + body.len();
    let frame = FrameView { serialization, header, body, len };
    let mut scratch = HeaderScratch::default();
    let view = CommandView::parse(&frame, &mut scratch).ok()?;
    let _ = SendMessage::decode(&view.fields);
    let _ = PullMessage::decode(&view.fields);
    let _ = EndTransaction::decode(&view.fields);
    Command::decode(&frame).ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_from_any_bytes(bytes in bytes(), max in 0usize..400) {
        if let Ok(Some(frame)) = FrameView::peek(&bytes, max) {
            prop_assert!(frame.len <= bytes.len() && frame.len <= max);
            prop_assert_eq!(frame.header.len() + frame.body.len() + 8, frame.len);
            decode(frame.serialization, frame.header, frame.body);
        }
    }

    #[test]
    fn headers_from_any_bytes(header in bytes()) {
        decode(Serialization::Json, &header, b"");
        decode(Serialization::Binary, &header, b"");
        let fixed = [&[0, 10, 0, 1, 0xDF, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &header[..]].concat();
        decode(Serialization::Binary, &fixed, b"");
    }

    #[test]
    fn headers_from_nearly_json(text in json_like()) {
        for header in [text.clone(), format!("{{\"code\":1,\"extFields\":{{{text}}}}}")] {
            if let Some(command) = decode(Serialization::Json, header.as_bytes(), b"") {
                let mut out = bytes::BytesMut::new();
                command.encode(Serialization::Json, &mut out);
                let frame = FrameView::peek(&out, DEFAULT_MAX_FRAME).unwrap().unwrap();
                prop_assert_eq!(Command::decode(&frame).unwrap(), command);
            }
        }
    }

    #[test]
    fn commands_survive_both_serializations(
        code in any::<i16>(), opaque in any::<i32>(), flag in any::<i32>(), version in any::<i16>(),
        language in 0u8..14, remark in any::<Option<String>>(), body in bytes(),
        fields in prop::collection::vec((name(), any::<String>()), 0..20),
    ) {
        let command = Command {
            code: code.into(), opaque, flag, version: version.into(), language: Language::from_code(language),
            remark: remark.filter(|remark| !remark.is_empty()), fields, body: body.into(),
        };
        for serialization in [Serialization::Json, Serialization::Binary] {
            let mut out = bytes::BytesMut::new();
            command.encode(serialization, &mut out);
            let frame = FrameView::peek(&out, DEFAULT_MAX_FRAME).unwrap().unwrap();
            prop_assert_eq!(frame.len, out.len());
            prop_assert_eq!(&Command::decode(&frame).unwrap(), &command);
            prop_assert!(FrameView::peek(&out[..out.len() - 1], DEFAULT_MAX_FRAME).unwrap().is_none());
        }
    }

    #[test]
    fn bodies_from_nearly_json(text in json_like(), garbage in bytes()) {
        for body in [text.as_bytes(), &garbage] {
            let _ = json::from_slice::<TopicStatsTable>(body);
            let _ = json::from_slice::<HeartbeatData>(body);
            let _ = RegisterBrokerBody::decode(body, 479, 1 << 16);
        }
        let table = format!("{{\"offsetTable\":{{{text}}}}}");
        if let Ok(value) = json::from_str::<TopicStatsTable>(&table) {
            prop_assert_eq!(json::from_slice::<TopicStatsTable>(&json::to_vec(&value)).unwrap(), value);
        }
    }

    #[test]
    fn records_from_any_bytes(mut bytes in bytes(), magic in prop::sample::select(vec![
        record::MAGIC_V1, record::MAGIC_V2, record::MAGIC_BLANK, 0,
    ]), honest in any::<bool>()) {
        let _ = LogItem::parse(&bytes);
        if bytes.len() >= 8 {
            let size = bytes.len() as u32;
            if honest {
                bytes[..4].copy_from_slice(&size.to_be_bytes());
            }
            bytes[4..8].copy_from_slice(&magic.to_be_bytes());
            let _ = LogItem::parse(&bytes);
            for parsed in RecordView::iter_all(&bytes).flatten() {
                prop_assert!(parsed.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn records_with_any_byte_changed(
        topic in "[a-z]{1,200}", body in bytes(), properties in bytes(), at in any::<prop::sample::Index>(),
        value in any::<u8>(), v6 in any::<bool>(),
    ) {
        let host = if v6 { "[fd00::1]:10911" } else { "10.0.0.1:10911" }.parse().unwrap();
        let new = NewRecord {
            topic: &topic, queue_id: 1, flag: 2, sys_flag: 0, born_timestamp: 3, born_host: host, store_host: host,
            reconsume_times: 4, prepared_transaction_offset: 5, body: &body, properties: &properties,
            body_crc: record::body_crc(&body),
        };
        let mut encoded = vec![0; new.encoded_len()];
        let place = Assigned { queue_offset: 6, physical_offset: 7, store_timestamp: 8 };
        new.encode(&mut encoded, place);
        let view = RecordView::parse(&encoded).unwrap();
        prop_assert_eq!((view.topic(), view.body(), view.properties_bytes()), (&*topic, &*body, &*properties));
        prop_assert_eq!((view.born_host(), view.store_host(), view.store_timestamp()), (host, host, 8));
        prop_assert_eq!((view.reconsume_times(), view.prepared_transaction_offset()), (4, 5));
        prop_assert!(view.verify_crc().is_ok());
        prop_assert!(RecordView::parse(&encoded[..encoded.len() - 1]).is_err());
        let at = at.index(encoded.len());
        encoded[at] = value;
        if let Ok(LogItem::Record(view)) = LogItem::parse(&encoded) {
            let _ = (view.verify_crc(), view.properties_crc(), view.properties(), view.message_id());
        }
    }

    #[test]
    fn batches_from_any_bytes(body in bytes(), flag in any::<i32>(), properties in bytes()) {
        let _ = batch::count(&body);
        let element = BatchElement { flag, body: &body, properties: &properties };
        let mut encoded = Vec::new();
        element.encode_into(&mut encoded).unwrap();
        element.encode_into(&mut encoded).unwrap();
        let read: Vec<_> = batch::elements(&encoded).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read, [element, element]);
    }

    #[test]
    fn properties_from_any_text(
        text in "[ab\u{1}\u{2}é]{0,200}", set in prop::collection::vec((name(), name()), 0..60),
    ) {
        let mut properties = Properties::parse(&text);
        for (name, value) in &set {
            properties.set(name, value);
        }
        for table in [Table::Parsed, Table::Fresh] {
            let mut out = Vec::new();
            properties.encode_as(table, &mut out);
            let out = String::from_utf8(out).unwrap();
            let again = Properties::parse(&out);
            prop_assert_eq!(again.len(), properties.len());
            prop_assert!(properties.iter().all(|(name, value)| again.get(name) == Some(value)));
        }
    }

    #[test]
    fn ids_handles_and_compressed_bodies_from_anything(text in any::<String>(), hex in "[0-9a-fA-F]{32}", bytes in bytes()) {
        let _ = (text.parse::<OffsetMessageId>(), ReceiptHandle::parse(&text), RecallHandle::parse(&text));
        prop_assert_eq!(hex.parse::<OffsetMessageId>().unwrap().to_string()[16..].to_owned(), hex[16..].to_uppercase());
        for kind in [Compression::Zlib, Compression::Lz4, Compression::Zstd] {
            let _ = kind.decompress(&bytes, 1000);
            let packed = kind.compress(&bytes, Compression::DEFAULT_LEVEL).unwrap();
            prop_assert_eq!(&kind.decompress(&packed, bytes.len()).unwrap(), &bytes);
        }
    }
}
