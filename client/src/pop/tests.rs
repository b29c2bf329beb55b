use std::time::Duration;

use tenonmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{json, pop::BatchAckRequest},
    header::{AckMessage, PopMessage},
};

use super::SimpleConsumer;
use crate::{
    error::Error,
    testing::{FakeBroker, Say, refuse},
};

const LEASE: Duration = Duration::from_secs(60);

/// A pull answer's records with a pop answer's header.
fn popped(body: &[u8]) -> Say {
    let answer = Command::response(ResponseCode::SUCCESS, 0)
        .with_field("popTime", 1000)
        .with_field("invisibleTime", 60_000)
        .with_field("reviveQid", 2)
        .with_field("restNum", 0)
        .with_field("startOffsetInfo", "0 0 0")
        .with_field("msgOffsetInfo", "0 0 0,1");
    Say::This(answer.with_body(body.to_vec()))
}

async fn consumer(fake: &FakeBroker, filter: &str) -> SimpleConsumer {
    SimpleConsumer::builder(fake.address()).group("G").subscribe("T", filter).connect().await.unwrap()
}

/// Answers the first pop with what lies in queue 0.
fn pop_once(fake: &FakeBroker) {
    let records = fake.records("T", 0);
    let mut first = true;
    fake.script(move |request| match RequestCode(request.code) {
        RequestCode::POP_MESSAGE if std::mem::take(&mut first) => popped(&records),
        RequestCode::POP_MESSAGE => refuse(ResponseCode::POLLING_TIMEOUT),
        _ => Say::Usual,
    });
}

#[tokio::test]
async fn a_handle_is_made_of_the_answer_and_goes_back_with_the_acknowledgement() {
    let fake = FakeBroker::start(1).await;
    fake.put("T", 0, "one", &[]);
    fake.put("T", 0, "two", &[("POP_CK", "7 900 60000 3 1 b 4 9")]);
    pop_once(&fake);
    let consumer = consumer(&fake, "*").await;
    let messages = consumer.receive(99, LEASE).await.unwrap();
    let handles: Vec<&str> = messages.iter().map(super::PoppedMessage::handle).collect();
    assert_eq!(handles, ["0 1000 60000 2 0 b 0 0", "7 900 60000 3 1 b 4 9"]);
    let asked = fake.seen(RequestCode::POP_MESSAGE);
    let asked: PopMessage<'_> = asked[0].request_header().unwrap();
    assert_eq!((asked.max_count, asked.queue_id, asked.invisible_millis), (32, -1, 60_000));

    for message in &messages {
        consumer.ack(message).await.unwrap();
    }
    let acks = fake.seen(RequestCode::ACK_MESSAGE);
    let acks: Vec<AckMessage<'_>> = acks.iter().map(|ack| ack.request_header().unwrap()).collect();
    assert_eq!((acks[0].topic, acks[0].queue_id, acks[0].offset), ("T", 0, 0));
    assert_eq!((acks[1].topic, acks[1].queue_id, acks[1].offset), ("%RETRY%G_T", 4, 9));
    assert!(consumer.receive(1, LEASE).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_message_that_only_has_the_tags_hash_is_acknowledged_and_not_shown() {
    let fake = FakeBroker::start(1).await;
    fake.put("T", 0, "wanted", &[("TAGS", "Aa")]);
    fake.put("T", 0, "other", &[("TAGS", "BB")]);
    pop_once(&fake);
    let messages = consumer(&fake, "Aa").await.receive(2, LEASE).await.unwrap();
    assert_eq!(messages.iter().map(|m| m.body().clone()).collect::<Vec<_>>(), ["wanted"]);
    let ack = fake.saw(RequestCode::BATCH_ACK_MESSAGE, 1).await;
    let ack: BatchAckRequest = json::from_slice(&ack[0].body).unwrap();
    assert_eq!(ack.acks[0].offsets().collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_changed_lease_has_a_new_handle() {
    let fake = FakeBroker::start(1).await;
    fake.put("T", 0, "long", &[]);
    pop_once(&fake);
    let consumer = consumer(&fake, "*").await;
    let mut message = consumer.receive(1, LEASE).await.unwrap().remove(0);
    fake.script(|request| match RequestCode(request.code) {
        RequestCode::CHANGE_MESSAGE_INVISIBLETIME => Say::This(
            Command::response(ResponseCode::SUCCESS, 0)
                .with_field("popTime", 2000)
                .with_field("invisibleTime", 90_000)
                .with_field("reviveQid", 5),
        ),
        _ => Say::Usual,
    });
    consumer.change_invisible(&mut message, Duration::from_secs(90)).await.unwrap();
    assert_eq!(message.handle(), "0 2000 90000 5 0 b 0 0");
}

#[tokio::test]
async fn one_of_several_topics_is_popped_once_it_says_that_it_has_something() {
    let fake = FakeBroker::start(1).await;
    fake.put("U", 0, "there", &[]);
    let records = fake.records("U", 0);
    let mut notified = false;
    fake.script(move |request| match (RequestCode(request.code), request.field("topic")) {
        (RequestCode::NOTIFICATION, Some("U")) => {
            notified = true;
            Say::This(Command::response(ResponseCode::SUCCESS, 0).with_field("hasMsg", true))
        }
        (RequestCode::NOTIFICATION, _) => Say::Nothing,
        (RequestCode::POP_MESSAGE, Some("U")) if notified => popped(&records),
        (RequestCode::POP_MESSAGE, _) => refuse(ResponseCode::POLLING_TIMEOUT),
        _ => Say::Usual,
    });
    let builder = SimpleConsumer::builder(fake.address()).group("G").subscribe("T", "*").subscribe("U", "*");
    let consumer = builder.connect().await.unwrap();
    let messages = consumer.receive(1, LEASE).await.unwrap();
    assert_eq!(messages[0].topic(), "U");
}

#[tokio::test]
async fn a_refused_sql_filter_is_an_error_of_connect() {
    let fake = FakeBroker::start(1).await;
    fake.script(|request| match RequestCode(request.code) {
        RequestCode::CHECK_CLIENT_CONFIG => refuse(ResponseCode::SUBSCRIPTION_PARSE_FAILED),
        _ => Say::Usual,
    });
    let builder = SimpleConsumer::builder(fake.address()).group("G").subscribe("T", crate::Filter::sql("a >"));
    let refused = builder.connect().await.err().unwrap();
    assert!(matches!(refused, Error::Refused { code: ResponseCode::SUBSCRIPTION_PARSE_FAILED, .. }));
}
