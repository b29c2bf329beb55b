//! The client's promises, kept against a broker: the one whose name server `TENONMQ_TEST_NAMESRV` gives, or else our own,
//! started here.
//!
//! Another broker must check transactions every second, filter by SQL and recall timers: `transactionCheckInterval=1000
//! transactionTimeOut=1000 enablePropertyFilter=true recallMessageEnable=true`.

use std::{path::PathBuf, sync::OnceLock, thread};

use tenonmq_client::{
    Admin, Check, ConsumeOutcome, Error, Failure, LocalState, Message, ReceivedMessage, TransactionProducer,
    dead_letters::ShowDeadLetters,
};
use tenonmq_tests::{
    client_suite::{consumers, filters, leases, ordered, producers, pulling, requests, support, transactions},
    own_broker::OwnBroker,
};

/// The address of the name server to test against.
fn name_server() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| std::env::var("TENONMQ_TEST_NAMESRV").unwrap_or_else(|_| own_name_server()))
}

/// Starts our own, on a thread that lives as long as the process.
fn own_name_server() -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("client_against");
    drop(std::fs::remove_dir_all(&folder)); // of the run before
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("threads for the broker");
        runtime.block_on(async {
            let broker = OwnBroker::start(&folder).await.unwrap_or_else(|error| panic!("{error:?}"));
            tell.send(broker.name_server()).expect("the test waits for the address");
            std::future::pending::<()>().await;
        });
    });
    told.recv().expect("the broker starts")
}

macro_rules! run {
    ($($module:ident :: $scenario:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $scenario() -> Result<(), Error> {
            $module::$scenario(name_server()).await
        }
    )*};
}
tenonmq_tests::for_each_client_scenario!(run);

/// Always our own, because it is stopped: what was sent before is there, what is sent after arrives, and nobody connects
/// anew by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_find_back_to_a_broker_that_restarts() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let broker = OwnBroker::start(folder.path()).await?;
    let ns = broker.name_server();
    let topic = support::topic(&ns, 2).await?;
    let producer = support::producer(&ns).await?;
    let (consumer, mut inbox) = support::consume(&ns, &support::fresh("CG"), &topic).await?;
    producer.send(Message::new(&topic, "before")).await?;
    assert_eq!(inbox.next_bodies(1).await, ["before"]);
    consumer.commit().await;

    let broker = broker.restart().await?;
    support::until("a send gets through", async || producer.send(Message::new(&topic, "after")).await.is_ok()).await;
    assert!(inbox.until("after").await.is_empty(), "a committed message came again");
    consumer.shutdown().await;
    producer.shutdown().await;
    broker.shutdown().await;
    Ok(())
}

/// Always our own, because only it keeps causes: who looks at the dead letters sees why each try failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cause_of_a_failure_stands_with_the_dead_letter() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let broker = OwnBroker::start(folder.path()).await?;
    let ns = broker.name_server();
    let (topic, group, producer) = (support::topic(&ns, 1).await?, support::fresh("CG"), support::producer(&ns).await?);
    let listener = |_: ReceivedMessage| {
        std::future::ready(ConsumeOutcome::Failed(Failure::new("Schema", "version 7").dead_letter()))
    };
    let consumer = support::consumer(&ns, &group, &topic, "*").listener(listener).connect().await?;
    producer.send(Message::new(&topic, "of tomorrow")).await?;
    let admin = Admin::connect(&ns).await?;
    let [address] = admin.masters().await?.try_into().map_err(|all| format!("one broker is expected: {all:?}"))?;
    let mut letters = Vec::new();
    support::until("the dead letter is listed", async || {
        let show = ShowDeadLetters { group: group.clone(), ..ShowDeadLetters::default() };
        letters = admin.ask(&address, &show).await.map(|page| page.letters).unwrap_or_default();
        !letters.is_empty()
    })
    .await;
    let causes: Vec<(&str, &str)> = letters[0].causes.iter().map(|c| (c.class.as_str(), c.digest.as_str())).collect();
    assert_eq!(causes, [("Schema", "version 7")]);
    assert_eq!(letters[0].origin_topic.as_deref(), Some(topic.as_str()));
    consumer.shutdown().await;
    broker.shutdown().await;
    Ok(())
}

/// Always our own, because it is stopped: no decision of the transaction arrives, and the checks make up for all of them with
/// one answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies_before_the_decisions_asks_for_each() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let broker = OwnBroker::start(folder.path()).await?;
    let ns = broker.name_server();
    let topics = [support::topic(&ns, 1).await?, support::topic(&ns, 1).await?];
    let (consumer, mut inbox) = support::consume(&ns, &support::fresh("CG"), &topics[0]).await?;
    let (other, mut other_inbox) = support::consume(&ns, &support::fresh("CG"), &topics[1]).await?;
    let builder = TransactionProducer::builder(ns.as_str()).group(support::fresh("PG"));
    let producer = builder
        .listener(async |check: Check| match check.transaction_id() {
            Some("order 42") => LocalState::Commit,
            _ => LocalState::Rollback,
        })
        .connect()
        .await?;
    let mut kept = producer.begin_as("order 42")?;
    let mut dropped = producer.begin_as("order 43")?;
    for topic in &topics {
        dropped.prepare(Message::new(topic, "undone")).await?;
        kept.prepare(Message::new(topic, "done")).await?;
    }
    let stopped = broker.stop().await;
    assert_eq!(kept.commit().await?.confirmed(), 0);
    assert_eq!(dropped.rollback().await.confirmed(), 0);
    let broker = stopped.start().await?;
    support::until("the broker knows the producer again", async || producer.watch(&topics[0]).await.is_ok()).await;
    assert!(inbox.until("done").await.is_empty());
    assert!(other_inbox.until("done").await.is_empty());
    consumer.shutdown().await;
    other.shutdown().await;
    broker.shutdown().await;
    Ok(())
}
