//! Names for the bytes of a record.

use tenonmq_protocol::message::{LogItem, RecordView};

/// Fields before the hosts, with their ends.
const HEAD: [(usize, &str); 9] = [
    (4, "totalSize"),
    (8, "magic"),
    (12, "bodyCRC"),
    (16, "queueId"),
    (20, "flag"),
    (28, "queueOffset"),
    (36, "physicalOffset"),
    (40, "sysFlag"),
    (48, "bornTimestamp"),
];

/// What the byte at `at` of a log file belongs to.
pub fn at(file: &[u8], at: usize) -> &'static str {
    let mut start = 0;
    while let Some(rest) = file.get(start..) {
        match LogItem::parse(rest) {
            Ok(LogItem::Record(record)) if at < start + record.len() => return field(&record, at - start),
            Ok(LogItem::Record(record)) => start += record.len(),
            Ok(LogItem::Blank { .. }) if at < start + 8 => return "filler",
            _ => break,
        }
    }
    "unused"
}

/// The field of a record that holds its byte number `at`.
pub fn field(record: &RecordView<'_>, at: usize) -> &'static str {
    let host = |v6| if v6 { 20 } else { 8 };
    let born = 48 + host(record.sys_flag().born_host_v6());
    let stored = born + 8;
    let store_host = stored + host(record.sys_flag().store_host_v6());
    let body = store_host + 16;
    let topic = body + record.body().len();
    let topic_width = if record.topic().len() > 127 { 2 } else { 1 };
    let properties = topic + topic_width + record.topic().len();
    let rest = [
        (born, "bornHost"),
        (stored, "storeTimestamp"),
        (store_host, "storeHost"),
        (store_host + 4, "reconsumeTimes"),
        (store_host + 12, "preparedTransactionOffset"),
        (body, "bodyLength"),
        (topic, "body"),
        (topic + topic_width, "topicLength"),
        (properties, "topic"),
        (properties + 2, "propertiesLength"),
    ];
    HEAD.iter().chain(&rest).find(|(end, _)| at < *end).map_or("properties", |(_, name)| name)
}
