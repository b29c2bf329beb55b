//! An order is paid, and the merchant is told by HTTP until it says 200.
//!
//! The payment service ([`shop`]) pays in a transaction and notifies in the same one: `notifier.notify(&mut tx, &notification)`.
//! Its courier does the rest. The merchant ([`merchant`]) verifies the signature and books each payment through an inbox, so
//! that a copy changes nothing. What it missed it fetches afterwards from the query interface that the payment service serves.
//!
//! The merchant is a bad one ([`fate`]): it hangs, answers 500, redirects, lies with a 200 whose body is cut off, books and
//! then drops the connection, asks for a pause, or never answers well at all. Some payments are declined after the
//! notification was written, and half-way the courier dies. Somebody else sends the merchant forged notifications. What is
//! given up in the end is one notice to people ([`duty`]), not one for each.
//!
//! ```text
//! cargo run --release --example pay_notify [-- --orders 60]
//! ```
//!
//! Needs no broker. The pauses are shortened; a real merchant is given `Schedule::growing()`. Ends with both books, and with
//! failure if they do not balance.

mod duty;
mod fate;
mod fetch;
mod merchant;
mod report;
mod shop;

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;
use tokio::time::{Instant, sleep};

use crate::{fate::Fate, merchant::Merchant, report::Books, shop::Shop};

/// Pays orders, tells the merchant, and compares the two databases at the end.
#[derive(Parser)]
struct Args {
    /// Orders to pay.
    #[arg(long, default_value_t = 60)]
    orders: u32,
    /// Seconds to wait at most until nothing is under way.
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    tenonmq_examples::conclude("pay_notify", run(Args::parse()).await, Books::balance)
}

async fn run(args: Args) -> Result<Books, Box<dyn Error>> {
    let databases = tempfile::tempdir()?;
    let merchant = Merchant::open(&databases.path().join("merchant.db"), Shop::key_of_merchant()).await?;
    let mut shop = Shop::open(&databases.path().join("shop.db"), merchant.url()).await?;
    println!("merchant at {}, databases in {}", merchant.url(), databases.path().display());

    for order in 0..args.orders {
        if order == args.orders / 2 {
            shop.courier_dies(); // what it had claimed is told again when its leases have ended
        }
        shop.pay(order, Fate::of(order)).await?;
        if order % 10 == 0 {
            merchant::forge(merchant.address(), order).await?;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let deadline = Instant::now() + Duration::from_secs(args.patience);
    while shop.under_way().await? > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(50)).await;
    }
    println!("nothing is under way: the merchant fetches what it missed");
    sleep(shop::SETTLING).await;
    let fetched = fetch::missed(&merchant, shop.query_address()).await?;
    let notices = shop.tell_people().await;
    shop.decide_what_was_given_up().await?;
    let books = Books::of(args.orders, &shop, &merchant, fetched, notices).await?;
    shop.shutdown().await;
    Ok(books)
}
