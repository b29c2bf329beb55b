//! An order is paid if and only if its stock is deducted and its points are added.
//!
//! Orders live in one SQLite database, stock in a second, points in a third; a transactional message joins them. Orders are
//! placed under every fate there is ([`orders::Fate`]): paid, declined, and producers that die between the half message
//! and the decision, before and after their database committed. The broker's check settles those. Both consumers dedupe
//! in the transaction of their effect.
//!
//! ```text
//! cargo run --release --example order_payment [-- --orders 60 --name-server 127.0.0.1:9876]
//! ```
//!
//! Uses the name server that is given or the default one; when nobody listens there it starts a broker of its own. The
//! broker may be killed and restarted meanwhile. Ends with a table, and with failure if an order and its stock disagree.

mod embedded;
mod member;
mod orders;
mod report;
mod shop;

use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use tenonmq_client::{Admin, ConsumeFrom, ConsumeOutcome, PushConsumer, ReceivedMessage};
use tokio::time::{Instant, sleep};

use crate::{embedded::Embedded, member::Member, orders::Orders, report::Outcome};

/// The topic that joins the services.
const TOPIC: &str = "order_paid";

/// Pays orders, deducts stock, adds points, and compares the three databases at the end.
#[derive(Parser)]
struct Args {
    /// Orders to place.
    #[arg(long, default_value_t = 60)]
    orders: u32,
    /// Name server to use; a broker is started here when nobody listens there.
    #[arg(long, default_value = "127.0.0.1:9876")]
    name_server: String,
    /// Seconds to wait at most for every order to be settled.
    #[arg(long, default_value_t = 150)]
    patience: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    match run(Args::parse()).await {
        Ok(outcome) => {
            println!("{outcome}");
            if outcome.is_consistent() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("order_payment: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<Outcome, Box<dyn Error>> {
    let databases = tempfile::tempdir()?;
    let broker = Embedded::unless_reachable(&args.name_server).await?;
    let name_server = broker.as_ref().map_or(args.name_server.clone(), Embedded::name_server);
    println!("name server {name_server}, databases in {}", databases.path().display());

    let admin = Admin::connect(name_server.as_str()).await?;
    admin.create_topic(TOPIC, 4).await?;
    let orders = Orders::open(&databases.path().join("orders.db")).await?;
    let stock = Arc::new(Member::open(&databases.path().join("stock.db")).await?);
    let points = Arc::new(Member::open(&databases.path().join("points.db")).await?);
    let consumers = [consume(&name_server, "stock", &stock).await?, consume(&name_server, "points", &points).await?];

    let checks = shop::place_orders(&name_server, &orders, args.orders, Duration::from_secs(args.patience)).await?;
    let deadline = Instant::now() + Duration::from_secs(args.patience);
    let outcome = loop {
        let outcome = Outcome::of(&orders, &checks, &stock, &points).await?;
        if outcome.is_settled() || Instant::now() > deadline {
            break outcome;
        }
        sleep(Duration::from_millis(200)).await;
    };
    for consumer in consumers {
        consumer.shutdown().await;
    }
    checks.shutdown().await;
    if let Some(broker) = broker {
        broker.shutdown().await;
    }
    Ok(outcome)
}

/// A group whose effect on each order happens once, however often its message comes.
async fn consume(name_server: &str, group: &str, member: &Arc<Member>) -> Result<PushConsumer, tenonmq_client::Error> {
    let member = Arc::clone(member);
    PushConsumer::builder(name_server)
        .group(group)
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::Earliest)
        .listener(move |message: ReceivedMessage| {
            let member = Arc::clone(&member);
            async move { ConsumeOutcome::from(member.apply(&message).await) }
        })
        .connect()
        .await
}
