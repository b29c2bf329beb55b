//! What a producer tells brokers, and where their checks go.

use std::sync::Arc;

use tenonmq_protocol::{
    Command, RequestCode,
    body::heartbeat::{HeartbeatData, ProducerData},
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::Replies;
use crate::{session::Role, transport::Connection};

/// A broker's question about a half message, and where it came from.
pub(crate) type CheckRequest = (Arc<Connection>, Command);

/// The session role of producers.
pub(crate) struct ProducerRole {
    group: String,
    replies: Arc<Replies>,
    /// Where checks are handled, for transactional producers.
    checks: Option<mpsc::Sender<CheckRequest>>,
}

impl ProducerRole {
    pub(crate) fn new(group: &str, replies: Arc<Replies>, checks: Option<mpsc::Sender<CheckRequest>>) -> Self {
        Self { group: group.to_owned(), replies, checks }
    }
}

impl Role for ProducerRole {
    fn heartbeat(&self, client_id: &str) -> HeartbeatData {
        HeartbeatData {
            client_id: client_id.to_owned(),
            producer_data_set: vec![ProducerData { group_name: self.group.clone() }],
            ..HeartbeatData::default()
        }
    }

    fn groups(&self) -> (Option<&str>, Option<&str>) {
        (Some(&self.group), None)
    }

    fn request(&self, connection: &Arc<Connection>, request: Command) {
        match (RequestCode(request.code), &self.checks) {
            (RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT, _) => self.replies.pushed(connection, &request),
            (RequestCode::CHECK_TRANSACTION_STATE, Some(checks)) => {
                if checks.try_send((Arc::clone(connection), request)).is_err() {
                    // the broker asks again after its check interval
                    warn!(group = self.group, "too many transaction checks at once: one is left for the next round");
                }
            }
            (code, _) => debug!(code = code.0, "a broker's request that a producer does not serve"),
        }
    }
}
