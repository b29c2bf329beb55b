//! Half message and outbox row in one step, with SQLite and our own broker.

use std::{error::Error, path::Path, time::Duration};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tempfile::TempDir;
use tenonmq_outbox::{Outbox, Outgoing, Schedule, Schema, Transactional};
use tenonmq_tests::{client_suite::support, own_broker::OwnBroker};

type Done = Result<(), Box<dyn Error>>;
type Service = Transactional<sqlx::Sqlite>;

/// A broker, a service's database, a topic, and somebody who receives.
struct Scene {
    broker: OwnBroker,
    name_server: String,
    pool: SqlitePool,
    topic: String,
    consumer: tenonmq_client::PushConsumer,
    inbox: support::Inbox,
    group: String,
    _folder: TempDir,
}

async fn database(path: &Path) -> Result<SqlitePool, Box<dyn Error>> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let pool = SqlitePool::connect_with(options.journal_mode(SqliteJournalMode::Wal)).await?;
    Schema::default().migrate(&pool).await?;
    Ok(pool)
}

async fn scene() -> Result<Scene, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let broker = OwnBroker::start(&folder.path().join("broker")).await?;
    let name_server = broker.name_server();
    let topic = support::topic(&name_server, 2).await?;
    let (consumer, inbox) = support::consume(&name_server, &support::fresh("CG"), &topic).await?;
    let pool = database(&folder.path().join("service.db")).await?;
    let group = support::fresh("PG");
    Ok(Scene { broker, name_server, pool, topic, consumer, inbox, group, _folder: folder })
}

/// One more instance of the service.
async fn instance(name_server: &str, pool: &SqlitePool, group: &str) -> Result<Service, tenonmq_client::Error> {
    let outbox = Outbox::builder(pool.clone()).build();
    Transactional::builder(outbox, name_server).group(group).pause(Duration::ZERO).connect().await
}

impl Scene {
    async fn service(&self) -> Result<Service, tenonmq_client::Error> {
        instance(&self.name_server, &self.pool, &self.group).await
    }

    async fn publish(&self, service: &Service, id: &str) -> Done {
        let mut transaction = self.pool.begin().await?;
        service.publish(&mut transaction, &Outgoing::new(&self.topic, id, id.to_owned())).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// How many half messages are in that state.
    async fn halves(&self, state: &str) -> i64 {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM msg_half WHERE state = ?").bind(state);
        count.fetch_one(&self.pool).await.unwrap_or(-1)
    }
}

/// Tries again soon, for as long as a test has patience.
fn soon() -> Schedule {
    Schedule::listed([Duration::from_millis(100)], 1_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commits_becomes_visible_and_what_is_rolled_back_does_not() -> Done {
    let mut scene = scene().await?;
    let service = scene.service().await?;
    let relay = service.relay().schedule(soon()).start();
    let mut rolled_back = scene.pool.begin().await?;
    service.publish(&mut rolled_back, &Outgoing::new(&scene.topic, "never", "never")).await?;
    rolled_back.rollback().await?;
    scene.publish(&service, "paid").await?;
    service.wake();
    assert_eq!(scene.inbox.next_bodies(1).await, ["paid"]);
    support::until("the other one's check was answered", async || scene.halves("void").await == 1).await;
    scene.publish(&service, "last").await?;
    assert!(scene.inbox.until("last").await.is_empty());
    support::until("the broker confirmed both", async || scene.halves("done").await == 2).await;
    relay.shutdown().await;
    service.shutdown().await;
    scene.consumer.shutdown().await;
    scene.broker.shutdown().await;
    Ok(())
}

/// It dies with its relay, so nobody tells the broker; another instance answers the check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_dies_after_its_commit_is_answered_for_by_another_instance() -> Done {
    let mut scene = scene().await?;
    let dies = scene.service().await?;
    scene.publish(&dies, "orphan").await?;
    dies.shutdown().await;
    let lives = scene.service().await?;
    lives.watch(&scene.topic).await?;
    assert_eq!(scene.inbox.next_bodies(1).await, ["orphan"]);
    let relay = lives.relay().schedule(soon()).start();
    support::until("the broker confirmed it", async || scene.halves("done").await == 1).await;
    scene.publish(&lives, "last").await?;
    assert!(scene.inbox.until("last").await.is_empty(), "it came again");
    relay.shutdown().await;
    lives.shutdown().await;
    scene.consumer.shutdown().await;
    scene.broker.shutdown().await;
    Ok(())
}

/// The service must not need the broker to do its work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_starts_without_its_broker_publishes_all_the_same() -> Done {
    let mut scene = scene().await?;
    let stopped = scene.broker.stop().await;
    let service = instance(&scene.name_server, &scene.pool, &scene.group).await?;
    service.watch(&scene.topic).await?;
    let relay = service.relay().schedule(soon()).start();
    let mut transaction = scene.pool.begin().await?;
    service.publish(&mut transaction, &Outgoing::new(&scene.topic, "early", "early")).await?;
    transaction.commit().await?;
    scene.broker = stopped.start().await?;
    assert_eq!(scene.inbox.next_bodies(1).await, ["early"]);
    scene.publish(&service, "later").await?;
    assert_eq!(scene.inbox.next_bodies(1).await, ["later"]);
    support::until("by its half message", async || scene.halves("done").await == 1).await;
    relay.shutdown().await;
    service.shutdown().await;
    scene.consumer.shutdown().await;
    scene.broker.shutdown().await;
    let no_group = Transactional::builder(Outbox::builder(scene.pool).build(), "127.0.0.1:1");
    assert!(no_group.connect().await.is_err(), "what can never work is told at once");
    Ok(())
}

/// The broker is gone between half message and commit: the relay takes over, and the half message is dropped when the broker
/// asks about it. One that is gone already when the message is published gets an ordinary one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies_is_made_up_for_by_the_relay_and_nothing_comes_twice() -> Done {
    let mut scene = scene().await?;
    let service = scene.service().await?;
    scene.publish(&service, "before").await?;
    let stopped = scene.broker.stop().await;
    let relay = service.relay().schedule(soon()).start();
    let taken_over = async || {
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM msg_half WHERE state = 'relayed'");
        count.fetch_one(&scene.pool).await.is_ok_and(|count| count == 1)
    };
    support::until("the relay took over", taken_over).await;
    let mut transaction = scene.pool.begin().await?;
    service.publish(&mut transaction, &Outgoing::new(&scene.topic, "during", "during")).await?;
    transaction.commit().await?;
    scene.broker = stopped.start().await?;
    assert_eq!(scene.inbox.next_bodies(2).await, ["before", "during"]);
    // its half message is asked about and dropped; what comes after that is all that comes
    let half = "SELECT half_id FROM msg_half WHERE state = 'relayed'";
    let half: String = sqlx::query_scalar(half).fetch_one(&scene.pool).await?;
    assert_eq!(service.answer_check(&half).await?, tenonmq_client::LocalState::Rollback);
    support::until("half messages are tried again", async || {
        scene.publish(&service, &support::fresh("after")).await.is_ok() && scene.halves("done").await > 0
    })
    .await;
    scene.publish(&service, "last").await?;
    let between = scene.inbox.until("last").await;
    assert!(between.iter().all(|body| body.starts_with("after")), "{between:?}");
    relay.shutdown().await;
    service.shutdown().await;
    scene.consumer.shutdown().await;
    scene.broker.shutdown().await;
    Ok(())
}
