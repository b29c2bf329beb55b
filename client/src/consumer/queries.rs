//! Questions about queues, offsets and group members.

use std::sync::Arc;

use tenonmq_protocol::{
    RequestCode, ResponseCode,
    body::heartbeat::ConsumerIds,
    header::{
        Boundary, GetConsumerList, GetMaxOffset, GetMinOffset, OffsetAnswer, QueryOffset, RequestHeader,
        ResponseHeader, SearchOffset, UpdateOffset,
    },
    message::queue::MessageQueue,
};

use crate::{
    error::Error,
    session::{Session, from_json},
    transport::{Reply, TopicRoute, expect_success},
};

/// The group's saved offset; `None` when it has none.
pub(crate) async fn consumer_offset(
    session: &Session,
    group: &str,
    queue: &MessageQueue,
) -> Result<Option<i64>, Error> {
    let header = QueryOffset {
        consumer_group: group,
        topic: &queue.topic,
        queue_id: queue.queue_id,
        set_zero_if_not_found: None,
        broker_name: Some(&queue.broker_name),
    };
    match offset_of(session, queue, &header).await {
        Ok(offset) => Ok(Some(offset)),
        Err(error) if error.code() == Some(ResponseCode::QUERY_NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Saves the group's offset and waits for the broker's word.
pub(crate) async fn commit_offset(
    session: &Session,
    group: &str,
    queue: &MessageQueue,
    offset: i64,
) -> Result<(), Error> {
    let header = UpdateOffset {
        consumer_group: group,
        topic: &queue.topic,
        queue_id: queue.queue_id,
        commit_offset: offset,
        broker_name: Some(&queue.broker_name),
    };
    let address = master_of(session, queue).await?;
    session.order(&address, &header, &[]).await
}

/// The offset that the next message will get.
pub(crate) async fn max_offset(session: &Session, queue: &MessageQueue) -> Result<i64, Error> {
    let header = GetMaxOffset {
        topic: &queue.topic,
        queue_id: queue.queue_id,
        committed: true,
        broker_name: Some(&queue.broker_name),
    };
    offset_of(session, queue, &header).await
}

/// The oldest offset that the broker holds; −1 for a queue that never had a message.
pub(crate) async fn min_offset(session: &Session, queue: &MessageQueue) -> Result<i64, Error> {
    let header = GetMinOffset { topic: &queue.topic, queue_id: queue.queue_id, broker_name: Some(&queue.broker_name) };
    offset_of(session, queue, &header).await
}

/// The first offset whose message was stored at `timestamp_ms` or later.
pub(crate) async fn offset_by_time(session: &Session, queue: &MessageQueue, timestamp_ms: i64) -> Result<i64, Error> {
    let header = SearchOffset {
        topic: &queue.topic,
        queue_id: queue.queue_id,
        timestamp: timestamp_ms,
        boundary: Boundary::Lower,
        broker_name: Some(&queue.broker_name),
    };
    offset_of(session, queue, &header).await
}

/// The client ids of a group's members, as any broker of the topic knows them.
pub(crate) async fn group_members(
    session: &Session,
    route: &Arc<TopicRoute>,
    group: &str,
) -> Result<Vec<String>, Error> {
    let header = GetConsumerList { consumer_group: group };
    let mut last = Error::NoBroker { broker: "(any)".into() };
    for address in route.masters() {
        let limit = session.config.request_timeout;
        let decode = |reply: Reply<'_>| {
            expect_success(RequestCode::GET_CONSUMER_LIST_BY_GROUP, &reply)?;
            Ok(reply.body)
        };
        match session.call(address, &header, &[], limit, decode).await {
            Ok(body) => {
                let members: ConsumerIds = from_json("GET_CONSUMER_LIST_BY_GROUP", &body)?;
                return Ok(members.consumer_id_list);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn offset_of<'h, H: RequestHeader<'h>>(
    session: &Session,
    queue: &MessageQueue,
    header: &H,
) -> Result<i64, Error> {
    let address = master_of(session, queue).await?;
    let decode = |reply: Reply<'_>| {
        expect_success(H::CODE, &reply)?;
        let answer = OffsetAnswer::decode(&reply.head.fields)
            .map_err(|error| Error::Protocol { operation: "offset query", reason: error.to_string() })?;
        Ok(answer.offset)
    };
    session.call(&address, header, &[], session.config.request_timeout, decode).await
}

async fn master_of(session: &Session, queue: &MessageQueue) -> Result<String, Error> {
    let route = session.route(&queue.topic).await?;
    route.master(&queue.broker_name).map(str::to_owned)
}
