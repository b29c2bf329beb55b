//! One pull request and its answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tenonmq_protocol::{
    RequestCode, ResponseCode,
    header::{PullFlags, PullMessage, PullResult, ResponseHeader},
    message::queue::MessageQueue,
};

use super::Filter;
use crate::{
    error::Error,
    session::Session,
    transport::{Reply, TopicRoute, expect_success},
};

/// A pull that has not reached the broker's hold time may still take this long to be answered.
const ANSWER_MARGIN: Duration = Duration::from_secs(15);

/// What to pull.
pub(super) struct Fetch<'a> {
    pub(super) group: &'a str,
    pub(super) queue: &'a MessageQueue,
    pub(super) offset: i64,
    pub(super) max_messages: i32,
    /// Zero: the broker answers at once.
    pub(super) hold: Duration,
    /// Version of the subscription that the group registered.
    pub(super) version: i64,
    /// Which messages to bring.
    pub(super) filter: &'a Filter,
    /// Whether the filter travels with the pull, because the group registered none.
    pub(super) own_filter: bool,
}

/// What the broker said of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullStatus {
    /// There are messages.
    Found,
    /// There is nothing new.
    Empty,
    /// What there is does not pass the filter; the next pull goes on behind it.
    NoneMatched,
    /// The offset is outside of what the queue holds; the next pull begins at the nearest that is not.
    OffsetMoved,
}

/// A broker's answer.
pub(super) struct Fetched {
    pub(super) status: PullStatus,
    pub(super) next: i64,
    pub(super) min: i64,
    pub(super) max: i64,
    /// The broker id to ask next.
    pub(super) suggested: i64,
    /// The records, as they lie in the log.
    pub(super) records: Bytes,
}

/// Pulls from the master or, where the broker suggested so, from a slave.
///
/// A pull could commit the group's progress on its way, as upstream's does. This one does not: Apache's broker handles
/// pulls and commits on different threads, so an older progress in a pull could undo the last commit of a shutdown.
pub(super) async fn fetch(
    session: &Session,
    route: &Arc<TopicRoute>,
    broker_id: i64,
    what: &Fetch<'_>,
) -> Result<Fetched, Error> {
    let address = route.reader(&what.queue.broker_name, broker_id)?;
    let expression = what.own_filter.then(|| what.filter.expression());
    let mut flags = 0;
    if !what.hold.is_zero() {
        flags |= PullFlags::SUSPEND;
    }
    if expression.is_some() {
        flags |= PullFlags::SUBSCRIPTION;
    }
    let header = PullMessage {
        consumer_group: what.group,
        topic: &what.queue.topic,
        queue_id: what.queue.queue_id,
        queue_offset: what.offset,
        max_count: what.max_messages,
        sys_flag: flags,
        commit_offset: 0,
        suspend_timeout_millis: what.hold.as_millis() as i64,
        subscription: expression.as_deref(),
        sub_version: what.version,
        expression_type: Some(what.filter.kind()),
        broker_name: Some(&what.queue.broker_name),
        ..PullMessage::default()
    };
    session.call(address, &header, &[], what.hold + ANSWER_MARGIN, read_answer).await
}

fn read_answer(reply: Reply<'_>) -> Result<Fetched, Error> {
    let status = match reply.head.response_code() {
        ResponseCode::SUCCESS => PullStatus::Found,
        ResponseCode::PULL_NOT_FOUND => PullStatus::Empty,
        ResponseCode::PULL_RETRY_IMMEDIATELY => PullStatus::NoneMatched,
        ResponseCode::PULL_OFFSET_MOVED => PullStatus::OffsetMoved,
        _ => {
            expect_success(RequestCode::PULL_MESSAGE, &reply)?;
            PullStatus::Empty
        }
    };
    let answer = PullResult::decode(&reply.head.fields)
        .map_err(|error| Error::Protocol { operation: "PULL_MESSAGE", reason: error.to_string() })?;
    Ok(Fetched {
        status,
        next: answer.next_begin_offset,
        min: answer.min_offset,
        max: answer.max_offset,
        suggested: answer.suggest_broker_id,
        records: reply.body,
    })
}
