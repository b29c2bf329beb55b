//! Transactional producers against a fake broker.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tenonmq_protocol::{
    Command, RequestCode, ResponseCode,
    header::{CheckTransaction, EndTransaction, SendMessage, Verdict},
    message::record::{Assigned, NewRecord, body_crc},
};
use tokio::sync::mpsc;

use super::{Check, CheckListener, CheckRouter, LocalState, NoListener, TransactionProducer};
use crate::{
    Error, Message,
    session::now_ms,
    testing::{BROKER, FakeBroker, Say, refuse},
};

const END: RequestCode = RequestCode::END_TRANSACTION;
const SEND: RequestCode = RequestCode::SEND_MESSAGE_V2;

async fn producer(fake: &FakeBroker) -> TransactionProducer {
    listening(fake, NoListener).await
}

async fn listening<L: CheckListener>(fake: &FakeBroker, listener: L) -> TransactionProducer<L> {
    let builder = TransactionProducer::builder(fake.address()).group("PG").listener(listener);
    let producer = builder.check_timeout(Duration::from_millis(50)).connect().await.unwrap();
    producer.watch("T").await.unwrap(); // so that the broker has a connection to ask over
    producer
}

fn end(command: &Command) -> EndTransaction<'_> {
    command.request_header().unwrap()
}

fn sent_property<'a>(sends: &'a [Command], index: usize, name: &str) -> Option<&'a str> {
    let sent: SendMessage<'_> = sends[index].request_header().unwrap();
    let mut pairs = sent.properties.split('\u{2}').filter_map(|entry| entry.split_once('\u{1}'));
    pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
}

/// A half message as a broker puts it into its question, born `age_ms` ago.
fn question(topic: &str, body: &str, properties: &[(&str, &str)], age_ms: i64) -> Command {
    let text: String = properties.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect();
    let record = NewRecord {
        topic,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: now_ms() - age_ms,
        born_host: ([127, 0, 0, 1], 1).into(),
        store_host: ([127, 0, 0, 1], 2).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.as_bytes(),
        properties: text.as_bytes(),
        body_crc: body_crc(body.as_bytes()),
    };
    let mut bytes = vec![0; record.encoded_len()];
    record.encode(&mut bytes, Assigned { queue_offset: 7, physical_offset: 4711, store_timestamp: now_ms() });
    let header = CheckTransaction {
        topic: Some(topic),
        half_queue_offset: 7,
        commit_log_offset: 4711,
        message_id: Some("FD01"),
        transaction_id: Some("FD01"),
        offset_message_id: None,
        broker_name: Some(BROKER),
    };
    Command::with_header(&header).with_body(bytes).oneway()
}

/// Asks, and waits for the verdict.
async fn ask(fake: &FakeBroker, question: &Command) -> Verdict {
    let before = fake.seen(END).len();
    fake.tell_last(question);
    let answers = fake.saw(END, before + 1).await;
    end(answers.last().unwrap()).verdict
}

#[tokio::test]
async fn a_decision_names_the_half_message() {
    let fake = FakeBroker::start(1).await;
    let producer = producer(&fake).await;
    fake.put("T", 0, "before", &[]);
    let message = Message::new("T", "paid").key("42");
    let prepared = producer.prepare(message).await.unwrap();
    let id = prepared.message_id().to_owned();
    prepared.commit().await.unwrap();
    let sends = fake.seen(SEND);
    assert_eq!(sent_property(&sends, 0, "TRAN_MSG"), Some("true"));
    assert_eq!(sent_property(&sends, 0, "PGROUP"), Some("PG"));
    assert_eq!(sent_property(&sends, 0, "TENON_TX_ID"), None);
    let expected = EndTransaction {
        topic: Some("T"),
        producer_group: "PG",
        half_queue_offset: 1,
        commit_log_offset: 1000,
        verdict: Verdict::Commit,
        from_check: false,
        message_id: Some(&id),
        transaction_id: Some(&id),
        broker_name: Some(BROKER),
    };
    assert_eq!(end(&fake.seen(END)[0]), expected);
}

#[tokio::test]
async fn a_half_message_is_decided_by_whoever_has_its_place() {
    let fake = FakeBroker::start(1).await;
    let prepared = producer(&fake).await.prepare(Message::new("T", "paid")).await.unwrap();
    let place = prepared.place();
    drop(prepared);
    let another = producer(&fake).await;
    let adopted = another.adopt(place.clone()).await.unwrap();
    adopted.reach().await.unwrap();
    assert!(fake.seen(END).is_empty(), "reaching tells nothing");
    assert_eq!(adopted.place(), place);
    adopted.commit().await.unwrap();
    let ends = fake.seen(END);
    let told = end(&ends[0]);
    assert_eq!((told.half_queue_offset, told.commit_log_offset), (place.half_queue_offset, place.commit_log_offset));
    assert_eq!((told.message_id, told.transaction_id), (Some(&*place.message_id), Some(&*place.message_id)));
    assert_eq!((told.topic, told.broker_name), (Some("T"), Some(BROKER)));
}

#[tokio::test]
async fn messages_of_one_transaction_carry_its_id_and_get_one_decision() {
    let fake = FakeBroker::start(2).await;
    let producer = producer(&fake).await;
    let mut transaction = producer.begin_as("order 42").unwrap();
    for topic in ["T", "U", "V"] {
        transaction.prepare(Message::new(topic, "x")).await.unwrap();
    }
    assert_eq!((transaction.broker(), transaction.receipts().len()), (Some(BROKER), 3));
    let outcome = transaction.commit().await.unwrap();
    assert!(outcome.is_confirmed());
    assert_eq!((outcome.state, outcome.confirmed()), (LocalState::Commit, 3));
    let sends = fake.seen(SEND);
    for (index, part) in ["0", "1", "2"].into_iter().enumerate() {
        assert_eq!(sent_property(&sends, index, "TENON_TX_ID"), Some("order 42"));
        assert_eq!(sent_property(&sends, index, "TENON_TX_PART"), Some(part));
    }
    let ends = fake.seen(END);
    let mut topics: Vec<_> = ends.iter().map(|e| (end(e).topic.unwrap(), end(e).verdict)).collect();
    topics.sort_by_key(|(topic, _)| *topic);
    assert_eq!(topics, [("T", Verdict::Commit), ("U", Verdict::Commit), ("V", Verdict::Commit)]);
}

#[tokio::test]
async fn a_rollback_of_several_messages_ends_each() {
    let fake = FakeBroker::start(1).await;
    let mut transaction = producer(&fake).await.begin();
    transaction.prepare(Message::new("T", "x")).await.unwrap();
    transaction.prepare(Message::new("U", "y")).await.unwrap();
    let outcome = transaction.rollback().await;
    assert_eq!((outcome.state, outcome.confirmed()), (LocalState::Rollback, 2));
    assert!(fake.seen(END).iter().all(|command| end(command).verdict == Verdict::Rollback));
}

#[tokio::test]
async fn a_topic_of_another_broker_is_refused_before_anything_is_sent() {
    let fake = FakeBroker::start(1).await;
    let producer = producer(&fake).await;
    fake.script(|request| match request.field("topic") {
        Some("elsewhere") if request.code == RequestCode::GET_ROUTEINFO_BY_TOPIC.0 => {
            let route = json!({
                "brokerDatas": [{"brokerName": "c", "cluster": "c", "brokerAddrs": {"0": "127.0.0.1:1"}}],
                "queueDatas": [{"brokerName": "c", "perm": 6, "readQueueNums": 1, "writeQueueNums": 1, "topicSysFlag": 0}],
                "filterServerTable": {},
            });
            Say::This(Command::response(ResponseCode::SUCCESS, 0).with_body(route.to_string()))
        }
        _ => Say::Usual,
    });
    let mut transaction = producer.begin();
    transaction.prepare(Message::new("T", "x")).await.unwrap();
    let error = transaction.prepare(Message::new("elsewhere", "y")).await.unwrap_err();
    assert!(
        matches!(&error, Error::NotOnBroker { topic, broker } if topic == "elsewhere" && broker == BROKER),
        "{error}"
    );
    assert!(transaction.commit().await.unwrap().is_confirmed());
    assert_eq!(fake.seen(SEND).len(), 1);
}

#[tokio::test]
async fn a_transaction_has_a_limit_and_a_proper_id() {
    let fake = FakeBroker::start(1).await;
    let builder = TransactionProducer::builder(fake.address()).group("PG").max_transaction_messages(2);
    let producer = builder.connect().await.unwrap();
    let mut transaction = producer.begin();
    transaction.prepare(Message::new("T", "x")).await.unwrap();
    transaction.prepare(Message::new("T", "")).await.unwrap_err(); // an empty body: it does not count
    transaction.prepare(Message::new("T", "y")).await.unwrap();
    let error = transaction.prepare(Message::new("T", "z")).await.unwrap_err();
    assert!(matches!(error, Error::TransactionFull { limit: 2 }), "{error}");
    assert!(transaction.commit().await.unwrap().is_confirmed());
    for wrong in [String::new(), "x".repeat(256), "a\u{1}b".into()] {
        assert!(matches!(producer.begin_as(wrong), Err(Error::InvalidMessage { .. })));
    }
}

#[tokio::test]
async fn after_a_send_that_failed_nothing_of_the_transaction_can_be_committed() {
    let fake = FakeBroker::start(1).await;
    let producer = producer(&fake).await;
    fake.script(|request| match request.code {
        code if code == SEND.0 && request.body == "lost" => refuse(ResponseCode::MESSAGE_ILLEGAL),
        _ => Say::Usual,
    });
    let mut transaction = producer.begin();
    transaction.prepare(Message::new("T", "kept")).await.unwrap();
    transaction.prepare(Message::new("T", "lost")).await.unwrap_err();
    let next = transaction.prepare(Message::new("T", "next")).await;
    assert!(matches!(next, Err(Error::TransactionBroken { .. })));
    let rolled_back = transaction.rollback().await;
    assert_eq!(rolled_back.confirmed(), 1);

    let mut transaction = producer.begin();
    transaction.prepare(Message::new("T", "lost")).await.unwrap_err();
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, Error::TransactionBroken { .. }), "{error}");
    assert_eq!(fake.seen(END).len(), 1, "the refused commit tells no broker anything");
}

#[tokio::test]
async fn a_send_that_was_given_up_breaks_its_transaction() {
    let fake = FakeBroker::start(1).await;
    let producer = producer(&fake).await;
    fake.script(|request| if request.code == SEND.0 { Say::Nothing } else { Say::Usual });
    let mut transaction = producer.begin();
    tokio::select! {
        _ = transaction.prepare(Message::new("T", "x")) => panic!("nobody answers"),
        _ = fake.saw(SEND, 1) => {}
    }
    assert!(matches!(transaction.commit().await, Err(Error::TransactionBroken { .. })));
}

#[tokio::test]
async fn the_outcome_says_which_message_is_not_confirmed() {
    let fake = FakeBroker::start(1).await;
    let producer = producer(&fake).await;
    fake.script(|request| match request.field("topic") {
        Some("U") if request.code == END.0 => refuse(ResponseCode::SYSTEM_ERROR),
        _ => Say::Usual,
    });
    let mut transaction = producer.begin();
    transaction.prepare(Message::new("T", "x")).await.unwrap();
    transaction.prepare(Message::new("U", "y")).await.unwrap();
    let outcome = transaction.commit().await.unwrap();
    assert_eq!((outcome.is_confirmed(), outcome.confirmed()), (false, 1));
    let told: Vec<bool> = outcome.messages.iter().map(|message| message.told.is_ok()).collect();
    assert_eq!(told, [true, false]);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_says_nothing() {
    let fake = FakeBroker::start(1).await;
    let producer = producer(&fake).await;
    let mut transaction = producer.begin();
    transaction.prepare(Message::new("T", "x")).await.unwrap();
    drop(transaction);
    producer.shutdown().await;
    assert!(fake.seen(END).is_empty());
}

/// All half messages of a transaction get one answer, because the listener is asked about the transaction.
#[tokio::test]
async fn the_checks_of_a_transaction_name_it_and_its_part() {
    let fake = FakeBroker::start(1).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let _producer = listening(&fake, move |check: Check| {
        drop(tell.send((check.transaction_id().map(str::to_owned), check.part())));
        std::future::ready(if check.transaction_id() == Some("order 42") {
            LocalState::Commit
        } else {
            LocalState::Unknown
        })
    })
    .await;
    let of = |part| question("T", "x", &[("TENON_TX_ID", "order 42"), ("TENON_TX_PART", part)], 0);
    assert_eq!(ask(&fake, &of("0")).await, Verdict::Commit);
    assert_eq!(ask(&fake, &of("1")).await, Verdict::Commit);
    assert_eq!(ask(&fake, &question("T", "x", &[], 0)).await, Verdict::Unknown);
    let mut asked = Vec::new();
    while let Ok(check) = told.try_recv() {
        asked.push(check);
    }
    let id = Some("order 42".to_owned());
    assert_eq!(asked, [(id.clone(), Some(0)), (id, Some(1)), (None, None)]);
}

/// #1838: a local transaction that still runs and one that was rolled back look the same to the check, which sees no row
/// either way. The age tells them apart.
#[tokio::test]
async fn thread_1838_the_check_is_told_age_and_earlier_checks() {
    let fake = FakeBroker::start(1).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let _producer = listening(&fake, move |check: Check| {
        let _ = tell.send(check.earlier_checks());
        let is_over = check.age() > Duration::from_secs(60);
        std::future::ready(if is_over { LocalState::Rollback } else { LocalState::Unknown })
    })
    .await;
    let young = question("T", "x", &[("TRANSACTION_CHECK_TIMES", "1")], 0);
    assert_eq!(ask(&fake, &young).await, Verdict::Unknown);
    let old = question("T", "x", &[("TRANSACTION_CHECK_TIMES", "3")], 61_000);
    assert_eq!(ask(&fake, &old).await, Verdict::Rollback);
    let without_a_count = question("T", "x", &[], -61_000); // and born in the future
    assert_eq!(ask(&fake, &without_a_count).await, Verdict::Unknown);
    assert_eq!([told.recv().await, told.recv().await, told.recv().await], [Some(0), Some(2), Some(0)]);
}

/// The seeds' fault: a check whose query fails must not say "rollback".
#[tokio::test]
async fn an_error_a_panic_and_an_endless_check_are_unknown_and_the_next_check_is_answered() {
    let fake = FakeBroker::start(1).await;
    let _producer = listening(&fake, async |check: Check| match &check.message().body()[..] {
        b"error" => Err(std::io::Error::other("no database")),
        b"panic" => panic!("out of luck"),
        b"endless" => std::future::pending().await,
        _ => Ok(LocalState::Commit),
    })
    .await;
    for body in ["error", "panic", "endless"] {
        assert_eq!(ask(&fake, &question("T", body, &[], 999_999_999)).await, Verdict::Unknown, "{body}");
        assert!(fake.seen(END).last().unwrap().is_oneway(), "brokers do not answer it");
    }
    assert_eq!(ask(&fake, &question("T", "fine", &[], 0)).await, Verdict::Commit);
}

/// spring#598: checks went on for ever although the state was commit. The answer must name what the check named.
#[tokio::test]
async fn thread_spring_598_the_answer_to_a_check_names_the_half_message_that_was_asked_about() {
    let fake = FakeBroker::start(1).await;
    let _producer = listening(&fake, |_: Check| std::future::ready(LocalState::Commit)).await;
    ask(&fake, &question("T", "x", &[("UNIQ_KEY", "FD01")], 0)).await;
    let expected = EndTransaction {
        topic: Some("T"),
        producer_group: "PG",
        half_queue_offset: 7,
        commit_log_offset: 4711,
        verdict: Verdict::Commit,
        from_check: true,
        message_id: Some("FD01"),
        transaction_id: Some("FD01"),
        broker_name: Some(BROKER),
    };
    assert_eq!(end(&fake.seen(END)[0]), expected);
}

/// spring#71, #253, #292, #449, #211; #2791, #2510: one listener for each template, so one service with several kinds of
/// transactions needed a template for each.
#[tokio::test]
async fn thread_spring_71_one_producer_serves_several_kinds_of_transactions() {
    let fake = FakeBroker::start(1).await;
    let says = |state| move |_: Check| std::future::ready(state);
    let router = CheckRouter::new()
        .on_topic("paid", says(LocalState::Commit))
        .on("paid", "vip", says(LocalState::Rollback))
        .on("sent", "vip", says(LocalState::Commit));
    let _producer = listening(&fake, router).await;
    let cases = [
        ("paid", "vip", Verdict::Rollback),
        ("paid", "", Verdict::Commit),
        ("paid", "card", Verdict::Commit),
        ("sent", "vip", Verdict::Commit),
        ("sent", "card", Verdict::Unknown),
        ("else", "vip", Verdict::Unknown),
    ];
    for (topic, tag, expected) in cases {
        assert_eq!(ask(&fake, &question(topic, "x", &[("TAGS", tag)], 0)).await, expected, "{topic} {tag}");
    }
}

/// And so do its local transactions: each send brings its own.
#[tokio::test]
async fn thread_spring_449_each_send_brings_its_own_local_transaction() {
    let fake = FakeBroker::start(1).await;
    let producer = producer(&fake).await;
    let paid = producer.send_with(Message::new("T", "x"), async |_: Message| LocalState::Commit).await.unwrap();
    assert_eq!((paid.state, paid.confirmed), (LocalState::Commit, true));
    let failed = producer.send_with(Message::new("T", "y"), async |message: Message| {
        assert!(message.id().is_some(), "what the check will ask about is known");
        Err::<LocalState, _>(std::io::Error::other("no database"))
    });
    let failed = failed.await.unwrap();
    assert_eq!((failed.state, failed.confirmed), (LocalState::Unknown, false));
}

/// spring#110: concurrent use of one transactional template failed.
#[tokio::test]
async fn thread_spring_110_transactions_at_the_same_time_get_their_own_decision() {
    let fake = FakeBroker::start(4).await;
    let producer = Arc::new(producer(&fake).await);
    let sends = (0..32).map(|number| {
        let producer = Arc::clone(&producer);
        let state = if number % 2 == 0 { LocalState::Commit } else { LocalState::Rollback };
        let message = Message::new("T", format!("{number}"));
        async move { (state, producer.send_with(message, |_| std::future::ready(state)).await.unwrap()) }
    });
    let receipts = futures_util::future::join_all(sends).await;
    let ends = fake.seen(END);
    for (state, receipt) in receipts {
        assert_eq!((receipt.state, receipt.confirmed), (state, true));
        let of_it: Vec<_> = ends.iter().filter(|e| end(e).message_id == Some(&receipt.send.message_id)).collect();
        assert_eq!(of_it.len(), 1);
        let expected = if state == LocalState::Commit { Verdict::Commit } else { Verdict::Rollback };
        assert_eq!(end(of_it[0]).verdict, expected);
    }
}

/// #9923, #546: a delay on a transactional message was dropped without a word; users wanted an error or support.
#[tokio::test]
async fn thread_9923_a_delay_that_a_broker_might_lose_is_refused_until_the_user_vouches_for_the_brokers() {
    let fake = FakeBroker::start(1).await;
    let delayed = || [Message::new("T", "x").delay_level(3), Message::new("T", "x").delay(Duration::from_secs(1))];
    let careful = producer(&fake).await;
    for message in delayed() {
        let error = careful.prepare(message).await.unwrap_err();
        assert!(error.to_string().contains("delays_begin_at_commit"), "{error}");
    }
    let builder = TransactionProducer::builder(fake.address()).group("PG").delays_begin_at_commit();
    let sure = builder.connect().await.unwrap();
    for message in delayed() {
        sure.prepare(message).await.unwrap().commit().await.unwrap();
    }
    let sends = fake.seen(SEND);
    assert_eq!(sent_property(&sends, 0, "DELAY"), Some("3"));
    assert_eq!(sent_property(&sends, 1, "TIMER_DELAY_MS"), Some("1000"));
}

/// #3447, #2496: users wanted prepare, commit and rollback without a listener, and called internals to get them.
#[tokio::test]
async fn thread_3447_messages_are_prepared_and_decided_without_a_listener() {
    let fake = FakeBroker::start(1).await;
    let producer = producer(&fake).await;
    producer.prepare(Message::new("T", "x")).await.unwrap().commit().await.unwrap();
    producer.prepare(Message::new("T", "y")).await.unwrap().rollback().await.unwrap();
    let verdicts: Vec<_> = fake.seen(END).iter().map(|command| end(command).verdict).collect();
    assert_eq!(verdicts, [Verdict::Commit, Verdict::Rollback]);
}
