//! The fields of every request and response: read as each header, written, and read again.

use tenonmq_protocol::{
    CommandView, Fields, FrameView, HeaderError, HeaderScratch, RequestHeader, ResponseHeader, Serialization,
    header::{RecallHandle, ReceiptHandle, controller::*, *},
};

/// Longest error about one field, in bytes: such a text goes back to the sender.
const MAX_ERROR: usize = 600;

/// The whole input as a header of either form, or the headers of the frames in it.
pub(super) fn headers(bytes: &[u8]) {
    let mut scratch = HeaderScratch::default();
    let mut rest = bytes;
    while let Ok(Some(frame)) = FrameView::peek(rest, 64 << 10) {
        read(&frame, &mut scratch);
        rest = &rest[frame.len..];
    }
    for serialization in [Serialization::Json, Serialization::Binary] {
        read(&FrameView { serialization, header: bytes, body: b"", len: bytes.len() + 8 }, &mut scratch);
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(handle) = ReceiptHandle::parse(&text) {
        let written = handle.to_string();
        assert_eq!(ReceiptHandle::parse(&written), Ok(handle), "{written}");
    }
    if let Ok(handle) = RecallHandle::parse(&text) {
        let written = handle.to_string();
        assert_eq!(RecallHandle::parse(&written), Ok(handle), "{written}");
    }
}

fn read(frame: &FrameView<'_>, scratch: &mut HeaderScratch) {
    if let Ok(view) = CommandView::parse(frame, scratch) {
        requests(&view.fields);
        responses(&view.fields);
    }
}

macro_rules! each {
    ($fields:expr; $($header:ident)*) => {$(
        match $header::decode($fields) {
            Ok(header) => {
                let mut pairs: Vec<(String, String)> = Vec::new();
                header.encode(&mut pairs);
                let written = Fields::pairs(&pairs);
                let again = $header::decode(&written).unwrap_or_else(|error| panic!("{header:?}: {error}"));
                assert_eq!(format!("{again:?}"), format!("{header:?}"));
            }
            Err(error) => says_which_field(&error, stringify!($header)),
        }
    )*};
}

fn says_which_field(error: &HeaderError, header: &str) {
    let text = error.to_string();
    assert!(!error.field().is_empty() && text.contains(error.field()), "{header}: {text}");
    assert!(text.len() <= MAX_ERROR, "{header}: an error of {} bytes", text.len());
}

fn requests(fields: &Fields<'_>) {
    each!(fields;
        CreateTopic DeleteTopic GetTopicStats GetTopicConfig GetConsumerConnections GetProducerConnections DeleteGroup
        GetGroupConfig GroupForbidden GetConsumeStats ResetOffset GetConsumerStatus WhoConsumes TopicsOfConsumer
        SubscriptionOfConsumer ConsumeTimeSpan CorrectionOffset CloneGroupOffset ViewBrokerStats GetBrokerConsumeStats
        QueryConsumeQueue ResumeCheckHalfMessage ExchangeHaInfo ResetMasterFlushOffset CheckRocksdbProgress
        ExportRocksdbConfig SetCommitLogReadMode CreateUser UpdateUser DeleteUser GetUser ListUsers CreateAcl UpdateAcl
        DeleteAcl GetAcl ListAcls AlterSyncStateSet ElectMaster RegisterToController GetReplicaInfo CleanBrokerData
        GetNextBrokerId ApplyBrokerId NotifyRoleChanged UnregisterClient GetConsumerList NotifyConsumerIdsChanged
        SendBack ResetClientOffset GetClientStatus GetRunningInfo ConsumeDirectly QueryOffset UpdateOffset SearchOffset
        GetMaxOffset GetMinOffset GetEarliestStoreTime PopMessage AckMessage ChangeInvisibleTime PeekMessage
        Notification PollingInfo PullMessage QueryMessage ViewMessage RecallMessage RegisterBroker UnregisterBroker
        GetRoute WipeWritePerm AddWritePerm DeleteTopicRoute RegisterTopic GetTopicsByCluster QueryDataVersion
        GetBrokerMemberGroup BrokerHeartbeat NotifyMinBrokerIdChange PutKvConfig GetKvConfig DeleteKvConfig GetKvList
        SendMessage PushReply EndTransaction CheckTransaction
    );
}

fn responses(fields: &Fields<'_>) {
    each!(fields;
        BrokerConfigVersion ExchangeHaInfoResult AlterSyncStateSetResult MasterInfo ControllerMetadata NextBrokerId
        ApplyBrokerIdResult HeartbeatAnswer OffsetAnswer StoreTimeAnswer PopResult ChangeInvisibleTimeResult
        NotificationResult PollingInfoResult PullResult QueryMessageResult RecallResult RegisterBrokerResult
        WipeWritePermResult AddWritePermResult QueryDataVersionResult GetKvConfigResult SendReceipt
    );
}
