//! What operators ask of a member through its broker: reset an offset, say where it is, handle one message now.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use tenonmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{
        json,
        offset::{ConsumerStatus, ResetOffsetBody},
        running::{ConsumeDirectlyResult, ConsumeResult, ConsumerRunningInfo, PopProcessQueueInfo, ProcessQueueInfo},
    },
    header::GetClientStatus,
};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::{
    ConsumeOutcome, MessageListener,
    dispatch::{Ended, run_listener},
    members::{let_go, move_offset},
    pop_lane::PopQueue,
    push::Member,
};
use crate::{error::Error, received::decode_records, session::from_json, transport::Connection};

/// A broker's request and where its answer goes.
pub(crate) type Order = (Arc<Connection>, Command);

/// Orders that may wait; more are refused by silence, and the operator's tool times out.
pub(crate) const ORDER_QUEUE: usize = 64;

/// Serves orders one after the other until the consumer stops.
pub(super) async fn serve<L: MessageListener>(
    member: Arc<Member>,
    listener: Arc<L>,
    mut orders: mpsc::Receiver<Order>,
) {
    loop {
        let next = tokio::select! { next = orders.recv() => next, () = member.stopping.cancelled() => return };
        let Some((connection, order)) = next else { return };
        let answer = match RequestCode(order.code) {
            RequestCode::RESET_CONSUMER_CLIENT_OFFSET => reset(&member, &order).await.map(|()| Vec::new()),
            RequestCode::GET_CONSUMER_RUNNING_INFO => Ok(json::to_vec(&running_info(&member))),
            RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT => status(&member, &order),
            RequestCode::CONSUME_MESSAGE_DIRECTLY => consume_directly(&member, &*listener, &order).await,
            _ => Err(unsupported(&order)),
        };
        respond(&connection, &order, answer);
    }
}

fn respond(connection: &Connection, order: &Command, answer: Result<Vec<u8>, Error>) {
    let response = match answer {
        Ok(body) => Command::response(ResponseCode::SUCCESS, order.opaque).with_body(body),
        Err(error) => {
            warn!(code = order.code, %error, "an operator's request");
            let code = error.code().unwrap_or(ResponseCode::SYSTEM_ERROR);
            Command::response(code, order.opaque).with_remark(error.to_string())
        }
    };
    if !order.is_oneway() {
        drop(connection.respond(&response)); // the connection may be gone: nobody to tell
    }
}

fn unsupported(order: &Command) -> Error {
    debug!(code = order.code, "a broker's request that this client does not serve");
    Error::Refused {
        operation: "request of a broker",
        code: ResponseCode::REQUEST_CODE_NOT_SUPPORTED,
        remark: format!(" request type {} not supported", order.code),
    }
}

/// The queues are given up at their old offsets and taken again at the new ones.
async fn reset(member: &Member, order: &Command) -> Result<(), Error> {
    let moved: ResetOffsetBody = from_json("RESET_CONSUMER_CLIENT_OFFSET", &order.body)?;
    for (queue, offset) in moved.offset_table {
        let held = member.queues.lock().get(&queue).cloned();
        if let Some(held) = held {
            info!(group = member.settings.group, topic = queue.topic, queue = queue.queue_id, offset, "offset reset");
            let_go(member, &held).await;
            move_offset(member, &queue, offset).await;
            member.queues.lock().remove(&queue);
        }
    }
    member.rebalance.notify_one();
    Ok(())
}

/// The offsets of the topic's queues that this member has.
fn status(member: &Member, order: &Command) -> Result<Vec<u8>, Error> {
    let asked: GetClientStatus<'_> = order.request_header().map_err(|error| malformed(&error))?;
    let queues = member.queues.lock();
    let of_topic = queues.keys().filter(|queue| queue.topic == asked.topic);
    let message_queue_table = of_topic.filter_map(|q| Some((q.clone(), member.offsets.get(q)?))).collect();
    Ok(json::to_vec(&ConsumerStatus { message_queue_table, ..ConsumerStatus::default() }))
}

fn running_info(member: &Member) -> ConsumerRunningInfo {
    let settings = &member.settings;
    let queues = member.queues.lock().clone();
    let queue_info = |held: &super::process_queue::ProcessQueue| {
        let cached = held.cached();
        ProcessQueueInfo {
            cached_msg_count: cached.count as i32,
            cached_msg_min_offset: cached.first,
            cached_msg_max_offset: cached.last,
            cached_msg_size_in_mi_b: (cached.bytes >> 20) as i32,
            commit_offset: member.offsets.get(&held.queue).unwrap_or(-1),
            droped: held.dropped.is_cancelled(),
            last_consume_timestamp: held.vitals.last_handled_ms(),
            last_pull_timestamp: held.vitals.last_pull_ms(),
            locked: member.needs_locks() && held.lock.is_held(),
            ..ProcessQueueInfo::default()
        }
    };
    let properties = [
        ("PROP_NAMESERVER_ADDR", member.session.config.name_servers.join(";")),
        ("PROP_THREADPOOL_CORE_SIZE", settings.concurrency.to_string()),
        ("PROP_CONSUMEORDERLY", settings.ordered.to_string()),
        ("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY".to_owned()),
        ("PROP_CLIENT_VERSION", "V5_3_3".to_owned()),
        ("PROP_CONSUMER_START_TIMESTAMP", member.started_ms.to_string()),
    ];
    let pop_info = |lane: &PopQueue| PopProcessQueueInfo {
        droped: lane.dropped.is_cancelled(),
        last_pop_timestamp: lane.last_pop_ms.load(Ordering::Relaxed),
        wait_ack_count: lane.unsettled.load(Ordering::Relaxed) as i32,
    };
    ConsumerRunningInfo {
        mq_pop_table: member.popped.lock().iter().map(|(queue, lane)| (queue.clone(), pop_info(lane))).collect(),
        mq_table: queues.iter().map(|(queue, held)| (queue.clone(), queue_info(held))).collect(),
        properties: properties.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
        subscription_set: member.subscriptions.iter().map(|(topic, s)| s.data(topic)).collect(),
        ..ConsumerRunningInfo::default()
    }
}

/// Handles one message beside the queues: nothing is committed and nothing is sent back.
async fn consume_directly<L: MessageListener>(
    member: &Member,
    listener: &L,
    order: &Command,
) -> Result<Vec<u8>, Error> {
    let empty = || Error::Protocol { operation: "CONSUME_MESSAGE_DIRECTLY", reason: "no message".into() };
    let message = decode_records(None, &order.body).next().ok_or_else(empty)??;
    let begun = Instant::now();
    let (consume_result, remark) = match run_listener(member, listener, &message).await {
        Ended::With(ConsumeOutcome::Done) => (ConsumeResult::Success, None),
        Ended::With(_) => (ConsumeResult::Later, None),
        Ended::Panicked(text) => (ConsumeResult::ThrowException, Some(format!("the handler panicked: {text}"))),
        Ended::TimedOut => (ConsumeResult::Later, Some("the handler took too long".to_owned())),
    };
    let spent_time_mills = begun.elapsed().as_millis() as i64;
    let order = member.settings.ordered;
    let result =
        ConsumeDirectlyResult { consume_result, order, remark, spent_time_mills, ..ConsumeDirectlyResult::default() };
    Ok(json::to_vec(&result))
}

fn malformed(error: &tenonmq_protocol::HeaderError) -> Error {
    Error::Protocol { operation: "request of a broker", reason: error.to_string() }
}
