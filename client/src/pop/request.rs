//! Popping from one broker, and asking one whether there is something to pop.

use std::time::Duration;

use bytes::Bytes;
use tenonmq_protocol::{
    RequestCode, ResponseCode,
    header::{Notification, NotificationResult, PopMessage, PopResult, ResponseHeader},
};
use tracing::warn;

use super::{Leases, PoppedMessage, lease::Lease};
use crate::{
    consumer::{ConsumeFrom, Filter},
    error::Error,
    received::decode_records,
    session::now_ms,
    transport::{MASTER_ID, Reply, expect_success},
};

/// A held request may take this much longer than it is held.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);
/// All queues that the broker has of a topic.
const ANY_QUEUE: i32 = -1;

/// A topic at a broker, or one queue of it.
pub(crate) struct Target {
    pub(crate) topic: String,
    pub(crate) broker: String,
    pub(crate) queue_id: i32,
}

impl Target {
    /// All queues.
    pub(super) fn all(topic: &str, broker: &str) -> Self {
        Self { topic: topic.to_owned(), broker: broker.to_owned(), queue_id: ANY_QUEUE }
    }
}

impl Leases {
    /// Messages of the target that pass the filter's text.
    pub(crate) async fn pop(
        &self,
        target: &Target,
        max: u16,
        invisible: Duration,
        hold: Duration,
    ) -> Result<Vec<PoppedMessage>, Error> {
        let all = Filter::All;
        let filter = self.subscriptions.get(target.topic.as_str()).map_or(&all, |subscription| &subscription.filter);
        let expression = filter.expression();
        let header = PopMessage {
            consumer_group: &self.group,
            topic: &target.topic,
            queue_id: target.queue_id,
            max_count: i32::from(max),
            invisible_millis: invisible.as_millis() as i64,
            poll_millis: hold.as_millis() as i64,
            born_time: now_ms(),
            init_mode: if self.from == ConsumeFrom::Earliest { 0 } else { 1 },
            expression_type: Some(filter.kind()),
            expression: Some(&expression),
            order: false,
            attempt_id: None,
            broker_name: Some(&target.broker),
        };
        let address = self.address(target).await?;
        let popped = self.session.call(&address, &header, &[], hold + ANSWER_MARGIN, read_answer).await?;
        let Some((mut lease, records)) = popped else { return Ok(Vec::new()) };
        lease.broker_name.clone_from(&target.broker);
        lease.invisible_millis = match lease.invisible_millis {
            0 => header.invisible_millis,
            told => told,
        };
        Ok(self.read(filter, &lease, &records).await)
    }

    /// Makes leases of the records. What only the hash of its tag let through is done at once.
    async fn read(&self, filter: &Filter, lease: &Lease, records: &Bytes) -> Vec<PoppedMessage> {
        let mut wanted = Vec::new();
        let mut unwanted = Vec::new();
        for decoded in decode_records(None, records) {
            match decoded {
                Ok(message) => {
                    let accepted = filter.accepts(&message.inner.properties);
                    let popped = lease.of(message.at_broker(&lease.broker_name));
                    if accepted { wanted.push(popped) } else { unwanted.push(popped) }
                }
                Err(error) => {
                    warn!(group = self.group, %error, "a message cannot be read; its lease runs out");
                }
            }
        }
        if let Err(error) = self.ack_batch(&unwanted).await {
            warn!(group = self.group, %error, "a message that is not subscribed to is not acknowledged");
        }
        wanted
    }

    /// Whether the target has something; answers when it does, or after `wait`.
    pub(super) async fn has_message(&self, target: &Target, wait: Duration) -> Result<bool, Error> {
        let header = Notification {
            consumer_group: &self.group,
            topic: &target.topic,
            queue_id: target.queue_id,
            poll_millis: wait.as_millis() as i64,
            born_time: now_ms(),
            order: false,
            attempt_id: None,
        };
        let decode = |reply: Reply<'_>| {
            expect_success(RequestCode::NOTIFICATION, &reply)?;
            let answer = NotificationResult::decode(&reply.head.fields).map_err(|error| malformed(&error))?;
            Ok(answer.has_message)
        };
        let address = self.address(target).await?;
        self.session.call(&address, &header, &[], wait + ANSWER_MARGIN, decode).await
    }

    async fn address(&self, target: &Target) -> Result<String, Error> {
        let route = self.session.route(&target.topic).await?;
        route.reader(&target.broker, MASTER_ID).map(str::to_owned)
    }
}

fn read_answer(reply: Reply<'_>) -> Result<Option<(Lease, Bytes)>, Error> {
    match reply.head.response_code() {
        ResponseCode::PULL_NOT_FOUND | ResponseCode::POLLING_TIMEOUT => return Ok(None),
        _ => expect_success(RequestCode::POP_MESSAGE, &reply)?,
    }
    let answer = PopResult::decode(&reply.head.fields).map_err(|error| malformed(&error))?;
    let lease = Lease {
        broker_name: String::new(),
        pop_time: answer.pop_time,
        invisible_millis: answer.invisible_millis,
        revive_queue_id: answer.revive_queue_id,
        start_offsets: answer.start_offsets.unwrap_or_default().to_owned(),
    };
    Ok(Some((lease, reply.body)))
}

pub(super) fn malformed(error: &tenonmq_protocol::HeaderError) -> Error {
    Error::Protocol { operation: "POP_MESSAGE", reason: error.to_string() }
}
