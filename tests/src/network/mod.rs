//! Bad networks and bad peers: raw connections, the frames that are cut and dribbled, and a proxy that mixes up replies.

pub mod proxy;
pub mod wire;

use bytes::{Bytes, BytesMut};
use tenonmq_protocol::{Command, RequestCode, Serialization, header::SendMessage};

/// The topic of [`frames`]; the broker makes it with the first send.
pub const TOPIC: &str = "network";

/// A send to queue 0.
pub fn send(opaque: i32, body: &[u8], properties: &str) -> Bytes {
    let header = SendMessage {
        producer_group: "P_network",
        topic: TOPIC,
        default_topic: "TBW102",
        default_topic_queue_nums: 1,
        properties,
        ..SendMessage::default()
    };
    encode(Command { opaque, ..Command::with_header(&header).with_body(body.to_vec()) })
}

/// A pull of queue 0 that waits so long for a message.
pub fn pull(opaque: i32, offset: i64, wait_ms: u64) -> Bytes {
    let command = Command::request(RequestCode::PULL_MESSAGE)
        .with_field("consumerGroup", "C_network")
        .with_field("topic", TOPIC)
        .with_field("queueId", 0)
        .with_field("queueOffset", offset)
        .with_field("maxMsgNums", 32)
        .with_field("sysFlag", 6)
        .with_field("commitOffset", 0)
        .with_field("suspendTimeoutMillis", wait_ms)
        .with_field("subscription", "*")
        .with_field("subVersion", 0)
        .with_field("expressionType", "TAG");
    encode(Command { opaque, ..command })
}

/// A heartbeat of a producer.
pub fn heartbeat(opaque: i32, client: &str) -> Bytes {
    let body =
        format!(r#"{{"clientID":"{client}","consumerDataSet":[],"producerDataSet":[{{"groupName":"P_network"}}]}}"#);
    encode(Command { opaque, ..Command::request(RequestCode::HEART_BEAT).with_body(body) })
}

/// One frame of each kind that a client's life is made of, by name.
pub fn frames() -> Vec<(&'static str, Bytes)> {
    let half = "UNIQ_KEY\u{1}0A0B\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}P_network";
    let end = Command::request(RequestCode::END_TRANSACTION)
        .with_field("producerGroup", "P_network")
        .with_field("tranStateTableOffset", 1_000_000)
        .with_field("commitLogOffset", 1_000_000)
        .with_field("commitOrRollback", 8)
        .with_field("fromTransactionCheck", false)
        .with_field("msgId", "0A0B");
    let offset = Command::request(RequestCode::UPDATE_CONSUMER_OFFSET)
        .with_field("consumerGroup", "C_network")
        .with_field("topic", TOPIC)
        .with_field("queueId", 0)
        .with_field("commitOffset", 1);
    let pop = Command::request(RequestCode::POP_MESSAGE)
        .with_field("consumerGroup", "C_network_pop")
        .with_field("topic", TOPIC)
        .with_field("queueId", -1)
        .with_field("maxMsgNums", 1)
        .with_field("invisibleTime", 60_000)
        .with_field("pollTime", 0)
        .with_field("bornTime", 0)
        .with_field("initMode", 0)
        .with_field("expType", "TAG")
        .with_field("exp", "*");
    vec![
        ("send", send(1, b"body", "")),
        ("half", send(2, b"half", half)),
        ("commit", encode(Command { opaque: 3, ..end })),
        ("pull", pull(4, 0, 0)),
        ("offset commit", encode(Command { opaque: 5, ..offset })),
        ("pop", encode(Command { opaque: 6, ..pop })),
        ("heartbeat", heartbeat(7, "10.0.0.1@1")),
    ]
}

fn encode(command: Command) -> Bytes {
    let mut bytes = BytesMut::new();
    command.encode(Serialization::Json, &mut bytes);
    bytes.freeze()
}
