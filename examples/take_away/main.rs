//! A take-away order is paid, cooked and dispatched; or what was done of it is undone.
//!
//! Four services with a SQLite database each. The order service begins a saga in the transaction that writes the order
//! ([`orders`]), and two instances of its coordinator see it through. Payment, kitchen and courier ([`ledger`]) do their steps and
//! compensations in their own databases, each through a barrier; how the saga ended is written with its end.
//!
//! Everything is disturbed: payments are declined, dishes are sold out, no courier is free; an instance of each service dies
//! in mid-step (one before its commit, so that its step comes too late; one after it), a relay dies when it has sent, so
//! that messages come twice, a coordinator dies while it hears an answer, and ovens fail for a moment.
//!
//! ```text
//! cargo run --release --example take_away [-- --orders 60 --name-server 127.0.0.1:9876]
//! ```
//!
//! Starts a broker of its own when nobody listens there. Ends with the books of all services, and with failure if they do not
//! balance.

mod books;
mod ledger;
mod orders;

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;
use tenonmq_client::Admin;
use tenonmq_examples::{Broker, Service};
use tenonmq_outbox::fault::{Faults, Point};
use tokio::time::{Instant, sleep};

use crate::{books::Books, ledger::Ledger, orders::Orders};

/// Services, where each dies once, and at which pass of that point.
const SERVICES: [(&str, Point, u32); 3] =
    [("payment", Point::EffectsKept, 5), ("kitchen", Point::BranchWritten, 3), ("courier", Point::Sent, 4)];

/// Lets customers order, and compares the four databases at the end.
#[derive(Parser)]
struct Args {
    /// Orders to place.
    #[arg(long, default_value_t = 60)]
    orders: u32,
    /// Name server to use; a broker is started here when nobody listens there.
    #[arg(long, default_value = "127.0.0.1:9876")]
    name_server: String,
    /// Seconds to wait at most for every order to be settled.
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    tenonmq_examples::conclude("take_away", run(Args::parse()).await, Books::balance)
}

async fn run(args: Args) -> Result<Books, Box<dyn Error>> {
    let databases = tempfile::tempdir()?;
    let broker = Broker::unless_reachable(&args.name_server).await?;
    let name_server = broker.as_ref().map_or(args.name_server.clone(), Broker::name_server);
    println!("name server {name_server}, databases in {}", databases.path().display());
    let admin = Admin::connect(name_server.as_str()).await?;
    for topic in ["order_answers", "payment_commands", "kitchen_commands", "courier_commands"] {
        admin.create_topic(topic, 4).await?;
    }
    admin.shutdown().await;

    let mut ledgers = Vec::new();
    for (name, dies_at, nth) in SERVICES {
        let faults = Faults::default();
        faults.crash_at_nth(dies_at, nth);
        let mut service = Service::open(&name_server, databases.path(), name, Ledger::TABLES, faults).await?;
        Ledger::of(name).serve(&mut service).await?;
        ledgers.push(service);
    }
    let orders = Orders::open(&name_server, databases.path()).await?;

    for order in 0..args.orders {
        orders.place(order).await?;
        sleep(Duration::from_millis(20)).await;
    }
    let deadline = Instant::now() + Duration::from_secs(args.patience);
    let books = loop {
        let books = Books::of(args.orders, &orders, &ledgers).await?;
        if books.are_closed() || Instant::now() > deadline {
            break books;
        }
        sleep(Duration::from_millis(200)).await;
    };
    for service in ledgers {
        service.shutdown().await;
    }
    orders.shutdown().await;
    Broker::shutdown(broker).await;
    Ok(books)
}
