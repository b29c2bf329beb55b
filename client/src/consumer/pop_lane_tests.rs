//! Push consumers whose broker has them pop, against a fake broker.

use std::time::Duration;

use serde_json::json;
use tenonmq_protocol::{
    Command, RequestCode, ResponseCode,
    header::{AckMessage, ChangeInvisibleTime, PopMessage, SendBack},
};

use crate::{
    ConsumeFrom, ConsumeOutcome, PushConsumer, ReceivedMessage,
    testing::{BROKER, FakeBroker, Say},
};

/// Has topic `T` popped, and answers its first pop with what lies in queue 0.
fn have_popped(fake: &FakeBroker) {
    let records = fake.records("T", 0);
    let mut first = true;
    fake.script(move |request| match RequestCode(request.code) {
        RequestCode::QUERY_ASSIGNMENT => Say::This(assignment(&request.body)),
        RequestCode::POP_MESSAGE if std::mem::take(&mut first) => {
            let answer = Command::response(ResponseCode::SUCCESS, 0)
                .with_field("popTime", 1000)
                .with_field("invisibleTime", 60_000)
                .with_field("reviveQid", 2)
                .with_field("restNum", 0)
                .with_field("startOffsetInfo", "0 0 0");
            Say::This(answer.with_body(records.clone()))
        }
        RequestCode::POP_MESSAGE => Say::Nothing, // held
        RequestCode::CHANGE_MESSAGE_INVISIBLETIME => Say::This(
            Command::response(ResponseCode::SUCCESS, 0)
                .with_field("popTime", 2000)
                .with_field("invisibleTime", 1000)
                .with_field("reviveQid", 5),
        ),
        _ => Say::Usual,
    });
}

fn assignment(question: &[u8]) -> Command {
    let question: serde_json::Value = serde_json::from_slice(question).unwrap();
    let topic = question["topic"].as_str().unwrap();
    let (id, mode) = if topic == "T" { (-1, "POP") } else { (0, "PULL") };
    let queue = json!({"topic": topic, "brokerName": BROKER, "queueId": id});
    let answer = json!({"messageQueueAssignments": [{"messageQueue": queue, "mode": mode}]});
    Command::response(ResponseCode::SUCCESS, 0).with_body(answer.to_string())
}

async fn consumer<F>(fake: &FakeBroker, listener: F) -> PushConsumer
where
    F: Fn(ReceivedMessage) -> std::future::Ready<ConsumeOutcome> + Send + Sync + 'static,
{
    have_popped(fake);
    let builder = PushConsumer::builder(fake.address())
        .group("G")
        .subscribe("T", "*")
        .consume_from(ConsumeFrom::Earliest)
        .rebalance_interval(Duration::from_secs(3600))
        .broker_assigned();
    builder.listener(listener).connect().await.unwrap()
}

#[tokio::test]
async fn a_popped_message_is_acknowledged_when_it_is_done_and_seen_again_after_its_pause_when_not() {
    let fake = FakeBroker::start(1).await;
    for body in ["good", "bad", "hopeless"] {
        fake.put("T", 0, body, &[]);
    }
    let consumer = consumer(&fake, |message| {
        std::future::ready(match message.body().as_ref() {
            b"good" => ConsumeOutcome::Done,
            b"bad" => ConsumeOutcome::RetryAtLevel(2),
            _ => ConsumeOutcome::DeadLetter,
        })
    })
    .await;
    let acks = fake.saw(RequestCode::ACK_MESSAGE, 2).await;
    let mut acked: Vec<i64> = acks.iter().map(|ack| ack.request_header::<AckMessage<'_>>().unwrap().offset).collect();
    acked.sort_unstable();
    assert_eq!(acked, [0, 2]);
    let changed = fake.saw(RequestCode::CHANGE_MESSAGE_INVISIBLETIME, 1).await;
    let changed: ChangeInvisibleTime<'_> = changed[0].request_header().unwrap();
    assert_eq!((changed.offset, changed.invisible_millis), (1, 5000));
    let back = fake.seen(RequestCode::CONSUMER_SEND_MSG_BACK);
    let back: SendBack<'_> = back[0].request_header().unwrap();
    assert_eq!((back.delay_level, back.commit_log_offset), (-1, 2000));
    let pop = fake.seen(RequestCode::POP_MESSAGE);
    let pop: PopMessage<'_> = pop[0].request_header().unwrap();
    assert_eq!((pop.queue_id, pop.init_mode, pop.max_count), (-1, 0, 32));
    assert!(fake.seen(RequestCode::PULL_MESSAGE).iter().all(|pull| pull.field("topic") == Some("%RETRY%G")));
    consumer.shutdown().await;
    assert!(fake.seen(RequestCode::UPDATE_CONSUMER_OFFSET).iter().all(|told| told.field("topic") != Some("T")));
}

#[tokio::test]
async fn an_ordered_consumer_divides_by_itself() {
    let fake = FakeBroker::start(1).await;
    let builder = PushConsumer::builder(fake.address()).group("G").subscribe("T", "*").ordered().broker_assigned();
    let refused = builder.listener(|_: ReceivedMessage| std::future::ready(ConsumeOutcome::Done)).connect().await;
    assert!(matches!(refused, Err(crate::Error::Config(_))));
}
