//! Garbage is an error that says what is wrong, and tolerance goes exactly as far as Apache's.

use bytes::BytesMut;
use tenonmq_protocol::{
    Command, CommandView, DecodeError, Envelope, FrameError, FrameView, FrameWriter, HeaderError, HeaderScratch,
    RequestCode, Serialization,
};

const MAX: usize = 4096;

fn frame(serialization: u8, header: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend((u32::from(serialization) << 24 | header.len() as u32).to_be_bytes());
    bytes.extend(header);
    bytes
}

fn decode(serialization: u8, header: impl AsRef<[u8]>) -> Result<Command, DecodeError> {
    Command::decode(&FrameView::peek(&frame(serialization, header.as_ref()), MAX).unwrap().unwrap())
}

fn json(header: &str) -> Result<Command, DecodeError> {
    decode(0, header)
}

fn fields(header: &str) -> Vec<(String, String)> {
    json(&format!("{{\"code\":1,\"extFields\":{header}}}")).unwrap().fields
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

#[test]
fn a_frame_that_is_not_complete_asks_for_more_bytes() {
    let mut bytes = frame(0, b"{}");
    bytes.extend(b"next");
    for end in 0..10 {
        assert!(FrameView::peek(&bytes[..end], MAX).unwrap().is_none(), "{end}");
    }
    let view = FrameView::peek(&bytes, MAX).unwrap().unwrap();
    assert_eq!((view.header, view.body, view.len), (&b"{}"[..], &b""[..], 10));
}

#[test]
fn lengths_that_cannot_be_are_refused_before_the_bytes_arrive() {
    let peek = |bytes: &[u8]| FrameView::peek(bytes, MAX).unwrap_err();
    assert_eq!(peek(&[0xFF; 4]), FrameError::TotalLength(-1));
    assert_eq!(peek(&[0, 0, 0, 3]), FrameError::TotalLength(3));
    assert_eq!(peek(&[0, 0, 0x0F, 0xFD]), FrameError::TooLarge { len: 4097, max: MAX });
    assert_eq!(peek(&[0, 0, 0, 5, 0, 0, 0, 2]), FrameError::HeaderLength { header: 2, total: 5 });
    assert_eq!(peek(&[0, 0, 0, 5, 7, 0, 0, 1]), FrameError::Serialization(7));
    assert!(FrameView::peek(&[0, 0, 0x0F, 0xFC], MAX).unwrap().is_none());
}

#[test]
fn what_fastjson_reads_is_read() {
    let expected = vec![pair("topic", "T"), pair("n", "-5"), pair("ok", "true"), pair("o", "{\"x\":[1,\"}\"]}")];
    assert_eq!(fields(r#"{"topic":"T","n":-5,"ok":true,"none":null,"o":{"x":[1,"}"]}}"#), expected);
    assert_eq!(fields(r#" { 'topic' : 'T' , n : "-5" , ok : 'true', "o" :{"x":[1,"}"]}, } "#), expected);
    assert_eq!(fields("null"), []);
    let command = json(
        "\n{code:'310',\"opaque\":\"-7\",version:401,\"unknown\":[{}],language:\"KLINGON\",flag:2,remark:\"\"}\0 ",
    );
    assert_eq!(command.as_ref().err(), Some(&DecodeError::Json { at: 90, expected: "the end of the header" }));
    let command = json(
        "\n{code:'310',\"opaque\":\"-7\",version:401,\"unknown\":[{}],language:\"KLINGON\",flag:2,remark:\"\"}\n\0",
    )
    .unwrap();
    assert_eq!((command.code, command.opaque, command.version, command.flag), (310, -7, 401, 2));
    assert_eq!((command.language, command.remark), (tenonmq_protocol::Language::Other, None));
    assert_eq!(json("{}").unwrap().code, 0);
}

#[test]
fn every_escape_is_understood() {
    let value = r#"\u0001\u0002\u00e9\ud83d\ude00\n\r\t\b\f\v\/\\\"\'\x41\0|\ud83d|\ud83d\u0041"#;
    let text = "\u{1}\u{2}é😀\n\r\t\u{8}\u{c}\u{b}/\\\"'A\0|\u{fffd}|\u{fffd}A";
    assert_eq!(fields(&format!(r#"{{"i":"{value}","k\u0065y":"v"}}"#)), [pair("i", text), pair("key", "v")]);
}

#[test]
fn white_space_between_any_two_characters_of_structure_changes_nothing() {
    let header = concat!(
        r#"{"code":310,"extFields":{"a":"shop","b":"","name":"x\"y","i":"KEYS\u0001k\u0002"},"flag":3,"language":"JAVA","#,
        r#""opaque":7,"remark":"why","serializeTypeCurrentRPC":"JSON","version":-475}"#
    );
    let plain = json(header).unwrap();
    assert_eq!((plain.code, plain.flag, plain.opaque, plain.version), (310, 3, 7, -475));
    assert_eq!(plain.fields, [pair("a", "shop"), pair("b", ""), pair("name", "x\"y"), pair("i", "KEYS\u{1}k\u{2}")]);
    let mut in_string = false;
    for (at, byte) in header.bytes().enumerate() {
        in_string ^= byte == b'"' && header.as_bytes().get(at.wrapping_sub(1)) != Some(&b'\\');
        if !in_string && !byte.is_ascii_digit() && byte != b'-' {
            let spaced = format!("{} \n{}", &header[..=at], &header[at + 1..]);
            assert_eq!(json(&spaced).unwrap(), plain, "{spaced}");
        }
    }
}

#[test]
fn broken_json_is_an_error_that_says_where() {
    let at = |header: &str| match json(header) {
        Err(DecodeError::Json { at, expected }) => (at, expected),
        other => panic!("{header}: {other:?}"),
    };
    assert_eq!(at(""), (0, "an object"));
    assert_eq!(at("[]"), (0, "an object"));
    assert_eq!(at("{"), (1, "a key or the end of the object"));
    assert_eq!(at("{:1}"), (1, "a key"));
    assert_eq!(at(r#"{"code" 1}"#), (8, "a colon"));
    assert_eq!(at(r#"{"code":}"#), (8, "a value"));
    assert_eq!(at(r#"{"code":1 2}"#), (10, "a comma or the end of the object"));
    assert_eq!(at(r#"{"remark":"x"#), (12, "the end of a string"));
    assert_eq!(at(r#"{"remark":"\"#), (11, "an escape sequence"));
    assert_eq!(at(r#"{"remark":"\q"}"#), (11, "an escape sequence"));
    assert_eq!(at(r#"{"remark":"\u00g0"}"#), (11, "an escape sequence"));
    assert_eq!(at(r#"{"extFields":5}"#), (13, "an object of extFields"));
    assert_eq!(at(r#"{"x":[1,2"#), (9, "the end of a nested value"));
    assert_eq!(at("{}x"), (2, "the end of the header"));
}

#[test]
fn envelope_fields_that_are_not_numbers_are_named() {
    assert_eq!(json(r#"{"code":"x"}"#), Err(DecodeError::Number { field: "code" }));
    assert_eq!(json(r#"{"opaque":2147483648}"#), Err(DecodeError::Number { field: "opaque" }));
    assert_eq!(json(r#"{"flag":{}}"#), Err(DecodeError::Number { field: "flag" }));
    assert_eq!(json(r#"{"version":1.5}"#), Err(DecodeError::Number { field: "version" }));
}

#[test]
fn depth_and_number_of_fields_are_limited() {
    let many = |count: usize| {
        let fields: Vec<_> = (0..count).map(|at| format!("\"f{at}\":\"v\"")).collect();
        json(&format!("{{\"extFields\":{{{}}}}}", fields.join(",")))
    };
    assert_eq!(many(128).unwrap().fields.len(), 128);
    assert_eq!(many(129), Err(DecodeError::TooManyFields { limit: 128 }));
    let deep = format!("{{\"x\":{}", "[".repeat(100));
    assert_eq!(json(&deep), Err(DecodeError::TooDeep { limit: 16 }));
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    assert_eq!(decode(0, b"{\"a\":\"\xFF\"}"), Err(DecodeError::NotUtf8 { at: 6 }));
    let mut header = vec![0; 13];
    header.extend([0, 0, 0, 2, b'a', 0xFF, 0, 0, 0, 0]);
    assert_eq!(decode(1, header), Err(DecodeError::NotUtf8 { at: 18 }));
}

#[test]
fn binary_headers_that_end_early_or_lie_about_lengths_are_refused() {
    let fixed = [0, 10, 0, 1, 0xDF, 0, 0, 0, 1, 0, 0, 0, 0];
    let header = |rest: &[u8]| decode(1, [&fixed[..], rest].concat());
    assert_eq!(header(&[0, 0, 0, 0]), Err(DecodeError::Truncated { field: "extFieldsLength" }));
    assert_eq!(header(&[0, 0]), Err(DecodeError::Truncated { field: "remarkLength" }));
    let lie = |field, value, available| Err(DecodeError::Length { field, value, available });
    assert_eq!(header(&[0, 0, 0, 9, b'x']), lie("remarkLength", 9, 1));
    assert_eq!(header(&[0xFF; 4]), lie("remarkLength", -1, 0));
    assert_eq!(header(&[0, 0, 0, 0, 0, 0, 0, 5, 0]), lie("extFieldsLength", 5, 1));
    assert_eq!(header(&[0, 0, 0, 0, 0, 0, 0, 3, 0xFF, 0xFE, 0]), lie("field name length", -2, 1));
    assert_eq!(
        header(&[0, 0, 0, 0, 0, 0, 0, 3, 0, 1, b'a']),
        Err(DecodeError::Truncated { field: "field value length" })
    );
    let command = header(&[0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!((command.code, command.version, command.opaque), (10, 479, 1));
}

#[test]
fn the_binary_example_of_the_reference_is_read_and_written() {
    let mut out = BytesMut::new();
    let envelope =
        Envelope { version: 0, flag: 2, remark: Some("r"), ..Envelope::request(RequestCode::SEND_MESSAGE_V2, 0) };
    let mut writer = FrameWriter::begin(&mut out, Serialization::Binary, &envelope);
    writer.field("a", "pg").field("b", "T").field("e", 1).field("i", "K\u{1}v\u{2}").field("m", false);
    writer.finish(0);
    let expected = "0136 00 0000 00000000 00000002 00000001 72 00000030 0001 61 00000002 7067 0001 62 00000001 54 \
                    0001 65 00000001 31 0001 69 00000004 4b017602 0001 6d 00000005 66616c7365";
    let hex: String = out[8..].iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = expected.replace(' ', "");
    assert_eq!(hex, expected);
}

#[test]
fn fields_are_found_by_name_and_errors_name_them() {
    let header = br#"{"extFields":{"a":"1","b":"x","topic":"T","topic":"U","flag":"TRUE","z":""},"code":1}"#;
    let bytes = frame(0, header);
    let mut scratch = HeaderScratch::default();
    let view = FrameView::peek(&bytes, MAX).unwrap().unwrap();
    let fields = CommandView::parse(&view, &mut scratch).unwrap().fields;
    assert_eq!((fields.get("a"), fields.get("topic"), fields.get("z")), (Some("1"), Some("U"), Some("")));
    assert_eq!((fields.get("c"), fields.get("opic"), fields.get("")), (None, None, None));
    assert_eq!(fields.number("a"), Ok(1i64));
    assert_eq!(fields.number_or("c", 9), Ok(9));
    assert_eq!(fields.optional_number::<i32>("c"), Ok(None));
    assert_eq!(fields.number::<i32>("c"), Err(HeaderError::missing("c")));
    let invalid = fields.number_or("b", 1).unwrap_err();
    assert_eq!(invalid.to_string(), "header field b holds \"x\", a number in range expected");
    assert!(fields.flag("flag") && !fields.flag("a") && !fields.flag("c"));
}
