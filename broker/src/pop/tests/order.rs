//! Groups that pop in order.

use super::*;

fn ordered(attempt: &'static str) -> PopMessage<'static> {
    PopMessage { order: true, attempt_id: Some(attempt), ..any() }
}

async fn pop(broker: &TestBroker, header: PopMessage<'static>) -> (Vec<Message>, Option<String>) {
    let answer = broker.ask(&Peer::new(1), &header).await;
    (messages(&answer), answer.field("orderCountInfo").map(str::to_owned))
}

#[tokio::test]
async fn a_queue_is_blocked_until_all_that_was_popped_is_done() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    let (two, counts) = pop(&broker, PopMessage { max_count: 2, ..ordered("1") }).await;
    assert_eq!((bodies(&two), counts.as_deref()), (vec!["a", "b"], Some("0 0 0")));
    assert!(two[0].handle.contains(" 999 0 broker-a 0"));
    assert_eq!(pop(&broker, ordered("2")).await.0, []);
    broker.ack(&two[0]).await;
    assert_eq!(broker.offset(0), Some(1));
    assert_eq!(pop(&broker, ordered("2")).await.0, []);
    broker.ack(&two[1]).await;
    assert_eq!(broker.offset(0), Some(2));
    assert_eq!(bodies(&pop(&broker, ordered("2")).await.0), ["c"]);
}

#[tokio::test]
async fn the_same_attempt_gets_the_same_messages() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    let (first, _) = pop(&broker, ordered("1")).await;
    broker.advance(Duration::from_secs(1));
    let (again, counts) = pop(&broker, ordered("1")).await;
    assert_eq!((bodies(&again), counts.as_deref()), (bodies(&first), Some("0 0 0")));
}

#[tokio::test]
async fn what_was_not_done_in_time_comes_again_in_place_and_is_counted() {
    let broker = TestBroker::with_messages(&[("popOrderedSkipsAcknowledged", "true")], &["a", "b", "c"]);
    let (first, _) = pop(&broker, ordered("1")).await;
    broker.ack(&first[1]).await;
    broker.pass(INVISIBLE);
    let (again, counts) = pop(&broker, ordered("2")).await;
    assert_eq!(bodies(&again), ["a", "c"], "b is done");
    assert_eq!(counts.as_deref(), Some("0 qo0%0 1;0 qo0%2 1;0 0 1"));
    assert!(broker.core.topics.get("%RETRY%CG_orders").is_none(), "nothing is copied");
    assert_eq!(broker.ack(&first[0]).await, (0, None), "the first pop is over");
    assert_eq!(broker.offset(0), Some(0));
    for message in &again {
        broker.ack(message).await;
    }
    assert_eq!(broker.offset(0), Some(3));
}

#[tokio::test]
async fn a_queue_goes_on_at_the_first_message_that_is_not_done_and_what_follows_comes_after_it() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c", "d"]);
    let (first, _) = pop(&broker, PopMessage { max_count: 3, ..ordered("1") }).await;
    broker.ack(&first[0]).await;
    broker.ack(&first[2]).await;
    broker.pass(INVISIBLE);
    let (again, counts) = pop(&broker, ordered("2")).await;
    assert_eq!(bodies(&again), ["b", "c", "d"], "c has the last word, as with Apache");
    assert_eq!(counts.as_deref(), Some("0 qo0%1 1;0 qo0%2 1;0 0 0"));
    for message in &again {
        broker.ack(message).await;
    }
    assert_eq!(broker.offset(0), Some(4));
}

#[tokio::test]
async fn an_acknowledgement_of_what_nobody_popped_is_refused() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    let (one, _) = pop(&broker, PopMessage { max_count: 1, ..ordered("1") }).await;
    let other = Message { offset: 1, ..one[0].clone() };
    let (code, remark) = broker.ack(&other).await;
    assert_eq!(code, 13);
    assert!(remark.unwrap().starts_with("offset is illegal, key:orders@CG@0, old:0, commit:1, next:-1, "));
}

#[tokio::test]
async fn a_message_may_have_another_time_and_holds_its_queue_until_then() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    let (mut popped, _) = pop(&broker, ordered("1")).await;
    let at = broker.core.clock.now_ms();
    broker.advance(Duration::from_secs(5));
    let answer = broker.change(&mut popped[0], Duration::from_secs(1)).await;
    assert_eq!((answer.code, answer.field("popTime")), (0, Some(at.to_string().as_str())));
    assert_eq!((answer.field("invisibleTime"), answer.field("reviveQid")), (Some("6000"), Some("999")));
    broker.ack(&popped[1]).await;
    broker.pass(Duration::from_millis(999));
    assert_eq!(pop(&broker, ordered("2")).await.0, []);
    broker.pass(Duration::from_millis(1));
    assert_eq!(bodies(&pop(&broker, ordered("2")).await.0), ["a", "b"]);
}

#[tokio::test]
async fn a_held_pop_is_woken_when_the_last_message_that_blocks_is_visible_again() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c", "d"]);
    let (mut popped, _) = pop(&broker, PopMessage { max_count: 3, ..ordered("1") }).await;
    broker.ack(&popped[0]).await;
    broker.change(&mut popped[1], Duration::from_secs(3)).await;
    broker.ack(&popped[2]).await;
    let peer = Peer::new(2);
    let header = PopMessage { poll_millis: 15_000, ..ordered("2") };
    let mut held = Box::pin(broker.ask(&peer, &header));
    assert!(futures_util::poll!(&mut held).is_pending());
    broker.pass(Duration::from_secs(3));
    assert_eq!(bodies(&messages(&held.await)), ["b", "c", "d"]);
}

#[tokio::test]
async fn a_held_pop_is_woken_when_its_queue_is_free_again() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    let (one, _) = pop(&broker, PopMessage { max_count: 1, ..ordered("1") }).await;
    let peer = Peer::new(1);
    let header = PopMessage { poll_millis: 100_000, ..ordered("2") };
    let mut held = Box::pin(broker.ask(&peer, &header));
    assert!(futures_util::poll!(&mut held).is_pending());
    broker.ack(&one[0]).await;
    let two = messages(&held.await);
    assert_eq!(bodies(&two), ["b"]);
    let header = PopMessage { poll_millis: 100_000, ..ordered("3") };
    let mut held = Box::pin(broker.ask(&peer, &header));
    assert!(futures_util::poll!(&mut held).is_pending());
    broker.pass(INVISIBLE);
    assert_eq!(bodies(&messages(&held.await)), ["b"]);
}

#[tokio::test]
async fn what_is_held_is_kept_over_a_crash_and_in_apaches_file() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    broker.core.groups.save().unwrap();
    let (popped, _) = pop(&broker, ordered("attempt-1")).await;
    broker.ack(&popped[0]).await;
    let now = broker.core.clock.now_ms();
    broker.core.pops.save_orders(&broker.core).unwrap();
    let path = broker.folder().join("config").join("consumerOrderInfo.json");
    let table = r#"{"table":{"orders@CG":{0:{"a":"attempt-1","cm":1,"i":60000,"l":NOW,"o":[0,1,2],"popTime":NOW}}}}"#;
    let mut written = std::fs::read_to_string(path).unwrap();
    written.retain(|c| !c.is_whitespace());
    assert_eq!(written, table.replace("NOW", &now.to_string()));
    broker.ack(&popped[1]).await; // known to the log alone
    let broker = broker.crashed();
    assert_eq!(pop(&broker, ordered("2")).await.0, [], "blocked still");
    broker.pass(INVISIBLE);
    let (again, _) = pop(&broker, ordered("2")).await;
    assert_eq!(bodies(&again), ["c"]);
}

#[tokio::test]
async fn what_apache_left_is_taken_over() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    broker.core.offsets.set(GROUP, TOPIC, 0, 0);
    let golden = include_str!("../../../../golden/store/clean/data/config/consumerOrderInfo.json");
    let path = broker.folder().join("config").join("consumerOrderInfo.json");
    let popped_at = broker.core.clock.now_ms();
    let text = golden.replace("T_pop@CG_popfifo", "orders@CG").replace("1795247673914", &popped_at.to_string());
    let broker = broker.restarted_after(|| std::fs::write(path, text).unwrap());
    assert_eq!(pop(&broker, ordered("attempt-2")).await.0, []);
    let (again, _) = pop(&broker, ordered("attempt-1")).await;
    assert_eq!(bodies(&again), ["a", "b", "c"]);
}
