//! An order is paid if and only if its stock is deducted, its points are added and the warehouse knows of it.
//!
//! Four services, each with a SQLite database of its own. The order service pays in a transaction and publishes in the same
//! one ([`orders`]): `transactional.publish(&mut tx, message)`. No listener, no check, no status column is written here. The
//! other three ([`followers`]) handle the message in the transaction of their effect, through an inbox.
//!
//! Everything is disturbed ([`fate`]): payments are declined after the message was published, instances of the order service die
//! before and after their commit and while they tell the broker, followers die before and after theirs and fail for
//! no reason, and the broker is away for a while.
//!
//! ```text
//! cargo run --release --example order_payment [-- --orders 60 --name-server 127.0.0.1:9876]
//! ```
//!
//! Uses the name server that is given or the default one; when nobody listens there it starts a broker of its own, and stops and
//! starts that one meanwhile. Ends with the books of all four services, and with failure if they do not balance.

mod fate;
mod followers;
mod orders;
mod report;

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;
use tenonmq_client::Admin;
use tenonmq_examples::Broker;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::{fate::Fate, followers::Followers, orders::Orders, report::Books};

/// The topic that joins the services.
const TOPIC: &str = "order_paid";

/// How long our own broker is away.
const OUTAGE: Duration = Duration::from_secs(2);

/// Pays orders, lets three services follow, and compares the four databases at the end.
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
    tenonmq_examples::conclude("order_payment", run(Args::parse()).await, Books::balance)
}

async fn run(args: Args) -> Result<Books, Box<dyn Error>> {
    let databases = tempfile::tempdir()?;
    let mut broker = Broker::unless_reachable(&args.name_server).await?;
    let name_server = broker.as_ref().map_or(args.name_server.clone(), Broker::name_server);
    println!("name server {name_server}, databases in {}", databases.path().display());
    let admin = Admin::connect(name_server.as_str()).await?;
    admin.create_topic(TOPIC, 4).await?;
    admin.shutdown().await;
    let orders = Orders::open(&name_server, &databases.path().join("orders.db")).await?;
    let followers = Followers::start(&name_server, databases.path()).await?;

    let deadline = Instant::now() + Duration::from_secs(args.patience);
    let half_way = Notify::new();
    let placing = async {
        for order in 0..args.orders {
            if order == args.orders / 2 {
                half_way.notify_one();
            }
            orders.place(order, Fate::of(order)).await?;
            sleep(Duration::from_millis(20)).await;
        }
        half_way.notify_one();
        Ok::<_, Box<dyn Error>>(())
    };
    let outage = async {
        half_way.notified().await;
        if broker.is_some() {
            println!("the broker goes away for {OUTAGE:?}");
        }
        Broker::stop(&mut broker).await;
        sleep(OUTAGE).await;
        Broker::start(&mut broker).await
    };
    tokio::try_join!(placing, outage)?;
    let books = loop {
        let books = Books::of(args.orders, &orders, &followers).await?;
        if books.are_closed() || Instant::now() > deadline {
            break books;
        }
        sleep(Duration::from_millis(200)).await;
    };
    followers.shutdown().await;
    orders.shutdown().await;
    Broker::shutdown(broker).await;
    Ok(books)
}
