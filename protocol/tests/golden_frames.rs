//! Every frame captured between Apache's broker, name server and clients decodes to what was recorded about it, and
//! encodes to a frame that says the same.

mod common;

use bytes::BytesMut;
use common::{Captured, captured};
use serde_json::{Map, Value};
use tenonmq_protocol::{Command, CommandView, DEFAULT_MAX_FRAME, FrameView, HeaderScratch, Serialization};

fn one_frame(bytes: &[u8]) -> FrameView<'_> {
    let frame = FrameView::peek(bytes, DEFAULT_MAX_FRAME).unwrap().unwrap();
    assert_eq!(frame.len, bytes.len());
    frame
}

#[test]
fn the_captures_are_all_there() {
    let all = captured();
    assert!(all.len() > 3000, "{}", all.len());
    for folder in ["extra-run", "acting-master", "compressed-register"] {
        assert!(all.iter().any(|frame| frame.folder == folder), "{folder}");
    }
}

#[test]
fn every_captured_frame_decodes_to_what_was_recorded() {
    let mut scratch = HeaderScratch::default();
    for Captured { bytes, line, .. } in captured() {
        let frame = one_frame(&bytes);
        let command = CommandView::parse(&frame, &mut scratch).unwrap();
        let is = |field: &str, value: Value| assert_eq!(line[field], value, "{field} of {line}");
        is("serializeType", if frame.serialization == Serialization::Json { "JSON" } else { "ROCKETMQ" }.into());
        is("headerLength", frame.header.len().into());
        is("code", command.code.into());
        is("opaque", command.opaque.into());
        is("flag", command.flag.into());
        is("language", command.language.name().into());
        is("version", command.version.into());
        assert_eq!(
            line.get("remark").and_then(Value::as_str).filter(|remark| !remark.is_empty()),
            command.remark,
            "{line}"
        );
        let fields: Map<_, _> =
            command.fields.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        let expected = line.get("extFields").and_then(Value::as_object).cloned().unwrap_or_default();
        assert_eq!(fields, expected, "{line}");
        is("bodyLength", frame.body.len().into());
        is("bodyCrc32", crc32fast::hash(frame.body).into());
        assert_eq!(command.is_response(), line["kind"] == "response");
        assert_eq!(command.is_oneway(), line["kind"] == "oneway");
    }
}

#[test]
fn every_captured_frame_encodes_to_one_that_decodes_alike() {
    for Captured { bytes, line, .. } in captured() {
        let command = Command::decode(&one_frame(&bytes)).unwrap();
        for serialization in [Serialization::Json, Serialization::Binary] {
            if serialization == Serialization::Binary && i16::try_from(command.code).is_err() {
                continue; // does not fit in a binary header
            }
            let mut out = BytesMut::from(&b"earlier"[..]);
            command.encode(serialization, &mut out);
            let frame = one_frame(&out[7..]);
            assert_eq!(frame.serialization, serialization);
            let mut again = Command::decode(&frame).unwrap();
            let mut expected = command.clone();
            again.fields.sort();
            expected.fields.sort();
            assert_eq!(again, expected, "{line}");
        }
    }
}
