use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{JsonError, from_str, to_vec, to_vec_pretty, to_vec_standard};
use crate::message::MessageQueue;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Sample {
    id: i32,
    name: Option<String>,
    on: bool,
    queues: BTreeMap<MessageQueue, i64>,
    rate: f64,
    table: BTreeMap<i32, String>,
}

fn sample() -> Sample {
    Sample {
        id: 7,
        name: None,
        on: true,
        queues: BTreeMap::from([(MessageQueue::new("T", "b0", 1), 5)]),
        rate: 2.0,
        table: BTreeMap::from([(0, "a\u{1}".into()), (-1, "b".into())]),
    }
}

const RAW: &str = r#"{"id":7,"on":true,"queues":{{"brokerName":"b0","queueId":1,"topic":"T"}:5},"rate":2.0,"table":{-1:"b",0:"a\u0001"}}"#;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn keys_are_written_raw_in_the_dialect_and_quoted_in_standard_json() {
    assert_eq!(text(to_vec(&sample())), RAW);
    let standard = text(to_vec_standard(&sample()));
    assert!(standard.contains(r#""queues":{"{\"brokerName\":\"b0\",\"queueId\":1,\"topic\":\"T\"}":5}"#), "{standard}");
    assert!(standard.contains(r#""table":{"-1":"b","0":"a\u0001"}"#), "{standard}");
    assert!(serde_json::from_str::<serde_json::Value>(&standard).is_ok());
}

#[test]
fn every_way_of_writing_reads_back() {
    for written in [to_vec(&sample()), to_vec_pretty(&sample()), to_vec_standard(&sample())] {
        let written = text(written);
        assert_eq!(from_str::<Sample>(&written).unwrap(), sample(), "{written}");
    }
    assert!(
        text(to_vec_pretty(&sample())).starts_with("{\n\t\"id\":7,\n\t\"on\":true,\n\t\"queues\":{\n\t\t{\"broker")
    );
}

#[test]
fn what_fastjson_reads_is_read() {
    let read = |text: &str| from_str::<Sample>(text).unwrap();
    assert_eq!(read(RAW), sample());
    let loose = " { id : '7' , 'on':\"TRUE\",unknown:[{},{a:{b:1}}],rate:\"2\", name:null,
        queues : {'{\"topic\":\"T\",\"brokerName\":\"b0\",\"queueId\":\"1\"}':'5',}, table:{'0':\"a\\u0001\", \"-1\":'b'}}\n\0";
    assert_eq!(read(loose), sample());
    assert_eq!(read(r#"{"name":5}"#).name.as_deref(), Some("5"));
    assert_eq!(read(r#"{"id":null,"queues":null,"rate":NaN}"#), Sample::default());
    assert_eq!(read(r#"{"id":7.0}"#).id, 7);
}

#[test]
fn references_are_followed_and_lead_to_null_when_they_lead_nowhere() {
    let read = |text: &str| from_str::<BTreeMap<String, Option<Sample>>>(text);
    let table = read(r#"{"a":{"id":3},"b":{"$ref":"$.a"},"c":{"$ref":"$.x.null"},"d":{"$ref":"$.d"}}"#).unwrap();
    assert_eq!(table["b"], table["a"]);
    assert_eq!((&table["c"], &table["d"]), (&None, &None));
    let list = from_str::<Vec<Vec<Sample>>>(r#"[[{"id":1}],[{"$ref":"$[0][0]"}]]"#).unwrap();
    assert_eq!(list[0], list[1]);
}

#[test]
fn references_that_blow_up_are_refused() {
    type Deep = BTreeMap<String, Vec<Vec<Vec<Vec<Vec<i32>>>>>>;
    let tenfold = |of: &str| format!("[{}]", vec![format!("{{\"$ref\":\"{of}\"}}"); 60].join(","));
    let text = format!(
        "{{\"a\":{},\"b\":{},\"c\":{},\"d\":{},\"e\":{}}}",
        tenfold("$.b"),
        tenfold("$.c"),
        tenfold("$.d"),
        tenfold("$.e"),
        tenfold("$.f"),
    );
    assert_eq!(from_str::<Deep>(&text).unwrap_err(), JsonError::TooManyReferences);
    assert_eq!(from_str::<Sample>(&"[".repeat(100)).unwrap_err(), JsonError::TooDeep { limit: 64 });
}

#[test]
fn errors_name_the_field_or_the_place() {
    let error = |text: &str| from_str::<BTreeMap<String, Sample>>(text).unwrap_err().to_string();
    assert_eq!(error(r#"{"a":{"id":"x"}}"#), "body field a.id: \"x\" found, a whole number expected");
    assert_eq!(error(r#"{"a":{"table":{"0":[]}}}"#), "body field a.table.0: an array found, a string expected");
    assert_eq!(error(r#"{"a":[]}"#), "body field a: an array found, an object expected");
    assert_eq!(error(r#"{"a" 1}"#), "body is not JSON at byte 5: a colon expected");
    assert_eq!(error(r#"{"a":yes}"#), "body is not JSON at byte 5: a value expected");
    assert_eq!(error(""), "body is not JSON at byte 0: a value expected");
    assert_eq!(error("{"), "body is not JSON at byte 1: more text expected");
    assert_eq!(error("{}x"), "body is not JSON at byte 2: the end of the body expected");
    let big = error(r#"{"a":{"id":2147483648}}"#);
    assert!(big.starts_with("body field a.id: ") && big.contains("2147483648"), "{big}");
}
