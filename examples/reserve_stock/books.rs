//! The books of the three services, side by side.

use std::{collections::BTreeMap, error::Error, fmt};

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use sqlx::SqlitePool;
use tenonmq_examples::Service;
use tenonmq_outbox::{Status, coordination::Phase};

use crate::{
    PRICE,
    orders::Orders,
    reserve::{Account, Stock},
};

/// One order in all databases.
struct Line {
    order: u32,
    /// Why it failed; `None` when it is bought.
    reason: Option<String>,
    /// What was sold, and what was paid for it.
    sold: i64,
    paid: i64,
    agrees: bool,
}

/// All orders, and what is still under way.
pub(crate) struct Books {
    lines: Vec<Line>,
    shelf: (i64, i64, i64),
    purses: (i64, i64),
    under_way: u64,
}

/// How many rows an order has, and the sum of these.
async fn sum(pool: &SqlitePool, sql: &'static str, order: u32) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as(sql).bind(order).fetch_one(pool).await
}

impl Books {
    pub(crate) async fn of(
        count: u32,
        orders: &Orders,
        stock: &Service,
        account: &Service,
    ) -> Result<Self, Box<dyn Error>> {
        let mut lines = Vec::new();
        for order in 0..count {
            let (quantity, state) = orders.find(order).await?;
            let global = orders.global(order).await?.ok_or("an order without a TCC")?;
            let is_bought = global.phase == Phase::Confirmed;
            let sale = "SELECT COUNT(*), COALESCE(SUM(quantity), 0) FROM sale WHERE order_id = ?";
            let payment = "SELECT COUNT(*), COALESCE(SUM(amount), 0) FROM payment WHERE order_id = ?";
            let (sales, sold) = sum(&stock.pool, sale, order).await?;
            let (payments, paid) = sum(&account.pool, payment, order).await?;
            let times = i64::from(is_bought);
            let agrees = global.tried.status == Status::Done
                && state == if is_bought { "bought" } else { "failed" }
                && (sales, sold) == (times, times * quantity)
                && (payments, paid) == (times, times * quantity * PRICE);
            lines.push(Line { order, reason: global.reason.filter(|_| !is_bought), sold, paid, agrees });
        }
        let shelf = sqlx::query_as("SELECT free, reserved, sold FROM shelf").fetch_one(&stock.pool).await?;
        let purses = sqlx::query_as("SELECT SUM(balance), SUM(held) FROM purse").fetch_one(&account.pool).await?;
        let mut under_way = orders.service.under_way().await?;
        for service in [stock, account] {
            under_way += service.under_way().await?;
        }
        Ok(Self { lines, shelf, purses, under_way })
    }

    /// Whether all books say the same, nothing is reserved any more, and something was sold.
    pub(crate) fn balance(&self) -> bool {
        let sold: i64 = self.lines.iter().map(|line| line.sold).sum();
        let ((free, reserved, gone), (balance, held)) = (self.shelf, self.purses);
        let is_kept = (free + sold, reserved, gone) == (Stock::PIECES, 0, sold);
        let is_paid = (balance + sold * PRICE, held) == (5 * Account::BALANCE, 0);
        is_kept && is_paid && sold > 0 && self.lines.iter().all(|line| line.agrees)
    }

    /// Whether they balance, and nothing is left over.
    pub(crate) fn are_closed(&self) -> bool {
        self.under_way == 0 && self.balance()
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_reason = BTreeMap::<&str, Vec<&Line>>::new();
        for line in &self.lines {
            by_reason.entry(line.reason.as_deref().unwrap_or("bought")).or_default().push(line);
        }
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY);
        table.set_header(["TCC", "orders", "sold", "paid", "agrees"]);
        for (reason, lines) in by_reason {
            table.add_row([
                reason.to_owned(),
                lines.len().to_string(),
                lines.iter().map(|line| line.sold).sum::<i64>().to_string(),
                lines.iter().map(|line| line.paid).sum::<i64>().to_string(),
                if lines.iter().all(|line| line.agrees) { "yes" } else { "NO" }.to_owned(),
            ]);
        }
        writeln!(f, "{table}")?;
        for line in self.lines.iter().filter(|line| !line.agrees) {
            writeln!(f, "order {} disagrees: {:?}, sold {}, paid {}", line.order, line.reason, line.sold, line.paid)?;
        }
        let ((free, reserved, sold), (balance, held)) = (self.shelf, self.purses);
        writeln!(f, "shelf: {free} free, {reserved} reserved, {sold} sold; purses: {balance} there, {held} held")?;
        let verdict = if self.balance() { "the books balance" } else { "THE BOOKS DO NOT BALANCE" };
        write!(f, "{} orders, {} messages under way: {verdict}", self.lines.len(), self.under_way)
    }
}
