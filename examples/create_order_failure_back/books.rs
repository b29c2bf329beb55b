//! The books of both services, side by side.

use std::{collections::BTreeMap, error::Error, fmt};

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use tenonmq_outbox::Status;

use crate::{
    fate::{Fate, quantity},
    orders::Orders,
    stock::Stock,
};

/// One order in both databases.
struct Line {
    order: u32,
    fate: Fate,
    has_failed: bool,
    /// How often it was deducted.
    times: i64,
    agrees: bool,
}

/// All orders, and what is still under way.
pub(crate) struct Books {
    lines: Vec<Line>,
    under_way: u64,
    left: i64,
    stock_agrees: bool,
    /// How many gaps ended in which way.
    repairs: BTreeMap<String, usize>,
    /// Messages that came when their order had failed long ago, and those without an effect.
    pub(crate) late: (usize, usize),
}

impl Books {
    pub(crate) async fn of(count: u32, pieces: u32, orders: &Orders, stock: &Stock) -> Result<Self, Box<dyn Error>> {
        let (mut lines, mut taken) = (Vec::new(), 0);
        for order in 0..count {
            let (fate, has_failed) = (Fate::of(order), orders.state(order).await? == "failed");
            let (times, sum) = stock.deducted(order).await?;
            let due = if has_failed { (0, 0) } else { (1, i64::from(quantity(order))) };
            let agrees = (times, sum) == due && (fate != Fate::LostAlways || has_failed);
            taken += sum;
            lines.push(Line { order, fate, has_failed, times, agrees });
        }
        let left = stock.left().await?;
        let stock_agrees = left >= 0 && left + taken == i64::from(pieces);
        let mut repairs = BTreeMap::new();
        for compensation in &orders.compensations {
            for gap in compensation.list(Status::Done, 0, 10_000).await? {
                let how = format!("{}: {}", compensation.name(), gap.result.unwrap_or_default());
                *repairs.entry(how).or_default() += 1;
            }
        }
        let under_way = orders.under_way().await? + stock.under_way().await?;
        Ok(Self { lines, under_way, left, stock_agrees, repairs, late: (0, 0) })
    }

    /// Whether both books say the same, shortage and repairs were seen, and nothing is left over.
    pub(crate) fn balance(&self) -> bool {
        let are_lines_right = self.lines.iter().all(|line| line.agrees);
        // whoever comes when the pieces are gone; which fates that hits differs from run to run
        let is_short = self.lines.iter().any(|line| line.has_failed && line.fate != Fate::LostAlways);
        let is_repaired = self.repairs.len() > 1;
        are_lines_right
            && self.stock_agrees
            && is_short
            && is_repaired
            && self.under_way == 0
            && self.late.0 == self.late.1
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY);
        table.set_header(["fate", "orders", "created", "failed", "deducted", "agrees"]);
        for fate in Fate::ALL {
            let of_it: Vec<&Line> = self.lines.iter().filter(|line| line.fate == fate).collect();
            let failed = of_it.iter().filter(|line| line.has_failed).count();
            table.add_row([
                format!("{fate:?}"),
                of_it.len().to_string(),
                (of_it.len() - failed).to_string(),
                failed.to_string(),
                of_it.iter().map(|line| line.times).sum::<i64>().to_string(),
                if of_it.iter().all(|line| line.agrees) { "yes" } else { "NO" }.to_owned(),
            ]);
        }
        writeln!(f, "{table}")?;
        for line in self.lines.iter().filter(|line| !line.agrees) {
            writeln!(f, "order {} disagrees: failed {}, deducted {} times", line.order, line.has_failed, line.times)?;
        }
        for (how, times) in &self.repairs {
            writeln!(f, "{times:3} × {how}")?;
        }
        let (late, refused) = self.late;
        writeln!(f, "{late} messages came when their orders had failed: {refused} had no effect")?;
        let verdict = if self.balance() { "the books balance" } else { "THE BOOKS DO NOT BALANCE" };
        write!(f, "{} orders, {} pieces left, {} under way: {verdict}", self.lines.len(), self.left, self.under_way)
    }
}
