//! One queue of a topic, as clients name it.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// A queue on a broker. Ordered as clients order queues before they divide them: topic, broker, id.
///
/// JSON: `{"brokerName":"b0","queueId":1,"topic":"T"}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageQueue {
    /// Its topic.
    #[serde(default)]
    pub topic: String,
    /// Name of the broker group that holds it.
    #[serde(default)]
    pub broker_name: String,
    /// Number of the queue on that broker; −1 stands for all of them.
    #[serde(default)]
    pub queue_id: i32,
}

impl MessageQueue {
    /// The queue `queue_id` of `topic` on `broker_name`.
    pub fn new(topic: impl Into<String>, broker_name: impl Into<String>, queue_id: i32) -> Self {
        Self { topic: topic.into(), broker_name: broker_name.into(), queue_id }
    }
}

/// Keys in alphabetical order, as Apache's peers write them (the order of comparison is another).
impl Serialize for MessageQueue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("MessageQueue", 3)?;
        out.serialize_field("brokerName", &self.broker_name)?;
        out.serialize_field("queueId", &self.queue_id)?;
        out.serialize_field("topic", &self.topic)?;
        out.end()
    }
}
