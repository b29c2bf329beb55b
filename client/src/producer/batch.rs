//! Several messages in one request.

use tenonmq_protocol::message::{batch::BatchElement, flags::SysFlag, properties::names};

use super::{
    Outbound, Settings,
    outbound::{SendKind, assign_id, check_size},
};
use crate::{
    error::Error,
    message::Message,
    session::{Session, now_ms},
};

/// Packs messages into one body. The body is not compressed: the broker takes it apart.
pub(super) fn pack(messages: Vec<Message>, settings: &Settings, session: &Session) -> Result<Outbound, Error> {
    let topic = check_together(&messages)?.to_owned();
    let mut body = Vec::new();
    let mut ids = Vec::with_capacity(messages.len());
    for mut message in messages {
        ids.push(assign_id(&mut message, session));
        let element = BatchElement {
            flag: message.flag_value(),
            body: message.body(),
            properties: message.property_text().as_bytes(),
        };
        element.encode_into(&mut body).map_err(|error| invalid(error.to_string()))?;
    }
    check_size(body.len(), settings)?;
    Ok(Outbound {
        topic,
        body: body.into(),
        properties: String::new(),
        flag: 0,
        sys_flag: SysFlag::default(),
        born_timestamp: now_ms(),
        reconsume_times: 0,
        max_reconsume_times: None,
        kind: SendKind::Batch,
        message_id: ids.join(","),
    })
}

/// The common topic of messages that may be sent together.
fn check_together(messages: &[Message]) -> Result<&str, Error> {
    const ALONE: &[&str] =
        &[names::DELAY, names::TIMER_DELAY_SEC, names::TIMER_DELAY_MS, names::TIMER_DELIVER_MS, names::TRAN_MSG];
    let Some(first) = messages.first() else { return Err(invalid("the batch is empty".into())) };
    for message in messages {
        message.validate()?;
        if message.topic() != first.topic() {
            return Err(invalid(format!("one batch has the topics {:?} and {:?}", first.topic(), message.topic())));
        }
        if let Some(name) = ALONE.iter().find(|name| message.get(name).is_some()) {
            return Err(invalid(format!("a message with {name} cannot be in a batch")));
        }
    }
    Ok(first.topic())
}

fn invalid(reason: String) -> Error {
    Error::InvalidMessage { reason }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_plain_messages_of_one_topic_make_a_batch() {
        let plain = || Message::new("T", "x");
        assert_eq!(check_together(&[plain(), plain()]).unwrap(), "T");
        let together = |other: Message| check_together(&[plain(), other]).is_ok();
        assert!(!together(Message::new("U", "x")));
        assert!(!together(plain().delay_level(1)));
        assert!(!together(plain().delay(Duration::from_secs(1))));
        assert!(check_together(&[]).is_err());
    }
}
