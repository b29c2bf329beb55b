//! Giving a message back, to be delivered again later.

use std::{sync::Arc, time::Duration};

use tenonmq_protocol::{
    RequestCode,
    header::SendBack,
    message::{FailureCause, cause, properties::names},
};
use tracing::debug;

use super::{
    Failure,
    push::{Member, retry_topic},
};
use crate::{
    error::Error,
    message::Message,
    producer::{Outbound, Producer, QueueChoice, Settings},
    received::ReceivedMessage,
    session::now_ms,
    transport::{Reply, expect_success},
};

const TIMEOUT: Duration = Duration::from_secs(5);
/// The producer group that upstream's clients use for messages of their own.
const INNER_PRODUCER: &str = "CLIENT_INNER_PRODUCER";
/// Delay level of the first retry (10 s); each further try is one level later.
const FIRST_RETRY_LEVEL: i32 = 3;

/// Asks the broker to copy the message to the group's retry topic (or, with a negative level, its dead-letter topic).
/// When it cannot, the message is sent there as a new one.
pub(super) async fn send_back(member: &Member, message: &ReceivedMessage, failure: &Failure) -> Result<(), Error> {
    match ask_broker(member, message, failure).await {
        Ok(()) => Ok(()),
        Err(error) => {
            debug!(id = message.id(), %error, "the broker did not take the message back; sending a copy");
            send_copy(member, message, failure).await
        }
    }
}

async fn ask_broker(member: &Member, message: &ReceivedMessage, failure: &Failure) -> Result<(), Error> {
    let session = &member.session;
    let address = session.master(&message.queue().broker_name)?;
    let id = message.id();
    let header = SendBack {
        commit_log_offset: message.physical_offset(),
        group: &member.settings.group,
        delay_level: failure.delay_level(),
        origin_message_id: Some(&id),
        origin_topic: Some(message.topic()),
        unit_mode: false,
        max_reconsume_times: Some(member.max_reconsume_times()),
        broker_name: Some(&message.queue().broker_name),
        cause_class: told(failure.class()),
        cause_digest: told(failure.digest()),
        cause_host: told(failure.class()).map(|_| member.session.host()),
    };
    let decode = |reply: Reply<'_>| expect_success(RequestCode::CONSUMER_SEND_MSG_BACK, &reply);
    session.call(&address, &header, &[], TIMEOUT, decode).await
}

fn told(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

async fn send_copy(member: &Member, message: &ReceivedMessage, failure: &Failure) -> Result<(), Error> {
    let settings = Settings { group: INNER_PRODUCER.to_owned(), send_timeout: TIMEOUT, ..Settings::default() };
    let producer = Producer::new(Arc::clone(&member.session), settings, Arc::default());
    let (times, delay_level) = (message.reconsume_times(), failure.delay_level());
    let level = if delay_level > 0 { delay_level } else { FIRST_RETRY_LEVEL + times };
    let mut copy = Message::new(retry_topic(&member.settings.group), message.body().clone()).flag(message.flag());
    for (name, value) in message.properties().filter(|(name, _)| *name != names::TRAN_MSG) {
        copy.put(name, value);
    }
    let origin = message.get(names::ORIGIN_MESSAGE_ID).map_or_else(|| message.offset_id(), str::to_owned);
    copy.put(names::RETRY_TOPIC, message.topic());
    copy.put(names::ORIGIN_MESSAGE_ID, &origin);
    copy.put(names::DELAY, &level.to_string());
    if !failure.class().is_empty() {
        let cause = FailureCause {
            class: failure.class().into(),
            digest: failure.digest().into(),
            host: member.session.host().into(),
            attempt: times.saturating_add(1),
            at: now_ms(),
        };
        copy.put(names::CAUSES, &cause::push(message.get(names::CAUSES), &cause));
    }
    let mut outbound = Outbound::from_message(copy, &producer.settings, &member.session)?;
    // more tries than allowed make the broker store it as a dead letter
    let max = member.max_reconsume_times();
    outbound.reconsume_times = if delay_level < 0 { max.saturating_add(1) } else { times.saturating_add(1) };
    outbound.max_reconsume_times = Some(max);
    producer.deliver(&outbound, QueueChoice::InTurn).await.map(drop)
}
