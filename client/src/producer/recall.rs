//! Taking a timer message back before it is due.

use tenonmq_protocol::{
    RequestCode,
    header::{RecallHandle, RecallMessage, RecallResult, ResponseHeader},
};

use super::Producer;
use crate::{
    error::Error,
    transport::{Reply, expect_success},
};

impl Producer {
    /// Takes a delayed message back, by the handle of its receipt ([`SendReceipt::recall_handle`](super::SendReceipt)).
    /// Returns the message's id. The message is not delivered unless it was due at that moment.
    ///
    /// ```no_run
    /// # async fn example(producer: tenonmq_client::Producer) -> Result<(), tenonmq_client::Error> {
    /// use std::time::Duration;
    /// use tenonmq_client::Message;
    /// let reminder = Message::new("reminders", "order 42 is not paid").delay(Duration::from_secs(3600));
    /// let receipt = producer.send(reminder).await?;
    /// if let Some(handle) = &receipt.recall_handle {
    ///     producer.recall("reminders", handle).await?; // it was paid
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] for text that is no handle; [`Error::Refused`] when the broker does not recall (Apache's
    /// needs `recallMessageEnable=true`) or the message is due already.
    pub async fn recall(&self, topic: &str, handle: &str) -> Result<String, Error> {
        let parsed =
            RecallHandle::parse(handle).map_err(|error| Error::InvalidMessage { reason: error.to_string() })?;
        let route = self.session.publish_route(topic).await?;
        let address = match route.master(&parsed.broker_name) {
            Ok(address) => address.to_owned(),
            Err(_) => self.session.master(&parsed.broker_name)?,
        };
        let header = RecallMessage {
            producer_group: Some(&self.settings.group),
            topic,
            recall_handle: handle,
            broker_name: Some(&parsed.broker_name),
        };
        let decode = |reply: Reply<'_>| {
            expect_success(RequestCode::RECALL_MESSAGE, &reply)?;
            let answer = RecallResult::decode(&reply.head.fields)
                .map_err(|error| Error::Protocol { operation: "RECALL_MESSAGE", reason: error.to_string() })?;
            Ok(answer.message_id.to_owned())
        };
        self.session.call(&address, &header, &[], self.settings.send_timeout, decode).await
    }
}
