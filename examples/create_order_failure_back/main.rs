//! An order whose stock cannot be had turns *failed*, and an order that nobody answered is found and repaired.
//!
//! Two services, each with a SQLite database of its own. The order service creates an order and publishes `createOrder` in
//! one transaction ([`orders`]). The stock service deducts, or publishes `subInventoryFail` through its outbox, in the
//! transaction of the message ([`stock`]). There are not enough pieces for all.
//!
//! Much goes wrong ([`fate`]): the broker refuses messages for good, the stock service loses some once and some always, and a till
//! writes orders without any message. Two compensations of the order service mend that: messages without an answer are
//! sent again, and after two tries the order fails and the stock's inbox is barred for it; orders of the till are made up. All
//! services die once at a bad moment.
//!
//! ```text
//! cargo run --release --example create_order_failure_back [-- --orders 80 --name-server 127.0.0.1:9876]
//! ```
//!
//! Uses the name server that is given or the default one; when nobody listens there it starts a broker of its own. Ends with the
//! books of both services, and with failure if they do not balance.

mod books;
mod fate;
mod orders;
mod stock;

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;
use tenonmq_client::Admin;
use tenonmq_examples::Broker;
use tokio::time::{Instant, sleep};

use crate::{books::Books, orders::Orders, stock::Stock};

/// Orders for the stock service.
const CREATE_ORDER: &str = "createOrder";
/// What it could not deduct.
const SUB_INVENTORY_FAIL: &str = "subInventoryFail";

/// Creates orders, deducts their stock in another database, and compares the two at the end.
#[derive(Parser)]
struct Args {
    /// Orders to create.
    #[arg(long, default_value_t = 80)]
    orders: u32,
    /// Name server to use; a broker is started here when nobody listens there.
    #[arg(long, default_value = "127.0.0.1:9876")]
    name_server: String,
    /// Seconds to wait at most for every order to be settled.
    #[arg(long, default_value_t = 90)]
    patience: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    tenonmq_examples::conclude("create_order_failure_back", run(Args::parse()).await, Books::balance)
}

async fn run(args: Args) -> Result<Books, Box<dyn Error>> {
    let databases = tempfile::tempdir()?;
    let broker = Broker::unless_reachable(&args.name_server).await?;
    let name_server = broker.as_ref().map_or(args.name_server.clone(), Broker::name_server);
    println!("name server {name_server}, databases in {}", databases.path().display());
    let admin = Admin::connect(name_server.as_str()).await?;
    for topic in [CREATE_ORDER, SUB_INVENTORY_FAIL] {
        admin.create_topic(topic, 4).await?;
    }
    admin.shutdown().await;
    let pieces = args.orders * 3 / 2; // two for each order are wanted
    let stock = Stock::start(&name_server, &databases.path().join("stock.db"), pieces).await?;
    let orders = Orders::start(&name_server, &databases.path().join("orders.db"), &stock).await?;

    let deadline = Instant::now() + Duration::from_secs(args.patience);
    for order in 0..args.orders {
        orders.create(order).await?;
        sleep(Duration::from_millis(10)).await;
    }
    let mut books = loop {
        let books = Books::of(args.orders, pieces, &orders, &stock).await?;
        if books.balance() || Instant::now() > deadline {
            break books;
        }
        sleep(Duration::from_millis(200)).await;
    };
    if books.balance() {
        let late = stock.bring_late_copies().await?;
        books = Books::of(args.orders, pieces, &orders, &stock).await?;
        books.late = late;
    }
    orders.shutdown().await;
    stock.shutdown().await;
    Broker::shutdown(broker).await;
    Ok(books)
}
