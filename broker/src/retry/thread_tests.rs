//! Complaints about retries that the broker can answer, each named after its thread; causes; and bad input.

use tenonmq_protocol::{
    Command,
    body::{CustomizedRetryPolicy, ExponentialRetryPolicy, GroupRetryPolicy, GroupRetryPolicyType},
    header::SendBack,
    message::{FailureCause, cause},
};

use super::tests::{back, broker, last, outcome, property, retried, retried_at, send};
use crate::{
    core::names::{HALF_TOPIC, SCHEDULE_TOPIC},
    remoting::testing::{Peer, TestBroker},
};

fn set_policy(broker: &TestBroker, policy: GroupRetryPolicy) {
    let mut config = (*broker.core.groups.get("billing").unwrap()).clone();
    config.group_retry_policy = policy;
    broker.core.groups.put(config).unwrap();
}

/// The level at which the message at `at` waits after it was sent back.
async fn level_after(broker: &TestBroker, peer: &Peer, at: i64) -> i32 {
    let queues = 0..18;
    let ends = |broker: &TestBroker| {
        queues.clone().map(|id| broker.core.store.queue(SCHEDULE_TOPIC, id).max_offset()).collect::<Vec<_>>()
    };
    let before = ends(broker);
    assert_eq!(outcome(&broker.ask(peer, &back(at, 0)).await), (0, ""));
    let after = ends(broker);
    i32::try_from(before.iter().zip(&after).position(|(before, after)| before != after).unwrap()).unwrap() + 1
}

#[tokio::test]
async fn thread_7121_the_gaps_between_retries_are_those_of_the_table() {
    let (broker, peer, mut at) = broker(&[]);
    for retry in 0..16 {
        let level = level_after(&broker, &peer, at).await;
        assert_eq!(level, 3 + retry, "retry {retry}");
        at = retried_at(&broker, level); // delivered exactly when the level's time has passed
    }
    assert_eq!(outcome(&broker.ask(&peer, &back(at, 0)).await), (0, ""));
    assert_eq!(last(&broker, "%DLQ%billing", 0, |record| record.reconsume_times()), Some(17));
}

#[tokio::test]
async fn thread_spring_366_alibaba_2627_the_pauses_of_a_group_are_those_of_its_policy() {
    let (broker, peer, at) = broker(&[]);
    let next = vec![1, 1, 5_000, 61_000, 3_600_000_000];
    let customized_retry_policy = Some(CustomizedRetryPolicy { next });
    set_policy(&broker, GroupRetryPolicy { customized_retry_policy, ..GroupRetryPolicy::default() });
    let mut from = at;
    for level in [2, 6, 18, 18] {
        assert_eq!(level_after(&broker, &peer, from).await, level, "5 s, 2 min for 61 s, the longest for 1000 h");
        from = retried_at(&broker, level);
    }
    let growing = ExponentialRetryPolicy { initial: 1_000, max: 10_000, multiplier: 5 };
    set_policy(
        &broker,
        GroupRetryPolicy {
            exponential_retry_policy: Some(growing),
            r#type: GroupRetryPolicyType::Exponential,
            ..GroupRetryPolicy::default()
        },
    );
    let mut from = at;
    for level in [1, 2, 3, 3] {
        assert_eq!(level_after(&broker, &peer, from).await, level);
        from = retried_at(&broker, level);
    }
    assert_eq!(broker.ask(&peer, &back(at, 7)).await.code, 0);
    assert!(last(&broker, SCHEDULE_TOPIC, 6, |_| ()).is_some(), "what the consumer asks for comes first");
}

#[tokio::test]
async fn thread_1561_a_message_is_retried_as_often_as_it_says_itself() {
    let (broker, peer, _) = broker(&[]);
    let text = "TENON_MAX_RETRIES\u{1}1\u{2}";
    let queue_offset = broker.store_with("orders", 0, b"once more", text, 0);
    let at = broker.core.store.find_queue("orders", 0).unwrap().entry(queue_offset).unwrap().physical_offset;
    let level = level_after(&broker, &peer, at.cast_signed()).await;
    let from = retried_at(&broker, level);
    assert_eq!(outcome(&broker.ask(&peer, &back(from, 0)).await), (0, ""));
    assert_eq!(last(&broker, "%DLQ%billing", 0, |record| record.body().to_vec()).unwrap(), b"once more");

    let by_client = "RETRY_TOPIC\u{1}orders\u{2}UNIQ_KEY\u{1}FD02\u{2}DELAY\u{1}3\u{2}TENON_MAX_RETRIES\u{1}1\u{2}";
    for (retries, dead_letters) in [(1, 1), (2, 2)] {
        let mut header = retried(retries, Some(16));
        header.properties = by_client;
        assert_eq!(send(&broker, &peer, &header).await.code, 0);
        assert_eq!(broker.core.store.find_queue("%DLQ%billing", 0).unwrap().max_offset(), dead_letters);
    }
}

#[tokio::test]
async fn why_a_message_failed_travels_with_its_retries_into_the_dead_letters() {
    let (broker, peer, at) = broker(&[]);
    let failed = |at, class, delay_level| SendBack {
        cause_class: Some(class),
        cause_digest: Some("9f86d081"),
        cause_host: Some("worker-3"),
        ..back(at, delay_level)
    };
    assert_eq!(broker.ask(&peer, &failed(at, "java.net.ConnectException", 0)).await.code, 0);
    let from = retried_at(&broker, 3);
    assert_eq!(broker.ask(&peer, &failed(from, "java.lang.NullPointerException", -1)).await.code, 0);
    let text = last(&broker, "%DLQ%billing", 0, |record| property(record, "TENON_CAUSES")).flatten().unwrap();
    let causes = cause::parse(&text);
    let cause = |class: &'static str, attempt, at| FailureCause {
        class: class.into(),
        digest: "9f86d081".into(),
        host: "worker-3".into(),
        attempt,
        at,
    };
    let start = crate::remoting::testing::START_MS;
    assert_eq!(
        causes,
        [cause("java.net.ConnectException", 1, start), cause("java.lang.NullPointerException", 2, start + 10_000)]
    );
}

#[tokio::test]
async fn a_record_that_no_consumer_was_given_is_not_made_visible() {
    let (broker, peer, at) = broker(&[]);
    for (topic, queue_id) in [(HALF_TOPIC, 0), (SCHEDULE_TOPIC, 4)] {
        let offset = broker.store(topic, queue_id, b"not decided");
        let entry = broker.core.store.find_queue(topic, queue_id).unwrap().entry(offset).unwrap();
        let hidden = entry.physical_offset.cast_signed();
        let answer = broker.ask(&peer, &back(hidden, 0)).await;
        assert_eq!(answer.code, 1);
        assert!(answer.remark.unwrap().ends_with(&format!("the offset is that of a record of topic[{topic}]")));
    }
    assert_eq!(broker.ask(&peer, &back(at, 0)).await.code, 0);
}

#[tokio::test]
async fn levels_and_maxima_beyond_all_bounds_are_taken_to_the_nearest_that_exists() {
    let (broker, peer, at) = broker(&[]);
    for (level, maximum, dead_letters) in
        [(i32::MAX, i32::MAX, 0), (i32::MIN, i32::MAX, 1), (0, i32::MIN, 2), (i32::MAX, 0, 3)]
    {
        let asked = SendBack { max_reconsume_times: Some(maximum), ..back(at, level) };
        assert_eq!(outcome(&broker.ask(&peer, &asked).await), (0, ""));
        assert_eq!(broker.core.store.queue("%DLQ%billing", 0).max_offset(), dead_letters);
    }
    assert_eq!(last(&broker, SCHEDULE_TOPIC, 17, |_| ()), Some(()));
}

#[tokio::test]
async fn a_field_that_is_missing_or_no_number_is_named() {
    let (broker, peer, at) = broker(&[]);
    for (field, value) in
        [("offset", None), ("offset", Some("near the end")), ("delayLevel", Some("99999999999")), ("group", None)]
    {
        let mut command = Command::with_header(&back(at, 0));
        command.fields.retain(|(name, _)| name != field);
        if let Some(value) = value {
            command.fields.push((field.into(), value.into()));
        }
        let answer = broker.call(&peer, command).await;
        assert_eq!(answer.code, 1);
        assert!(answer.remark.as_deref().unwrap().contains(field), "{:?}", answer.remark);
    }
}

#[tokio::test]
async fn a_retry_topic_with_fewer_queues_than_the_group_wants_keeps_messages_where_they_are_read() {
    let (broker, peer, at) = broker(&[]);
    assert_eq!(broker.ask(&peer, &back(at, 0)).await.code, 0);
    let mut config = (*broker.core.groups.get("billing").unwrap()).clone();
    config.retry_queue_nums = 64;
    broker.core.groups.put(config).unwrap();
    for _ in 0..20 {
        assert_eq!(broker.ask(&peer, &back(at, 0)).await.code, 0);
        assert_eq!(
            last(&broker, SCHEDULE_TOPIC, 2, |record| property(record, "REAL_QID")).flatten().as_deref(),
            Some("0")
        );
    }
}

/// Copies that wait for level 3, and dead letters.
fn copies(broker: &TestBroker) -> (i64, i64) {
    let count =
        |topic: &str, queue_id| broker.core.store.find_queue(topic, queue_id).map_or(0, |queue| queue.max_offset());
    (count(SCHEDULE_TOPIC, 2), count("%DLQ%billing", 0))
}

#[tokio::test]
async fn thread_1589_two_clients_of_one_name_do_not_double_what_they_send_back() {
    let (broker, peer, at) = broker(&[("sendBacksRememberedMax", "1000")]);
    let other = Peer::new(2);
    for peer in [&peer, &other, &peer] {
        assert_eq!(outcome(&broker.ask(peer, &back(at, 0)).await), (0, ""));
    }
    assert_eq!(copies(&broker), (1, 0));
    let retry = retried_at(&broker, 3);
    for peer in [&peer, &other] {
        assert_eq!(broker.ask(peer, &back(retry, -1)).await.code, 0);
    }
    assert_eq!(copies(&broker), (1, 1));
    let other_group = SendBack { group: "audit", ..back(at, 0) };
    assert_eq!(broker.ask(&peer, &other_group).await.code, 0);
    assert_eq!(copies(&broker), (2, 1), "another group fails for itself");
}

#[tokio::test]
async fn thread_1600_a_handler_that_outlasts_its_time_makes_one_copy() {
    let (broker, peer, at) = broker(&[("sendBacksRememberedMax", "1000")]);
    let queue_offset = broker.core.store.find_queue("orders", 1).unwrap().max_offset() - 1;
    assert_eq!(broker.ask(&peer, &back(at, 0)).await.code, 0); // the client, after 15 minutes
    retried_at(&broker, 3);
    broker.core.offsets.commit("billing", "orders", 1, queue_offset + 1);
    assert_eq!(broker.ask(&peer, &back(at, 0)).await.code, 0); // the handler, when it ends
    assert_eq!(copies(&broker), (1, 0));
    broker.core.offsets.set("billing", "orders", 1, queue_offset); // an operator has it read again, and it fails again
    assert_eq!(broker.ask(&peer, &back(at, 0)).await.code, 0);
    assert_eq!(copies(&broker), (2, 0));
}

#[tokio::test]
async fn without_a_memory_each_send_back_makes_a_copy_as_apaches_does() {
    let (broker, peer, at) = broker(&[]);
    for _ in 0..2 {
        assert_eq!(broker.ask(&peer, &back(at, 0)).await.code, 0);
    }
    assert_eq!(copies(&broker), (2, 0));
}

#[tokio::test]
async fn thread_clients_1096_what_an_ordered_consumer_gives_up_is_not_retried_once_more() {
    let (broker, peer, at) = broker(&[]);
    assert_eq!(broker.ask(&peer, &back(at, -1)).await.code, 0); // a leasing consumer, after its own tries
    let queue = tenonmq_protocol::message::queue::MessageQueue {
        topic: "orders".into(),
        broker_name: "broker-a".into(),
        queue_id: 0,
    };
    broker.core.locks.lock("billing", "client", vec![queue], broker.core.clock.now_ms());
    assert_eq!(send(&broker, &peer, &retried(1, Some(i32::MAX))).await.code, 0); // one that holds a queue lock
    assert_eq!(copies(&broker), (0, 2));
}

#[tokio::test]
async fn thread_nats_7148_spring_419_a_lower_maximum_holds_for_messages_on_their_way() {
    let (broker, peer, mut at) = broker(&[]);
    let by_group = |at| SendBack { max_reconsume_times: None, ..back(at, 0) };
    for level in 3..6 {
        assert_eq!(broker.ask(&peer, &by_group(at)).await.code, 0);
        at = retried_at(&broker, level);
    }
    let mut config = (*broker.core.groups.get("billing").unwrap()).clone();
    config.retry_max_times = 2;
    broker.core.groups.put(config).unwrap();
    assert_eq!(broker.ask(&peer, &by_group(at)).await.code, 0);
    assert_eq!(last(&broker, "%DLQ%billing", 0, |record| record.reconsume_times()), Some(4));
}

#[tokio::test]
async fn thread_rabbit_3100_a_message_sent_back_outlives_the_broker_once_that_was_answered() {
    let (broker, peer, at) = broker(&[]);
    assert_eq!(broker.ask(&peer, &back(at, 0)).await.code, 0);
    assert_eq!(broker.ask(&peer, &back(at, -1)).await.code, 0);
    let broker = broker.crashed();
    assert_eq!(copies(&broker), (1, 1));
    assert_eq!(last(&broker, "%DLQ%billing", 0, |record| record.body().to_vec()).unwrap(), b"order 42");
}

#[tokio::test]
async fn a_message_that_was_deleted_cannot_be_sent_back_and_one_of_a_deleted_topic_still_can() {
    let (broker, peer, at) = broker(&[]);
    broker.core.topics.remove("orders", crate::remoting::testing::START_MS);
    broker.core.store.delete_topic("orders").unwrap();
    assert_eq!(outcome(&broker.ask(&peer, &back(at, 0)).await), (0, ""), "its record is still in the log");
    let body = vec![7; 600 << 10]; // two fill a file of the log
    (0..4).for_each(|_| _ = broker.store("others", 0, &body));
    broker.expire_log();
    for level in [0, -1] {
        let answer = broker.ask(&peer, &back(at, level)).await;
        assert_eq!(outcome(&answer), (1, &*format!("look message by offset failed, {at}")));
    }
    assert_eq!(copies(&broker).1, 0);
}

#[tokio::test]
async fn a_group_that_never_subscribed_to_the_topic_gets_its_copy_alone() {
    let (broker, peer, at) = broker(&[]);
    let stranger = SendBack { group: "stranger", ..back(at, -1) };
    assert_eq!(broker.ask(&peer, &stranger).await.code, 0, "as with Apache: groups are created when they are named");
    assert!(last(&broker, "%DLQ%stranger", 0, |_| ()).is_some());
    assert_eq!(copies(&broker), (0, 0));
    for nobody in ["", "a b", "%RETRY%\u{0}"] {
        let answer = broker.ask(&peer, &SendBack { group: nobody, ..back(at, 0) }).await;
        assert_eq!(answer.code, 26, "{nobody:?}: {:?}", answer.remark);
    }
}

/// rabbitmq-server #37, laravel-queue-rabbitmq #601: dead-lettering was at most once, and a message could be lost by it.
#[tokio::test]
async fn thread_rabbit_37_a_copy_that_cannot_be_stored_leaves_the_message_with_its_consumer() {
    let (broker, peer, at) = broker(&[]);
    let permit = broker.core.store.permit();
    broker.core.store.set_permit(tenonmq_storage::Permit { role: tenonmq_storage::Role::Slave, ..permit });
    for level in [0, -1] {
        assert_ne!(broker.ask(&peer, &back(at, level)).await.code, 0, "so that it is sent back once more");
    }
    broker.core.store.set_permit(permit);
    assert_eq!(copies(&broker), (0, 0));
    for level in [0, -1] {
        assert_eq!(broker.ask(&peer, &back(at, level)).await.code, 0);
    }
    assert_eq!(copies(&broker), (1, 1));
}

/// nats jetstream #425: what failed too often was only told of, and kept nowhere.
#[tokio::test]
async fn thread_nats_425_the_last_failure_leaves_the_whole_message_and_nothing_else() {
    let (broker, peer, at) = broker(&[]);
    let last_try = SendBack { max_reconsume_times: Some(0), ..back(at, 0) };
    assert_eq!(broker.ask(&peer, &last_try).await.code, 0);
    assert_eq!(copies(&broker), (0, 1));
    last(&broker, "%DLQ%billing", 0, |record| {
        assert_eq!((record.body(), record.reconsume_times()), (&b"order 42"[..], 1));
        assert_eq!(property(record, "RETRY_TOPIC").as_deref(), Some("orders"));
    })
    .unwrap();
}
