//! Stock and money are reserved for an order, and then both used or both given back.
//!
//! Three services with a SQLite database each. The order service begins a TCC in the transaction that writes the order
//! ([`orders`]). Stock and account reserve at once, each in its own database; when both have, both confirm, and when one
//! refuses or is too late, both cancel ([`reserve`]). Nobody ever sees goods sold that are not paid.
//!
//! There are fewer goods and less money than the orders want. An account instance dies before its commit, so that its try
//! comes after its cancel; a stock instance dies after its commit; a relay dies when it has sent, so that messages come twice; the
//! coordinator dies while it hears an answer; the first confirms of some orders fail.
//!
//! ```text
//! cargo run --release --example reserve_stock [-- --orders 60 --name-server 127.0.0.1:9876]
//! ```
//!
//! Starts a broker of its own when nobody listens there. Ends with the books of all services, and with failure if they do not
//! balance.

mod books;
mod orders;
mod reserve;

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;
use tenonmq_client::Admin;
use tenonmq_examples::{Broker, Service};
use tenonmq_outbox::{
    coordination::Barrier,
    fault::{Faults, Point},
};
use tokio::time::{Instant, sleep};

use crate::{
    books::Books,
    orders::Orders,
    reserve::{Account, Stock},
};

/// What a piece costs.
const PRICE: i64 = 10;

/// Reserves stock and money for orders, and compares the three databases at the end.
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
    tenonmq_examples::conclude("reserve_stock", run(Args::parse()).await, Books::balance)
}

async fn run(args: Args) -> Result<Books, Box<dyn Error>> {
    let databases = tempfile::tempdir()?;
    let broker = Broker::unless_reachable(&args.name_server).await?;
    let name_server = broker.as_ref().map_or(args.name_server.clone(), Broker::name_server);
    println!("name server {name_server}, databases in {}", databases.path().display());
    let admin = Admin::connect(name_server.as_str()).await?;
    for topic in ["order_answers", "stock_commands", "account_commands"] {
        admin.create_topic(topic, 4).await?;
    }
    admin.shutdown().await;

    let open = async |name, tables, dies_at, nth| {
        let faults = Faults::default();
        faults.crash_at_nth(dies_at, nth);
        Service::open(&name_server, databases.path(), name, tables, faults).await
    };
    let mut stock = open("stock", Stock::TABLES, Point::EffectsKept, 7).await?;
    stock.consume("stock_commands", Barrier::of(&stock.outbox).serve(Stock)).await?;
    let mut account = open("account", Account::TABLES, Point::BranchWritten, 3).await?;
    account.consume("account_commands", Barrier::of(&account.outbox).serve(Account::default())).await?;
    let orders = Orders::open(&name_server, databases.path()).await?;

    for order in 0..args.orders {
        orders.place(order).await?;
        sleep(Duration::from_millis(20)).await;
    }
    let deadline = Instant::now() + Duration::from_secs(args.patience);
    let books = loop {
        let books = Books::of(args.orders, &orders, &stock, &account).await?;
        if books.are_closed() || Instant::now() > deadline {
            break books;
        }
        sleep(Duration::from_millis(200)).await;
    };
    stock.shutdown().await;
    account.shutdown().await;
    orders.shutdown().await;
    Broker::shutdown(broker).await;
    Ok(books)
}
