//! The hot paths, as requests of Apache's Java client.

use std::{io, str::FromStr};

use bytes::BytesMut;
use tenonmq_protocol::{
    code::RequestCode,
    command::CommandView,
    frame::Serialization,
    message::OffsetMessageId,
    writer::{Envelope, FrameWriter},
};

use super::client::Client;

/// Requests that go together.
pub(super) const BUNDLE: i64 = 32;
/// Messages that a pull asks for.
const PULLED: i64 = 32;
const BODY: [u8; 1024] = [b'a'; 1024];
/// Every broker has it.
const TOPIC: &str = "BenchmarkTest";
const GROUP: &str = "ratio";

/// What is watched.
#[derive(Clone, Copy)]
pub(super) enum Path {
    Send,
    /// A half message and its commit.
    Transaction,
    Pull,
    Offset,
}

impl Path {
    /// In this order: a pull finds what was sent, and makes the group known that offsets are committed of.
    pub(super) const ALL: &[Self] = &[Self::Send, Self::Transaction, Self::Pull, Self::Offset];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Transaction => "transaction",
            Self::Offset => "offset",
            Self::Pull => "pull",
        }
    }

    /// Asks for this once for each of a bundle, and waits for all answers.
    pub(super) fn bundle(self, client: &mut Client) -> io::Result<()> {
        let first = client.asked;
        client.asked += BUNDLE;
        let mut requests = BytesMut::new();
        let mut commits = BytesMut::new();
        for number in first..client.asked {
            match self {
                Self::Send => send(&mut requests, number, "", 0),
                Self::Transaction => send(&mut requests, number, "PGROUP\u{1}ratio\u{2}TRAN_MSG\u{1}true\u{2}", 4),
                Self::Offset => offset(&mut requests, number),
                Self::Pull => pull(&mut requests),
            }
        }
        let transaction = matches!(self, Self::Transaction);
        client.ask(&requests, BUNDLE as usize, |half| if transaction { commit(&mut commits, half) } else { Ok(()) })?;
        if transaction { client.ask(&commits, BUNDLE as usize, |_| Ok(())) } else { Ok(()) }
    }
}

fn send(out: &mut BytesMut, number: i64, extra_properties: &str, sys_flag: i32) {
    let properties = format!("{extra_properties}UNIQ_KEY\u{1}7F000001000018B4AAC2{number:012X}\u{2}WAIT\u{1}true\u{2}");
    let mut writer = begin(out, RequestCode::SEND_MESSAGE_V2);
    writer.field("a", GROUP).field("b", TOPIC).field("c", "TBW102").field("d", 4).field("e", 0).field("f", sys_flag);
    writer.field("g", 1_795_248_619_331_i64).field("h", 0).field("i", properties.as_str()).field("j", 0);
    writer.field("k", false).field("m", false);
    writer.finish(BODY.len());
    out.extend_from_slice(&BODY);
}

fn commit(out: &mut BytesMut, half: &CommandView<'_>) -> io::Result<()> {
    let field = |name| half.fields.get(name).ok_or_else(|| io::Error::other(format!("the answer has no {name}")));
    let id = OffsetMessageId::from_str(field("msgId")?).map_err(io::Error::other)?;
    let key = field("transactionId")?;
    let mut writer = begin(out, RequestCode::END_TRANSACTION);
    writer.field("topic", TOPIC).field("producerGroup", GROUP).field("tranStateTableOffset", field("queueOffset")?);
    writer.field("commitLogOffset", id.offset).field("commitOrRollback", 8).field("fromTransactionCheck", false);
    writer.field("msgId", key).field("transactionId", key);
    writer.finish(0);
    Ok(())
}

fn offset(out: &mut BytesMut, number: i64) {
    let mut writer = begin(out, RequestCode::UPDATE_CONSUMER_OFFSET);
    writer.field("queueId", 0).field("bname", "broker-a").field("commitOffset", number % 64);
    writer.field("topic", TOPIC).field("consumerGroup", GROUP);
    writer.finish(0);
}

fn pull(out: &mut BytesMut) {
    let mut writer = begin(out, RequestCode::PULL_MESSAGE);
    writer.field("consumerGroup", GROUP).field("topic", TOPIC).field("queueId", 0).field("queueOffset", 0);
    writer.field("maxMsgNums", PULLED).field("sysFlag", 4).field("commitOffset", 0).field("suspendTimeoutMillis", 0);
    writer.field("subscription", "*").field("subVersion", 0).field("expressionType", "TAG");
    writer.field("maxMsgBytes", i32::MAX);
    writer.finish(0);
}

fn begin(out: &mut BytesMut, code: RequestCode) -> FrameWriter<'_> {
    FrameWriter::begin(out, Serialization::Json, &Envelope::request(code, 0))
}
