//! Complaints about offsets, each named after its thread, and offsets and locks that make no sense.

use tenonmq_protocol::{
    Command,
    body::{
        ConsumerData, HeartbeatData, LockRequest, LockResponse, ResetOffsetBody, ResetOffsetList, SubscriptionData,
        json,
        offset_desk::{ListMoves, ListOwners, PreviewReset, ResetGroup},
    },
    code::{RequestCode, ResponseCode},
    header::{
        PullFlags, PullMessage,
        offset::{QueryOffset, UpdateOffset},
    },
    language::Language,
    message::MessageQueue,
};

use crate::remoting::testing::{Peer, TestBroker};

/// A topic `orders` with one queue of five messages, and a group `billing` that has read them all.
fn orders() -> (TestBroker, Peer) {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 1);
    (0..5).for_each(|_| _ = broker.store("orders", 0, b"x"));
    broker.core.groups.find_or_create("billing").unwrap();
    broker.core.offsets.commit("billing", "orders", 0, 5);
    (broker, peer)
}

fn update(queue_id: i32, commit_offset: i64) -> UpdateOffset<'static> {
    UpdateOffset { consumer_group: "billing", topic: "orders", queue_id, commit_offset, broker_name: None }
}

fn query(queue_id: i32) -> QueryOffset<'static> {
    QueryOffset { consumer_group: "billing", topic: "orders", queue_id, set_zero_if_not_found: None, broker_name: None }
}

fn pull(queue_offset: i64) -> PullMessage<'static> {
    PullMessage {
        consumer_group: "billing",
        topic: "orders",
        queue_offset,
        max_count: 32,
        sys_flag: PullFlags::SUBSCRIPTION,
        subscription: Some("*"),
        ..PullMessage::default()
    }
}

fn held(queue_offset: i64) -> PullMessage<'static> {
    PullMessage {
        commit_offset: queue_offset,
        sys_flag: PullFlags::COMMIT | PullFlags::SUSPEND | PullFlags::SUBSCRIPTION,
        suspend_timeout_millis: 15_000,
        ..pull(queue_offset)
    }
}

fn reset_to(value: i64) -> ResetGroup {
    ResetGroup {
        group: "billing".into(),
        topic: "orders".into(),
        to: "offset".into(),
        value: Some(value),
        ..ResetGroup::default()
    }
}

/// A member's heartbeat, written in that language.
async fn join(broker: &TestBroker, peer: &Peer, client_id: &str, language: Language) {
    let orders = SubscriptionData { topic: "orders".into(), sub_version: 1, ..SubscriptionData::default() };
    let consumer =
        ConsumerData { group_name: "billing".into(), subscription_data_set: vec![orders], ..ConsumerData::default() };
    let data =
        HeartbeatData { client_id: client_id.into(), consumer_data_set: vec![consumer], ..HeartbeatData::default() };
    let mut command = Command::request(RequestCode::HEART_BEAT).with_body(json::to_vec(&data));
    command.language = language;
    assert_eq!(broker.call(peer, command).await.code, 0);
}

fn led_to(answer: &Command) -> (ResponseCode, Option<&str>) {
    (ResponseCode(answer.code), answer.field("nextBeginOffset"))
}

/// client-go #956, #605: a reset of a live group was ignored, or took effect minutes later, when the held pull ended.
#[tokio::test]
async fn thread_client_go_956_a_reset_reaches_a_group_whose_pull_is_held_at_once() {
    let (broker, peer) = orders();
    let operator = Peer::new(2);
    let (pull, reset) = (held(5), reset_to(2));
    let (answer, done) = tokio::join!(broker.ask(&peer, &pull), broker.desk(&operator, &reset));
    assert_eq!(done.unwrap().moved.repeats, 3);
    assert_eq!(led_to(&answer), (ResponseCode::PULL_OFFSET_MOVED, Some("2")));
    assert_eq!(broker.ask(&peer, &update(0, 2)).await.remark, None, "commits count again");
    assert_eq!(broker.ask(&peer, &held(2)).await.code, 0);
}

/// client-go #605: what a consumer had in its hands when it was reset must not take the reset back.
#[tokio::test]
async fn thread_client_go_605_a_commit_between_reset_and_pull_does_not_undo_the_reset() {
    let (broker, peer) = orders();
    broker.core.offsets.reset("billing", "orders", 0, 2);
    assert_eq!(broker.ask(&peer, &update(0, 6)).await.code, 0);
    let broker = broker.crashed();
    assert_eq!(broker.core.offsets.get("billing", "orders", 0), Some(2), "not even when the broker is killed");
    assert!(broker.core.offsets.has_reset("billing", "orders", 0));
}

/// client-cpp #481: a member that was reset stood still for two minutes, and was shown nowhere.
#[tokio::test]
async fn thread_client_cpp_481_a_member_that_was_reset_goes_on_at_once_and_is_still_shown() {
    let (broker, peer) = orders();
    join(&broker, &peer, "one", Language::Cpp).await;
    let (pull, reset) = (held(5), reset_to(1));
    let (answer, done) = tokio::join!(broker.ask(&peer, &pull), broker.desk(&peer, &reset));
    done.unwrap();
    assert_eq!(led_to(&answer), (ResponseCode::PULL_OFFSET_MOVED, Some("1")));
    assert_eq!(led_to(&broker.ask(&peer, &held(1)).await), (ResponseCode::SUCCESS, Some("5")));
    let asked = ListOwners { group: "billing".into(), topic: "orders".into() };
    let shown = broker.desk(&peer, &asked).await.unwrap();
    assert_eq!((shown.members.len(), shown.queues[0].owner.as_deref()), (1, Some("one")));
}

/// client-cpp #481 again: members that move themselves understand what they are told.
#[tokio::test]
async fn thread_client_cpp_481_every_member_is_told_of_a_reset_in_its_own_form() {
    let broker = TestBroker::with(&[("useServerSideResetOffset", "false")]);
    broker.topic("orders", 1);
    broker.core.groups.find_or_create("billing").unwrap();
    broker.core.offsets.commit("billing", "orders", 0, 0);
    let (mut java, mut cpp, mut go) = (Peer::new(1), Peer::new(2), Peer::new(3));
    join(&broker, &java, "java", Language::Java).await;
    join(&broker, &cpp, "cpp", Language::Cpp).await;
    join(&broker, &go, "go", Language::Go).await;
    [&mut java, &mut cpp, &mut go].into_iter().for_each(|peer| drop(peer.take()));
    let fields = [("topic", "orders"), ("group", "billing"), ("timestamp", "-1"), ("isForce", "true")];
    let ask = Command::request(RequestCode::INVOKE_BROKER_TO_RESET_OFFSET);
    let ask = fields.into_iter().fold(ask, |ask, (name, value)| ask.with_field(name, value));
    assert_eq!(broker.call(&Peer::new(9), ask).await.code, 0);
    for peer in [&mut java, &mut go] {
        let told = peer.take();
        assert_eq!(told[0].code, RequestCode::RESET_CONSUMER_CLIENT_OFFSET.0);
        let body: ResetOffsetBody = json::from_slice(&told[0].body).unwrap();
        assert_eq!(body.offset_table.len(), 1);
    }
    let body: ResetOffsetList = json::from_slice(&cpp.take()[0].body).unwrap();
    assert_eq!(body.offset_table[0].topic, "orders");
}

/// #2181, alibaba #210: a broker that had less of the log led its consumers to 0.
#[tokio::test]
async fn thread_2181_a_pull_beyond_the_end_is_led_to_the_end_and_not_to_the_beginning() {
    let (broker, peer) = orders();
    for beyond in [6, 7, 1_000_000, i64::MAX] {
        assert_eq!(led_to(&broker.ask(&peer, &pull(beyond)).await), (ResponseCode::PULL_OFFSET_MOVED, Some("5")));
    }
    assert_eq!(broker.core.offsets.get("billing", "orders", 0), Some(5));
}

/// client-go #832: while the broker could not say where a group stood, its members took that for 0 and committed it.
#[tokio::test]
async fn thread_client_go_832_a_group_that_has_no_offset_in_an_old_queue_is_not_told_zero() {
    let (broker, peer) = orders();
    broker.topic("payments", 1);
    let asked = QueryOffset { topic: "payments", ..query(0) };
    assert_eq!(broker.ask(&peer, &asked).await.code, ResponseCode::QUERY_NOT_FOUND.0, "nothing there");
    let asked = QueryOffset { set_zero_if_not_found: Some(false), consumer_group: "audit", ..query(0) };
    assert_eq!(broker.ask(&peer, &asked).await.code, ResponseCode::QUERY_NOT_FOUND.0, "whoever cannot bear a zero");
    assert_eq!(broker.ask(&peer, &update(0, 0)).await.code, 0);
    let told = broker.desk(&peer, &ListMoves::default()).await.unwrap().moves;
    assert_eq!(
        (&*told[0].action, told[0].queues[0].from),
        ("commit", Some(5)),
        "a zero that came nevertheless is known"
    );
}

fn lock(code: RequestCode, client_id: &str, queues: &[MessageQueue]) -> Command {
    let request = LockRequest {
        client_id: client_id.into(),
        consumer_group: "billing".into(),
        mq_set: queues.to_vec(),
        only_this_broker: false,
    };
    Command::request(code).with_body(json::to_vec(&request))
}

fn locked(answer: &Command) -> Vec<MessageQueue> {
    json::from_slice::<LockResponse>(&answer.body).unwrap().locked
}

/// client-cpp #293: after a restart a queue stayed with a member that was gone.
#[tokio::test]
async fn thread_client_cpp_293_a_lock_of_before_the_restart_keeps_no_queue_from_its_next_reader() {
    let (broker, peer) = orders();
    let queue = [MessageQueue::new("orders", "broker-a", 0)];
    let first = broker.call(&peer, lock(RequestCode::LOCK_BATCH_MQ, "gone", &queue)).await;
    assert_eq!(locked(&first), queue);
    let broker = broker.crashed();
    let next = broker.call(&peer, lock(RequestCode::LOCK_BATCH_MQ, "next", &queue)).await;
    assert_eq!(locked(&next), queue);
}

#[tokio::test]
async fn a_queue_of_another_member_is_neither_locked_nor_unlocked() {
    let (broker, peer) = orders();
    let queue = |id| MessageQueue::new("orders", "broker-a", id);
    let (lock_code, unlock_code) = (RequestCode::LOCK_BATCH_MQ, RequestCode::UNLOCK_BATCH_MQ);
    broker.call(&peer, lock(lock_code, "one", &[queue(0)])).await;
    let granted = broker.call(&peer, lock(lock_code, "two", &[queue(0), queue(1)])).await;
    assert_eq!((granted.code, locked(&granted)), (0, vec![queue(1)]));
    assert_eq!(broker.call(&peer, lock(unlock_code, "two", &[queue(0), queue(7)])).await.code, 0);
    let granted = broker.call(&peer, lock(lock_code, "two", &[queue(0)])).await;
    assert_eq!(locked(&granted), []);
    for nonsense in ["", "[]", "{\"mqSet\":7}", "{\"mqSet\":[{\"queueId\":\"first\"}]}"] {
        let answer = broker.call(&peer, Command::request(lock_code).with_body(nonsense.as_bytes().to_vec())).await;
        assert_eq!(answer.code, 1, "{nonsense}");
        assert!(answer.remark.is_some_and(|remark| !remark.is_empty()));
    }
}

#[tokio::test]
async fn offsets_beyond_the_log_are_kept_as_sent_and_the_next_pull_is_led_back() {
    let (broker, peer) = orders();
    for beyond in [6, 1_000_000, i64::MAX] {
        assert_eq!(broker.ask(&peer, &update(0, beyond)).await.code, 0, "as with Apache, the last commit counts");
        assert_eq!(broker.ask(&peer, &query(0)).await.field("offset"), Some(&*beyond.to_string()));
        assert_eq!(led_to(&broker.ask(&peer, &pull(beyond)).await), (ResponseCode::PULL_OFFSET_MOVED, Some("5")));
        let asked = PreviewReset {
            group: "billing".into(),
            topic: "orders".into(),
            to: "min".into(),
            ..PreviewReset::default()
        };
        let preview = broker.desk(&peer, &asked).await.unwrap();
        assert_eq!((preview.repeats, preview.skips), (5, 0), "only messages that there are count");
    }
    for negative in [-1, i64::MIN] {
        assert_eq!(broker.ask(&peer, &update(0, negative)).await.code, 0);
        assert_eq!(broker.ask(&peer, &query(0)).await.field("offset"), Some("0"), "as if there were none");
    }
    let broker = broker.crashed();
    broker.core.groups.find_or_create("billing").unwrap();
    assert_eq!(broker.ask(&peer, &query(0)).await.field("offset"), Some("0"));
    assert_eq!(broker.ask(&peer, &update(7, 3)).await.code, 0, "a queue that the topic does not have (yet)");
    assert_eq!(broker.ask(&peer, &query(7)).await.field("offset"), Some("3"));
    let beyond = broker.desk(&peer, &ResetGroup { queue_id: Some(0), ..reset_to(1_000) }).await.unwrap();
    assert_eq!(beyond.moved.queues[0].target, 5, "a reset goes to the end at most");
}

#[tokio::test]
async fn a_pull_of_messages_that_were_deleted_is_led_to_the_first_that_is_left() {
    let (broker, peer) = orders();
    let body = vec![7; 600 << 10]; // two fill a file of the log
    (0..4).for_each(|_| _ = broker.store("orders", 0, &body));
    broker.expire_log();
    let min = broker.core.store.find_queue("orders", 0).unwrap().min_offset();
    assert!(min > 0);
    assert_eq!(led_to(&broker.ask(&peer, &pull(0)).await), (ResponseCode::PULL_OFFSET_MOVED, Some(&*min.to_string())));
    let asked = QueryOffset { consumer_group: "audit", ..query(0) };
    assert_eq!(broker.ask(&peer, &asked).await.code, ResponseCode::QUERY_NOT_FOUND.0, "its message 0 is gone");
}
