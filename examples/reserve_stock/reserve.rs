//! Stock and account: what is there, what is reserved, what is used. A check of each table keeps them from overdrawing.

use std::{
    collections::HashSet,
    error::Error,
    sync::{Arc, Mutex},
};

use sqlx::{Sqlite, Transaction};
use tenonmq_outbox::coordination::{Command, Participant, Vote};

use crate::{PRICE, orders::number};

/// Pieces on the shelf.
#[derive(Clone, Copy)]
pub(crate) struct Stock;

/// Members' money.
#[derive(Clone, Default)]
pub(crate) struct Account {
    /// Orders whose confirm has failed once.
    failed: Arc<Mutex<HashSet<i64>>>,
}

type Failure = Box<dyn Error + Send + Sync>;

impl Stock {
    /// What there is at first.
    pub(crate) const PIECES: i64 = 80;
    pub(crate) const TABLES: &'static [&'static str] = &[
        "CREATE TABLE shelf (free INTEGER CHECK (free >= 0), reserved INTEGER CHECK (reserved >= 0), sold INTEGER)",
        "INSERT INTO shelf VALUES (80, 0, 0)",
        "CREATE TABLE sale (order_id INTEGER, quantity INTEGER)",
    ];
}

impl Account {
    /// What each of five members has at first.
    pub(crate) const BALANCE: i64 = 200;
    pub(crate) const TABLES: &'static [&'static str] = &[
        "CREATE TABLE purse (member INTEGER, balance INTEGER CHECK (balance >= 0), held INTEGER CHECK (held >= 0))",
        "INSERT INTO purse VALUES (0, 200, 0), (1, 200, 0), (2, 200, 0), (3, 200, 0), (4, 200, 0)",
        "CREATE TABLE payment (order_id INTEGER, amount INTEGER)",
    ];
}

async fn change(transaction: &mut Transaction<'_, Sqlite>, sql: &'static str, values: &[i64]) -> Result<u64, Failure> {
    let query = values.iter().fold(sqlx::query(sql), |query, value| query.bind(*value));
    Ok(query.execute(&mut **transaction).await?.rows_affected())
}

impl Participant<Sqlite> for Stock {
    type Error = Failure;

    async fn try_it(&self, transaction: &mut Transaction<'_, Sqlite>, command: &Command) -> Result<Vote, Failure> {
        let quantity = number(&command.content, "quantity")?;
        let sql = "UPDATE shelf SET free = free - ?1, reserved = reserved + ?1 WHERE free >= ?1";
        let is_there = change(transaction, sql, &[quantity]).await? == 1;
        Ok(if is_there { Vote::Done } else { Vote::Refused("too few are left".into()) })
    }

    async fn confirm(&self, transaction: &mut Transaction<'_, Sqlite>, command: &Command) -> Result<(), Failure> {
        let (order, quantity) = (number(&command.content, "order")?, number(&command.content, "quantity")?);
        change(transaction, "UPDATE shelf SET reserved = reserved - ?1, sold = sold + ?1", &[quantity]).await?;
        change(transaction, "INSERT INTO sale VALUES (?, ?)", &[order, quantity]).await?;
        Ok(())
    }

    async fn cancel(&self, transaction: &mut Transaction<'_, Sqlite>, command: &Command) -> Result<(), Failure> {
        let quantity = number(&command.content, "quantity")?;
        change(transaction, "UPDATE shelf SET reserved = reserved - ?1, free = free + ?1", &[quantity]).await?;
        Ok(())
    }
}

impl Participant<Sqlite> for Account {
    type Error = Failure;

    async fn try_it(&self, transaction: &mut Transaction<'_, Sqlite>, command: &Command) -> Result<Vote, Failure> {
        let (member, amount) = (number(&command.content, "member")?, PRICE * number(&command.content, "quantity")?);
        let sql = "UPDATE purse SET balance = balance - ?1, held = held + ?1 WHERE member = ?2 AND balance >= ?1";
        let is_there = change(transaction, sql, &[amount, member]).await? == 1;
        Ok(if is_there { Vote::Done } else { Vote::Refused("too little money".into()) })
    }

    async fn confirm(&self, transaction: &mut Transaction<'_, Sqlite>, command: &Command) -> Result<(), Failure> {
        let (order, member) = (number(&command.content, "order")?, number(&command.content, "member")?);
        let amount = PRICE * number(&command.content, "quantity")?;
        change(transaction, "UPDATE purse SET held = held - ?1 WHERE member = ?2", &[amount, member]).await?;
        change(transaction, "INSERT INTO payment VALUES (?, ?)", &[order, amount]).await?;
        let is_first = self.failed.lock().is_ok_and(|mut failed| failed.insert(order));
        if order % 6 == 0 && is_first {
            return Err("a fault that was injected".into()); // what was written goes with the transaction
        }
        Ok(())
    }

    async fn cancel(&self, transaction: &mut Transaction<'_, Sqlite>, command: &Command) -> Result<(), Failure> {
        let (member, amount) = (number(&command.content, "member")?, PRICE * number(&command.content, "quantity")?);
        let sql = "UPDATE purse SET held = held - ?1, balance = balance + ?1 WHERE member = ?2";
        change(transaction, sql, &[amount, member]).await?;
        Ok(())
    }
}
