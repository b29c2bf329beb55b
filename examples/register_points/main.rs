//! The first example to read: a user registers, and another service adds 100 welcome points.
//!
//! Two services, each with a SQLite database of its own. The user service writes the user and the message in one transaction
//! (outbox); the points service adds the points and the message's row in one transaction (inbox). On the way, an instance
//! dies in the middle of a registration, a relay dies when it has sent a message (which is sent once more), and the points service
//! dies before and after its commit. Every user who is registered ends up with 100 points, never 0 and never 200. At the end
//! what was sent is reconciled with what was handled.
//!
//! ```text
//! cargo run --release --example register_points
//! ```

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;
use sqlx::{Sqlite, SqlitePool, Transaction};
use tenonmq_client::{Admin, ConsumeFrom, PushConsumer};
use tenonmq_examples::{Broker, database};
use tenonmq_outbox::{
    Clock, Effects, Inbox, Incoming, Outbox, Outgoing, SystemClock,
    fault::{Faults, Point},
    reconciliation::{Period, Published, Received, Reconciliation},
};
use tokio::time::{Instant, sleep};

const TOPIC: &str = "user_registered";

/// Registers users in one database, and gives them points in another.
#[derive(Parser)]
struct Args {
    /// Name server to use; a broker is started here when nobody listens there.
    #[arg(long, default_value = "127.0.0.1:9876")]
    name_server: String,
}

/// The user service: the user and the message are there both, or not at all.
async fn register(pool: &SqlitePool, outbox: &Outbox<Sqlite>, user: u32) -> Result<(), Box<dyn Error>> {
    let mut transaction = pool.begin().await?;
    sqlx::query("INSERT INTO users (id) VALUES (?)").bind(user).execute(&mut *transaction).await?;
    let message = Outgoing::new(TOPIC, format!("user-{user}/registered"), user.to_string());
    outbox.publish(&mut transaction, &message).await?;
    transaction.commit().await?;
    outbox.wake();
    Ok(())
}

/// The points service: what a message does. Nothing here asks whether it came before; the inbox does.
struct WelcomePoints;

impl Effects<Sqlite> for WelcomePoints {
    type Error = Box<dyn Error + Send + Sync>;

    async fn apply(&self, transaction: &mut Transaction<'_, Sqlite>, message: &Incoming) -> Result<(), Self::Error> {
        let user: u32 = std::str::from_utf8(message.content())?.parse()?;
        let add = "INSERT INTO points (user, points) VALUES (?, 100) ON CONFLICT DO UPDATE SET points = points + 100";
        sqlx::query(add).bind(user).execute(&mut **transaction).await?;
        Ok(())
    }
}

async fn run(args: Args) -> Result<bool, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let broker = Broker::unless_reachable(&args.name_server).await?;
    let name_server = broker.as_ref().map_or(args.name_server, Broker::name_server);
    let admin = Admin::connect(name_server.as_str()).await?;
    admin.create_topic(TOPIC, 4).await?;
    admin.shutdown().await;

    let users = database(&folder.path().join("users.db")).await?;
    sqlx::query("CREATE TABLE users (id INTEGER PRIMARY KEY)").execute(&users).await?;
    let faults = Faults::default();
    let outbox = Outbox::builder(users.clone()).faults(faults.clone()).build();
    let producer = tenonmq_client::Producer::builder(&name_server).group("users").connect().await?;
    let relay = outbox.relay(producer).send_limit(Duration::from_secs(1)).lease(Duration::from_secs(2)).start();

    let points = database(&folder.path().join("points.db")).await?;
    sqlx::query("CREATE TABLE points (user INTEGER PRIMARY KEY, points INTEGER)").execute(&points).await?;
    let dying = Faults::default();
    let inbox = Inbox::builder(points.clone(), "points").faults(dying.clone()).build();
    let consumer = PushConsumer::builder(&name_server).group("points").subscribe(TOPIC, "*");
    let consumer =
        consumer.consume_from(ConsumeFrom::Earliest).listener(inbox.listener(WelcomePoints)).connect().await?;
    let retrier = inbox.retrier(WelcomePoints).start();

    for user in 1..=20 {
        match user {
            5 => faults.crash_at(Point::PublishWritten), // before the commit: this user is not registered
            8 => dying.crash_at(Point::EffectsWritten),  // before the commit of the points
            10 => faults.crash_at(Point::Sent),          // the broker has it, the table does not know
            15 => dying.crash_at(Point::EffectsKept),    // after the commit of the points
            _ => {}
        }
        if let Err(death) = register(&users, &outbox, user).await {
            println!("user {user} is not registered: {death}");
        }
        sleep(Duration::from_millis(50)).await;
    }

    let deadline = Instant::now() + Duration::from_secs(60);
    let registered: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(&users).await?;
    let rows = loop {
        let books = "SELECT COUNT(*), COALESCE(SUM(points), 0), COALESCE(MAX(points), 0) FROM points";
        let rows: (i64, i64, i64) = sqlx::query_as(books).fetch_one(&points).await?;
        let is_quiet = outbox.backlog().await?.pending == 0 && inbox.counts().duplicates > 0;
        if (rows.0 >= registered && is_quiet) || Instant::now() > deadline {
            break rows;
        }
        sleep(Duration::from_millis(100)).await;
    };
    println!("registered users   {registered:>5}\nusers with points  {:>5}\npoints in all      {:>5}", rows.0, rows.1);
    println!("messages that came once more and did nothing: {}", inbox.counts().duplicates);
    consumer.shutdown().await;
    retrier.shutdown().await;
    relay.shutdown().await;
    Broker::shutdown(broker).await;
    let now_ms = SystemClock.now_ms();
    let period = Period::new("this run", now_ms - 3_600_000, now_ms + 1).grace(Duration::ZERO);
    let (sent, handled) = (Published::of(&outbox, TOPIC, &period), Received::of(&inbox, TOPIC, &period));
    let report = Reconciliation::new("points", period).run(sent, handled, &mut ()).await?;
    println!("{report}");
    Ok(report.agrees()
        && registered == 19
        && rows == (registered, 100 * registered, 100)
        && inbox.counts().duplicates > 0)
}

#[tokio::main]
async fn main() -> ExitCode {
    let is_balanced = run(Args::parse()).await.unwrap_or_else(|error| {
        eprintln!("register_points: {error}");
        false
    });
    println!("{}", if is_balanced { "the books balance" } else { "THE BOOKS DO NOT BALANCE" });
    if is_balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
