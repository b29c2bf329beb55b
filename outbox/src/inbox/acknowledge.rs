//! Telling the sender that a message was handled.

use serde_json::json;

use crate::{
    database::Dialect,
    error::Error,
    message::{Incoming, Outgoing, key_fault},
    outbox::Outbox,
};

/// Where receipts go.
pub(super) struct Acknowledge<D: Dialect> {
    pub(super) outbox: Outbox<D>,
    pub(super) topic: String,
}

/// Which message a group has handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) group: String,
    pub(crate) key: String,
}

impl Receipt {
    fn to_message(&self, topic: &str) -> Outgoing {
        let content = json!({"group": self.group, "key": self.key}).to_string();
        let mut id = format!("{}/{}", self.group, self.key);
        if key_fault("id", &id).is_some() {
            // together they are too long for a business id (FNV-1a)
            let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
            id = format!("acknowledged#{hash:016x}");
        }
        Outgoing::new(topic, id, content)
    }

    /// What a message acknowledges.
    pub(crate) fn read(message: &Incoming) -> Result<Self, Error> {
        let content: serde_json::Value = serde_json::from_slice(message.content()).unwrap_or_default();
        let text = |name: &str| content.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        let refused = |reason: String| Error::Message {
            topic: message.topic().to_owned(),
            business_id: message.business_key().to_owned(),
            reason,
        };
        let (Some(group), Some(key)) = (text("group"), text("key")) else {
            return Err(refused("it is no acknowledgement: a JSON object with the texts `group` and `key`".to_owned()));
        };
        match key_fault("group", &group).or_else(|| key_fault("key", &key)) {
            Some(fault) => Err(refused(fault)),
            None => Ok(Self { group, key }),
        }
    }
}

impl<D: Dialect> Acknowledge<D> {
    /// Publishes the receipt in the transaction of the effects.
    pub(super) async fn first(
        &self,
        transaction: &mut sqlx::Transaction<'_, D>,
        group: &str,
        key: &str,
    ) -> Result<(), Error> {
        let receipt = Receipt { group: group.to_owned(), key: key.to_owned() };
        self.outbox.publish(transaction, &receipt.to_message(&self.topic)).await?;
        Ok(())
    }

    /// A copy has come: perhaps the sender has not got the receipt, so it is sent again.
    pub(super) async fn again(
        &self,
        transaction: &mut sqlx::Transaction<'_, D>,
        group: &str,
        key: &str,
    ) -> Result<(), Error> {
        let receipt = Receipt { group: group.to_owned(), key: key.to_owned() }.to_message(&self.topic);
        if self.outbox.resend(transaction, receipt.topic(), receipt.business_id(), true).await?.is_none() {
            self.outbox.publish(transaction, &receipt).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_can_be_sent_whatever_the_key_and_is_read_as_it_was_written() {
        for key in ["order-1/paid", &"k".repeat(255)] {
            let receipt = Receipt { group: "points".to_owned(), key: key.to_owned() };
            let message = receipt.to_message("acknowledged");
            assert!(message.check(1_000).is_ok());
            let incoming = Incoming::new(message.topic(), message.business_id(), message.content().clone());
            assert_eq!(Receipt::read(&incoming).unwrap(), receipt);
        }
        for wrong in
            ["", "[]", "{\"group\": \"a\"}", "{\"group\": \"a\", \"key\": 7}", "{\"group\": \"a\", \"key\": \"\"}"]
        {
            assert!(Receipt::read(&Incoming::new("acknowledged", "x", wrong.to_owned())).is_err(), "{wrong}");
        }
    }
}
