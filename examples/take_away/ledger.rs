//! Payment, kitchen and courier. All three have the same shape: a step is a line in a ledger, its compensation another one.

use std::{
    collections::HashSet,
    error::Error,
    sync::{Arc, Mutex},
};

use sqlx::{Sqlite, Transaction};
use tenonmq_examples::Service;
use tenonmq_outbox::coordination::{Barrier, Command, Participant, Vote};

use crate::orders::number;

/// A service's part of the saga.
#[derive(Clone)]
pub(crate) struct Ledger {
    name: &'static str,
    /// What it counts, in the saga's content.
    field: &'static str,
    /// It refuses each order that leaves this rest.
    refuses: (i64, i64, &'static str),
    /// The first try of each order that this divides fails for a moment.
    fails_each: i64,
    failed: Arc<Mutex<HashSet<i64>>>,
}

impl Ledger {
    pub(crate) const TABLES: &'static [&'static str] = &[
        "CREATE TABLE line (order_id INTEGER NOT NULL, amount INTEGER NOT NULL)",
        "CREATE TABLE total (amount INTEGER NOT NULL)",
        "INSERT INTO total (amount) VALUES (0)",
    ];

    pub(crate) fn of(name: &'static str) -> Self {
        let (field, refuses, fails_each) = match name {
            "payment" => ("price", (9, 4, "the card is declined"), 16),
            "kitchen" => ("dishes", (7, 5, "sold out"), 10),
            _ => ("ride", (11, 6, "no courier is free"), 13),
        };
        Self { name, field, refuses, fails_each, failed: Arc::default() }
    }

    /// Which service refuses an order, if one does: the first of the saga's order.
    pub(crate) fn refuses(&self, order: i64) -> bool {
        order % self.refuses.0 == self.refuses.1
    }

    pub(crate) async fn serve(self, service: &mut Service) -> Result<(), Box<dyn Error>> {
        let topic = format!("{}_commands", self.name);
        service.consume(&topic, Barrier::of(&service.outbox).serve(self)).await
    }

    async fn book(
        &self,
        transaction: &mut Transaction<'_, Sqlite>,
        command: &Command,
        sign: i64,
    ) -> Result<i64, Box<dyn Error + Send + Sync>> {
        let (order, amount) = (number(&command.content, "order")?, sign * number(&command.content, self.field)?);
        let line = sqlx::query("INSERT INTO line (order_id, amount) VALUES (?, ?)").bind(order).bind(amount);
        line.execute(&mut **transaction).await?;
        sqlx::query("UPDATE total SET amount = amount + ?").bind(amount).execute(&mut **transaction).await?;
        Ok(order)
    }
}

impl Participant<Sqlite> for Ledger {
    type Error = Box<dyn Error + Send + Sync>;

    async fn try_it(&self, transaction: &mut Transaction<'_, Sqlite>, command: &Command) -> Result<Vote, Self::Error> {
        let order = self.book(transaction, command, 1).await?;
        if self.refuses(order) {
            return Ok(Vote::Refused(self.refuses.2.into())); // the line goes with the step
        }
        let is_first = self.failed.lock().is_ok_and(|mut failed| failed.insert(order));
        if order % self.fails_each == 0 && is_first {
            return Err("a fault that was injected".into()); // not now: the inbox tries again
        }
        Ok(Vote::Done)
    }

    async fn cancel(&self, transaction: &mut Transaction<'_, Sqlite>, command: &Command) -> Result<(), Self::Error> {
        self.book(transaction, command, -1).await.map(|_| ())
    }
}
