//! The books of the four services, side by side.

use std::{collections::BTreeMap, error::Error, fmt};

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use tenonmq_examples::Service;
use tenonmq_outbox::{Status, coordination::Phase};

use crate::{ledger::Ledger, orders::Orders};

/// One order in all databases.
struct Line {
    order: u32,
    /// Why it failed; `None` when it is dispatched.
    reason: Option<String>,
    /// How often each service did its step, and undid it.
    steps: [(i64, i64); 3],
    /// Whether everything was done once, or undone.
    agrees: bool,
}

/// All orders, and what is still under way.
pub(crate) struct Books {
    lines: Vec<Line>,
    totals_agree: bool,
    under_way: u64,
}

impl Books {
    pub(crate) async fn of(count: u32, orders: &Orders, ledgers: &[Service]) -> Result<Self, Box<dyn Error>> {
        let (mut lines, mut expected) = (Vec::new(), [0; 3]);
        for order in 0..count {
            let (price, dishes, state, changes) = orders.find(order).await?;
            let saga = orders.saga(order).await?.ok_or("an order without a saga")?;
            let is_dispatched = saga.phase == Phase::Confirmed;
            let due = if is_dispatched { [price, dishes, 1] } else { [0; 3] };
            let is_refused = ledgers.iter().any(|service| Ledger::of(service.name).refuses(i64::from(order)));
            let mut agrees = saga.tried.status == Status::Done && !(is_dispatched && is_refused);
            agrees &= changes == 1 && state == if is_dispatched { "dispatched" } else { "failed" };
            let mut steps = [(0, 0); 3];
            for (place, service) in ledgers.iter().enumerate() {
                let (done, undone, sum): (i64, i64, i64) = sqlx::query_as(
                    "SELECT COUNT(*) FILTER (WHERE amount > 0), COUNT(*) FILTER (WHERE amount < 0), \
                     COALESCE(SUM(amount), 0) FROM line WHERE order_id = ?",
                )
                .bind(order)
                .fetch_one(&service.pool)
                .await?;
                agrees &= sum == due[place] && done <= 1 && undone == done - i64::from(is_dispatched);
                steps[place] = (done, undone);
                expected[place] += due[place];
            }
            lines.push(Line { order, reason: saga.reason.filter(|_| !is_dispatched), steps, agrees });
        }
        let mut totals_agree = true;
        let mut under_way = orders.service.under_way().await?;
        for (service, expected) in ledgers.iter().zip(expected) {
            let total: i64 = sqlx::query_scalar("SELECT amount FROM total").fetch_one(&service.pool).await?;
            totals_agree &= total == expected;
            under_way += service.under_way().await?;
        }
        Ok(Self { lines, totals_agree, under_way })
    }

    /// Whether all books say the same, and most people eat.
    pub(crate) fn balance(&self) -> bool {
        let dispatched = self.lines.iter().filter(|line| line.reason.is_none()).count();
        self.totals_agree && dispatched * 2 >= self.lines.len() && self.lines.iter().all(|line| line.agrees)
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
            by_reason.entry(line.reason.as_deref().unwrap_or("dispatched")).or_default().push(line);
        }
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY);
        table.set_header(["saga", "orders", "payment", "kitchen", "courier", "agrees"]);
        for (reason, lines) in by_reason {
            let steps = |place: usize| {
                let (done, undone) =
                    lines.iter().map(|line| line.steps[place]).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
                format!("{done} done, {undone} undone")
            };
            let agrees = if lines.iter().all(|line| line.agrees) { "yes" } else { "NO" }.to_owned();
            table.add_row([reason.to_owned(), lines.len().to_string(), steps(0), steps(1), steps(2), agrees]);
        }
        writeln!(f, "{table}")?;
        for line in self.lines.iter().filter(|line| !line.agrees) {
            writeln!(f, "order {} disagrees: {:?}, steps {:?}", line.order, line.reason, line.steps)?;
        }
        let verdict = if self.balance() { "the books balance" } else { "THE BOOKS DO NOT BALANCE" };
        write!(f, "{} orders, {} messages under way: {verdict}", self.lines.len(), self.under_way)
    }
}
