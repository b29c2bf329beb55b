//! Programs that show how services use TenonMQ, each run with `cargo run --release --example NAME`.
//!
//! | example | shows |
//! |---|---|
//! | `register_points` | the smallest: a user registers in one database and gets welcome points in another |
//! | `order_payment` | an order is paid in one database if and only if its stock is deducted and its points are added in two others |
//! | `pay_notify` | a merchant that hangs, fails, redirects, lies and drops answers is told of each payment by HTTP, and books it once |
//! | `order_timeout` | orders that nobody pays in time are cancelled, and their stock is free again |
//! | `two_phase_commit` | a simulation: why 2PC blocks, why 3PC disagrees, and why half messages do neither |
//! | `take_away` | a saga: an order is paid, cooked and dispatched, or what was done of it is undone |
//! | `reserve_stock` | TCC: stock and money are reserved for an order, and then both used or both given back |
//! | `create_order_failure_back` | an order whose stock cannot be had turns failed; orders that nobody answered are found and repaired |
//! | `rabbit_habits` | confirms, manual acknowledgement, reject, prefetch and the replenishment consumer, for people from RabbitMQ |
//!
//! Each checks itself at its end and exits with a failure when the books do not balance. Here is what they share: a
//! [`Broker`] for when none runs, a [`database`] for a service, a whole [`Service`], and how they [`conclude`].

mod broker;
mod service;

use std::{error::Error, fmt::Display, path::Path, process::ExitCode, time::Duration};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tenonmq_outbox::Schema;

pub use self::{broker::Broker, service::Service};

/// A service's own SQLite database at `path`, with the tables of the toolkit.
///
/// # Errors
/// When it cannot be opened or written.
pub async fn database(path: &Path) -> Result<SqlitePool, Box<dyn Error>> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(10));
    let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await?;
    Schema::default().migrate(&pool).await?;
    Ok(pool)
}

/// What an example ends with: its books on the standard output, and a failure when they do not balance or cannot be made.
pub fn conclude<B: Display>(
    example: &str,
    books: Result<B, Box<dyn Error>>,
    balance: impl FnOnce(&B) -> bool,
) -> ExitCode {
    match books {
        Ok(books) => {
            println!("{books}");
            if balance(&books) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{example}: {error}");
            ExitCode::FAILURE
        }
    }
}
