//! The typed headers take every field of every captured request and response, and give back the same.

mod common;

use std::collections::BTreeSet;

use common::captured;
use tenonmq_protocol::header::*;
use tenonmq_protocol::{
    Command, DEFAULT_MAX_FRAME, Fields, FrameView, HeaderError, RequestCode, RequestHeader, ResponseHeader,
};

type Pairs = Vec<(String, String)>;
type Through = fn(&Pairs) -> Result<Pairs, HeaderError>;

fn request<'a, H: RequestHeader<'a>>(pairs: &'a Pairs) -> Result<Pairs, HeaderError> {
    let mut out = Vec::new();
    H::decode(&Fields::pairs(pairs))?.encode(&mut out);
    Ok(out)
}

fn response<'a, H: ResponseHeader<'a>>(pairs: &'a Pairs) -> Result<Pairs, HeaderError> {
    let mut out = Vec::new();
    H::decode(&Fields::pairs(pairs))?.encode(&mut out);
    Ok(out)
}

fn long_send(pairs: &Pairs) -> Result<Pairs, HeaderError> {
    let mut out = Vec::new();
    SendMessage::decode(&Fields::pairs(pairs))?.encode_long(&mut out);
    Ok(out)
}

/// The header type of a request; `None` when it has no fields.
fn request_type(code: i32) -> Option<Through> {
    macro_rules! table {
        ($($header:ident)*) => {
            Some(match RequestCode(code) {
                RequestCode::SEND_MESSAGE => long_send,
                RequestCode::SEND_BATCH_MESSAGE | RequestCode::SEND_REPLY_MESSAGE_V2 => |pairs| request::<SendMessage<'_>>(pairs),
                RequestCode::LITE_PULL_MESSAGE => |pairs| request::<PullMessage<'_>>(pairs),
                RequestCode(3442) => |pairs| request::<PopMessage<'_>>(pairs),
                RequestCode::GET_BROKER_CONSUME_STATS => |pairs| request::<GetBrokerConsumeStats>(pairs),
                $(<$header<'_>>::CODE => |pairs| request::<$header<'_>>(pairs),)*
                _ => return None,
            })
        };
    }
    table! {
        SendMessage PushReply PullMessage QueryMessage ViewMessage RecallMessage EndTransaction CheckTransaction
        QueryOffset UpdateOffset SearchOffset GetMaxOffset GetMinOffset GetEarliestStoreTime
        UnregisterClient GetConsumerList NotifyConsumerIdsChanged SendBack GetClientStatus GetRunningInfo
        ConsumeDirectly PopMessage AckMessage ChangeInvisibleTime
        RegisterBroker UnregisterBroker GetRoute WipeWritePerm AddWritePerm DeleteTopicRoute RegisterTopic
        QueryDataVersion GetBrokerMemberGroup BrokerHeartbeat PutKvConfig DeleteKvConfig
        CreateTopic DeleteTopic GetTopicStats GetTopicConfig GetConsumerConnections GetProducerConnections DeleteGroup
        GetConsumeStats ResetOffset GetConsumerStatus WhoConsumes ViewBrokerStats QueryConsumeQueue
    }
}

/// The header type of a successful response; `None` when it has no fields.
fn response_type(request_code: i32) -> Option<Through> {
    Some(match RequestCode(request_code) {
        RequestCode::SEND_MESSAGE
        | RequestCode::SEND_MESSAGE_V2
        | RequestCode::SEND_BATCH_MESSAGE
        | RequestCode::SEND_REPLY_MESSAGE_V2 => |pairs| response::<SendReceipt<'_>>(pairs),
        RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE => |pairs| response::<PullResult>(pairs),
        RequestCode::QUERY_MESSAGE => |pairs| response::<QueryMessageResult>(pairs),
        RequestCode::QUERY_CONSUMER_OFFSET
        | RequestCode::SEARCH_OFFSET_BY_TIMESTAMP
        | RequestCode::GET_MAX_OFFSET
        | RequestCode::GET_MIN_OFFSET => |pairs| response::<OffsetAnswer>(pairs),
        RequestCode::GET_EARLIEST_MSG_STORETIME => |pairs| response::<StoreTimeAnswer>(pairs),
        RequestCode::HEART_BEAT => |pairs| response::<HeartbeatAnswer>(pairs),
        RequestCode::RECALL_MESSAGE => |pairs| response::<RecallResult<'_>>(pairs),
        RequestCode::GET_BROKER_CONFIG => |pairs| response::<BrokerConfigVersion<'_>>(pairs),
        RequestCode::WIPE_WRITE_PERM_OF_BROKER => |pairs| response::<WipeWritePermResult>(pairs),
        RequestCode::ADD_WRITE_PERM_OF_BROKER => |pairs| response::<AddWritePermResult>(pairs),
        RequestCode::QUERY_DATA_VERSION => |pairs| response::<QueryDataVersionResult>(pairs),
        RequestCode::POP_MESSAGE => |pairs| response::<PopResult<'_>>(pairs),
        RequestCode::CHANGE_MESSAGE_INVISIBLETIME => |pairs| response::<ChangeInvisibleTimeResult>(pairs),
        _ => return None,
    })
}

#[test]
fn every_captured_header_has_a_type_that_keeps_all_its_fields() {
    let mut kinds = BTreeSet::new();
    for frame in captured() {
        let line = &frame.line;
        let view = FrameView::peek(&frame.bytes, DEFAULT_MAX_FRAME).unwrap().unwrap();
        let mut command = Command::decode(&view).unwrap();
        command.fields.retain(|(name, _)| name != "ReqT"); // any request may carry it
        let through = match (command.is_response(), command.code) {
            (false, code) => request_type(code),
            (true, 0) => response_type(line["requestCode"].as_i64().unwrap() as i32),
            (true, _) => continue,
        };
        let Some(through) = through else {
            assert!(command.fields.is_empty(), "no type for {line}");
            continue;
        };
        kinds.insert((command.is_response(), line.get("requestCode").unwrap_or(&line["code"]).as_i64()));
        let out = through(&command.fields).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in &command.fields {
            assert!(out.contains(field), "{field:?} is lost: {line}");
        }
        for (name, value) in &out {
            let is_default = ["false", "true", "0", "-1", "LOWER"].contains(&value.as_str());
            assert!(command.fields.iter().any(|(known, _)| known == name) || is_default, "{name} came up: {line}");
        }
    }
    assert!(kinds.len() > 60, "{}", kinds.len());
}

#[test]
fn both_spellings_of_a_send_are_one_request() {
    let send = SendMessage {
        producer_group: "pg",
        topic: "T",
        default_topic: "TBW102",
        queue_id: -1,
        properties: "KEYS\u{1}a\u{2}",
        max_reconsume_times: Some(3),
        batch: true,
        broker_name: Some("b0"),
        ..SendMessage::default()
    };
    let (mut short, mut long) = (Pairs::new(), Pairs::new());
    send.encode(&mut short);
    send.encode_long(&mut long);
    assert_eq!(SendMessage::decode(&Fields::pairs(&short)), Ok(send));
    assert_eq!(SendMessage::decode(&Fields::pairs(&long)), Ok(send));
    assert!(short.iter().all(|(name, _)| name.len() == 1));
}

#[test]
fn errors_name_the_field_at_fault() {
    let end = |verdict: &str| {
        let command = Command::request(RequestCode::END_TRANSACTION)
            .with_field("producerGroup", "pg")
            .with_field("tranStateTableOffset", 1)
            .with_field("commitLogOffset", 2)
            .with_field("commitOrRollback", verdict);
        command.request_header::<EndTransaction<'_>>().map(|header| header.verdict)
    };
    assert_eq!(end("8"), Ok(Verdict::Commit));
    assert_eq!(end("7").unwrap_err().to_string(), "header field commitOrRollback holds \"7\", 0, 8 or 12 expected");
    assert_eq!(end("x").unwrap_err().field(), "commitOrRollback");
    let empty = Command::request(RequestCode::PULL_MESSAGE);
    assert_eq!(empty.request_header::<PullMessage<'_>>(), Err(HeaderError::missing("consumerGroup")));
}
