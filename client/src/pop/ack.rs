//! Settling leases: done, done many at once, or longer.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use tenonmq_protocol::{
    RequestCode,
    body::{
        json,
        pop::{BatchAck, BatchAckRequest},
    },
    header::{AckMessage, ChangeInvisibleTime, ChangeInvisibleTimeResult, ResponseHeader, receipt::ReceiptHandle},
};

use super::{Leases, PoppedMessage, lease::settled_topic, request::malformed};
use crate::{
    error::Error,
    transport::{Reply, expect_success},
    wire::AckBatch,
};

impl Leases {
    /// As [`SimpleConsumer::ack`](super::SimpleConsumer::ack).
    pub(crate) async fn ack(&self, message: &PoppedMessage) -> Result<(), Error> {
        let receipt = message.receipt()?;
        let topic = settled_topic(&self.group, message.topic(), receipt.kind);
        let header = AckMessage {
            consumer_group: &self.group,
            topic: &topic,
            queue_id: receipt.queue_id,
            extra_info: message.handle(),
            offset: offset_of(message, &receipt),
            broker_name: Some(receipt.broker_name),
        };
        self.session.order(&self.session.master(receipt.broker_name)?, &header, &[]).await
    }

    /// As [`SimpleConsumer::ack_batch`](super::SimpleConsumer::ack_batch).
    pub(crate) async fn ack_batch(&self, messages: &[PoppedMessage]) -> Result<(), Error> {
        let mut by_broker: BTreeMap<&str, Vec<(&PoppedMessage, ReceiptHandle<'_>)>> = BTreeMap::new();
        for message in messages {
            let receipt = message.receipt()?;
            by_broker.entry(receipt.broker_name).or_default().push((message, receipt));
        }
        let acks = by_broker.iter().map(|(broker, share)| self.ack_at(broker, share));
        join_all(acks).await.into_iter().collect()
    }

    async fn ack_at(&self, broker: &str, share: &[(&PoppedMessage, ReceiptHandle<'_>)]) -> Result<(), Error> {
        let mut request = BatchAckRequest { broker_name: broker.to_owned(), ..BatchAckRequest::default() };
        for (message, receipt) in share {
            let offset = offset_of(message, receipt);
            let mut known = request.acks.iter_mut().filter(|ack| is_of_batch(ack, message.topic(), receipt));
            // an entry holds a limited span of offsets, so one batch may need several
            if !known.any(|ack| ack.mark(offset)) {
                request.acks.push(self.first_of_batch(message.topic(), receipt, offset));
            }
        }
        self.session.order(&self.session.master(broker)?, &AckBatch, &json::to_vec(&request)).await
    }

    fn first_of_batch(&self, topic: &str, receipt: &ReceiptHandle<'_>, offset: i64) -> BatchAck {
        let mut ack = BatchAck {
            bits: String::new(),
            consumer_group: self.group.clone(),
            invisible_millis: receipt.invisible_millis,
            pop_time: receipt.pop_time,
            queue_id: receipt.queue_id,
            kind: receipt.kind.as_str().to_owned(),
            revive_queue_id: receipt.revive_queue_id,
            start_offset: receipt.start_offset,
            topic: topic.to_owned(),
        };
        ack.mark(offset);
        ack
    }

    /// As [`SimpleConsumer::change_invisible`](super::SimpleConsumer::change_invisible).
    pub(crate) async fn change_invisible(&self, message: &mut PoppedMessage, invisible: Duration) -> Result<(), Error> {
        let receipt = message.receipt()?;
        let topic = settled_topic(&self.group, message.topic(), receipt.kind);
        let offset = offset_of(message, &receipt);
        let header = ChangeInvisibleTime {
            consumer_group: &self.group,
            topic: &topic,
            queue_id: receipt.queue_id,
            extra_info: message.handle(),
            offset,
            invisible_millis: invisible.as_millis() as i64,
            broker_name: Some(receipt.broker_name),
        };
        let decode = |reply: Reply<'_>| {
            expect_success(RequestCode::CHANGE_MESSAGE_INVISIBLETIME, &reply)?;
            ChangeInvisibleTimeResult::decode(&reply.head.fields).map_err(|error| malformed(&error))
        };
        let address = self.session.master(receipt.broker_name)?;
        let limit = self.session.config.request_timeout;
        let changed = self.session.call(&address, &header, &[], limit, decode).await?;
        let handle = ReceiptHandle {
            start_offset: offset,
            pop_time: changed.pop_time,
            invisible_millis: changed.invisible_millis,
            revive_queue_id: changed.revive_queue_id,
            offset: Some(offset),
            ..receipt
        };
        message.handle = handle.to_string();
        Ok(())
    }
}

/// The offset that the handle names; handles of old brokers leave it to the message.
fn offset_of(message: &PoppedMessage, receipt: &ReceiptHandle<'_>) -> i64 {
    receipt.offset.unwrap_or_else(|| message.queue_offset())
}

/// Whether a message lies in the popped batch that an entry stands for.
fn is_of_batch(ack: &BatchAck, topic: &str, receipt: &ReceiptHandle<'_>) -> bool {
    ack.topic == topic
        && ack.queue_id == receipt.queue_id
        && ack.kind == receipt.kind.as_str()
        && ack.pop_time == receipt.pop_time
        && ack.start_offset == receipt.start_offset
        && ack.revive_queue_id == receipt.revive_queue_id
}
