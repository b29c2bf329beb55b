//! One send: attempts at different brokers until one stores the message, the time is up, or the failure is final.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tenonmq_protocol::{
    RequestCode, ResponseCode,
    header::{self, ResponseHeader, SendMessage},
    message::queue::MessageQueue,
};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{Outbound, Producer, QueueChoice, SendReceipt, SendStatus, outbound::SendKind};
use crate::{
    error::Error,
    session::{TEMPLATE_QUEUES, TEMPLATE_TOPIC},
    transport::{Reply, TopicRoute, name_of},
    wire::{SendBatch, SendReply},
};

/// Pause before an attempt that follows a failure; doubled each time, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The same when the broker is too busy: another attempt at once would only make it busier.
const FIRST_PAUSE_WHEN_BUSY: Duration = Duration::from_millis(100);

/// How long to wait before the attempt that follows `attempt` (from 0).
fn pause_after(error: &Error, attempt: u32) -> Duration {
    let is_busy = matches!(error.code(), Some(ResponseCode::SYSTEM_BUSY | ResponseCode::FLOW_CONTROL));
    let first = if is_busy { FIRST_PAUSE_WHEN_BUSY } else { FIRST_PAUSE };
    first * (1 << attempt.min(6))
}

impl Producer {
    /// Sends until stored, within the send timeout.
    #[tracing::instrument(level = "debug", skip_all, fields(topic = %outbound.topic, id = %outbound.message_id))]
    pub(crate) async fn deliver(&self, outbound: &Outbound, choice: QueueChoice<'_>) -> Result<SendReceipt, Error> {
        let deadline = Instant::now() + self.settings.send_timeout;
        let mut failed: Option<Arc<MessageQueue>> = None;
        let mut attempt = 0;
        loop {
            let (queue, result) = self.attempt(outbound, &choice, failed.as_deref(), deadline).await;
            let error = match result {
                Ok(receipt) => return Ok(receipt),
                Err(error) => error,
            };
            if !error.is_retryable() || attempt >= self.settings.retries {
                return Err(error);
            }
            let pause = pause_after(&error, attempt);
            let pause = pause.mul_f64(rand::rng().random_range(0.5..1.5));
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            debug!(%error, attempt, "trying again");
            sleep(pause).await;
            failed = queue;
            attempt += 1;
        }
    }

    async fn attempt(
        &self,
        outbound: &Outbound,
        choice: &QueueChoice<'_>,
        failed: Option<&MessageQueue>,
        deadline: Instant,
    ) -> (Option<Arc<MessageQueue>>, Result<SendReceipt, Error>) {
        let (route, queue) = match self.pick(outbound, choice, failed).await {
            Ok(picked) => picked,
            Err(error) => return (None, Err(error)),
        };
        let result = async {
            let address = self.address(&route, &queue)?;
            let header = self.header(outbound, &queue);
            let limit = deadline.saturating_duration_since(Instant::now());
            let (session, body) = (&self.session, &outbound.body);
            let stored = match outbound.kind {
                SendKind::One => session.call(&address, &header, body, limit, read_answer).await?,
                SendKind::Batch => session.call(&address, &SendBatch(header), body, limit, read_answer).await?,
                SendKind::Reply => session.call(&address, &SendReply(header), body, limit, read_answer).await?,
            };
            Ok(stored.into_receipt(outbound, &queue))
        };
        let result = result.await;
        (Some(queue), result)
    }

    pub(super) async fn oneway(&self, outbound: &Outbound) -> Result<(), Error> {
        let (route, queue) = self.pick(outbound, &QueueChoice::InTurn, None).await?;
        let address = self.address(&route, &queue)?;
        let connection = self.session.broker(&address, self.settings.send_timeout).await?;
        connection.oneway(&self.header(outbound, &queue), &outbound.body).await
    }

    async fn pick(
        &self,
        outbound: &Outbound,
        choice: &QueueChoice<'_>,
        failed: Option<&MessageQueue>,
    ) -> Result<(Arc<TopicRoute>, Arc<MessageQueue>), Error> {
        let route = self.session.publish_route(&outbound.topic).await?;
        let failed = failed.map(|queue| queue.broker_name.as_str());
        let queue = choice.choose(&route, failed, |address| self.session.is_unreachable(address));
        let queue = queue.ok_or_else(|| choice.not_found(&outbound.topic))?;
        Ok((route, queue))
    }

    /// Where writes to the queue go: by the topic's route, or by any that knows the broker.
    fn address(&self, route: &TopicRoute, queue: &MessageQueue) -> Result<String, Error> {
        match route.master(&queue.broker_name) {
            Ok(address) => Ok(address.to_owned()),
            Err(_) => self.session.master(&queue.broker_name),
        }
    }

    fn header<'a>(&'a self, outbound: &'a Outbound, queue: &'a MessageQueue) -> SendMessage<'a> {
        SendMessage {
            producer_group: &self.settings.group,
            topic: &outbound.topic,
            default_topic: TEMPLATE_TOPIC,
            default_topic_queue_nums: TEMPLATE_QUEUES,
            queue_id: queue.queue_id,
            sys_flag: outbound.sys_flag.0,
            born_timestamp: outbound.born_timestamp,
            flag: outbound.flag,
            properties: &outbound.properties,
            reconsume_times: outbound.reconsume_times,
            unit_mode: false,
            max_reconsume_times: outbound.max_reconsume_times,
            batch: outbound.kind == SendKind::Batch,
            broker_name: Some(&queue.broker_name),
        }
    }
}

/// A broker's answer, owned.
struct Stored {
    status: SendStatus,
    offset_message_id: String,
    queue_id: i32,
    queue_offset: i64,
    transaction_id: Option<String>,
    recall_handle: Option<String>,
}

impl Stored {
    fn into_receipt(self, outbound: &Outbound, queue: &MessageQueue) -> SendReceipt {
        SendReceipt {
            status: self.status,
            message_id: outbound.message_id.clone(),
            offset_message_id: self.offset_message_id,
            queue: MessageQueue { queue_id: self.queue_id, ..queue.clone() },
            queue_offset: self.queue_offset,
            transaction_id: self.transaction_id,
            recall_handle: self.recall_handle,
        }
    }
}

fn read_answer(reply: Reply<'_>) -> Result<Stored, Error> {
    const OPERATION: RequestCode = RequestCode::SEND_MESSAGE_V2;
    let status = match ResponseCode(reply.head.code) {
        ResponseCode::SUCCESS => SendStatus::Ok,
        ResponseCode::FLUSH_DISK_TIMEOUT => SendStatus::FlushTimeout,
        ResponseCode::FLUSH_SLAVE_TIMEOUT => SendStatus::ReplicaTimeout,
        ResponseCode::SLAVE_NOT_AVAILABLE => SendStatus::NoReplica,
        code => {
            let remark = reply.head.remark.unwrap_or_default().to_owned();
            return Err(Error::Refused { operation: name_of(OPERATION), code, remark });
        }
    };
    let answer = header::SendReceipt::decode(&reply.head.fields)
        .map_err(|error| Error::Protocol { operation: name_of(OPERATION), reason: error.to_string() })?;
    Ok(Stored {
        status,
        offset_message_id: answer.message_id.to_owned(),
        queue_id: answer.queue_id,
        queue_offset: answer.queue_offset,
        transaction_id: answer.transaction_id.map(str::to_owned),
        recall_handle: answer.recall_handle.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// clients#1309: a producer that was throttled tried again at once, and was throttled again.
    #[test]
    fn thread_clients_1309_a_busy_broker_is_given_more_time_with_each_attempt() {
        let refused = |code| Error::Refused { operation: "SEND", code, remark: String::new() };
        let pauses = |code| [0, 1, 2].map(|attempt| pause_after(&refused(code), attempt).as_millis());
        assert_eq!(pauses(ResponseCode::SYSTEM_BUSY), [100, 200, 400]);
        assert_eq!(pauses(ResponseCode::FLOW_CONTROL), [100, 200, 400]);
        assert_eq!(pauses(ResponseCode::SERVICE_NOT_AVAILABLE), [10, 20, 40]);
        assert_eq!(pause_after(&refused(ResponseCode::SYSTEM_BUSY), u32::MAX), FIRST_PAUSE_WHEN_BUSY * 64);
    }
}
