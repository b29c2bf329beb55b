//! Requests that have no header type of their own: their code and body say all.

use tenonmq_protocol::{
    FieldSink, Fields, HeaderError, RequestCode,
    header::{RequestHeader, SendMessage},
};

/// Declares a request without fields.
macro_rules! bare_requests {
    ($($(#[$doc:meta])* $name:ident = $code:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl<'a> RequestHeader<'a> for $name {
            const CODE: RequestCode = RequestCode::$code;

            fn decode(_: &Fields<'a>) -> Result<Self, HeaderError> {
                Ok(Self)
            }

            fn encode(&self, _: &mut impl FieldSink) {}
        }
    )*};
}

bare_requests! {
    /// This client lives; the body says what it is.
    Heartbeat = HEART_BEAT;
    /// All brokers that the name server knows.
    GetClusterInfo = GET_BROKER_CLUSTER_INFO;
    /// Popped messages are done; the body says which.
    AckBatch = BATCH_ACK_MESSAGE;
    /// Whether the broker takes a filter; the body has it.
    CheckFilter = CHECK_CLIENT_CONFIG;
    /// Which queues this member shall read; the body says of what.
    AskAssignment = QUERY_ASSIGNMENT;
    /// This member wants queues for itself; the body says which.
    LockQueues = LOCK_BATCH_MQ;
    /// This member gives queues back; the body says which.
    UnlockQueues = UNLOCK_BATCH_MQ;
}

/// Declares sends that have the same fields under another code.
macro_rules! sends {
    ($($(#[$doc:meta])* $name:ident = $code:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name<'a>(pub(crate) SendMessage<'a>);

        impl<'a> RequestHeader<'a> for $name<'a> {
            const CODE: RequestCode = RequestCode::$code;

            fn decode(fields: &Fields<'a>) -> Result<Self, HeaderError> {
                SendMessage::decode(fields).map(Self)
            }

            fn encode(&self, out: &mut impl FieldSink) {
                self.0.encode(out);
            }
        }
    )*};
}

sends! {
    /// A send whose body is a batch.
    SendBatch = SEND_BATCH_MESSAGE;
    /// A send that answers a request of another client.
    SendReply = SEND_REPLY_MESSAGE_V2;
}
