//! What became of the orders, and whether the three databases agree.

use std::fmt;

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};

use crate::{
    member::Member,
    orders::{Fate, Orders, State},
    shop::Checks,
};

/// One order in all three databases.
struct Line {
    order: u32,
    state: State,
    checks: u32,
    stock: u32,
    points: u32,
    deliveries: (u32, u32),
}

impl Line {
    /// Whether stock and points happened exactly once for a paid order and never for another.
    fn agrees(&self) -> bool {
        let expected = u32::from(self.state == State::Paid);
        self.stock == expected && self.points == expected
    }
}

/// The result of a run.
pub(crate) struct Outcome {
    lines: Vec<Line>,
}

impl Outcome {
    pub(crate) async fn of(orders: &Orders, checks: &Checks, stock: &Member, points: &Member) -> sqlx::Result<Self> {
        let mut lines = Vec::new();
        for order in 0..checks.orders() {
            lines.push(Line {
                order,
                state: orders.state(order).await?,
                checks: checks.of(order),
                stock: stock.effects(order).await?,
                points: points.effects(order).await?,
                deliveries: (stock.deliveries(order), points.deliveries(order)),
            });
        }
        Ok(Self { lines })
    }

    /// Whether every order is decided: also those that only a check can decide were asked about.
    pub(crate) fn is_settled(&self) -> bool {
        let asked = |line: &Line| line.checks > 0 || Fate::of(line.order) != Fate::DiesBeforePaying;
        self.is_consistent() && self.lines.iter().all(asked)
    }

    /// Whether all databases agree on every order.
    pub(crate) fn is_consistent(&self) -> bool {
        self.lines.iter().all(Line::agrees)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY);
        table.set_header([
            "order",
            "fate",
            "decision",
            "checks",
            "stock (deliveries)",
            "points (deliveries)",
            "agrees",
        ]);
        for line in &self.lines {
            table.add_row([
                line.order.to_string(),
                format!("{:?}", Fate::of(line.order)),
                format!("{:?}", line.state),
                line.checks.to_string(),
                format!("{} ({})", line.stock, line.deliveries.0),
                format!("{} ({})", line.points, line.deliveries.1),
                if line.agrees() { "yes" } else { "NO" }.to_owned(),
            ]);
        }
        writeln!(f, "{table}")?;
        let count = |test: fn(&Line) -> bool| self.lines.iter().filter(|line| test(line)).count();
        write!(
            f,
            "{} orders: {} paid, {} declined, {} never paid; {} settled by a check; {} disagree",
            self.lines.len(),
            count(|line| line.state == State::Paid),
            count(|line| line.state == State::Declined),
            count(|line| line.state == State::Absent),
            count(|line| line.checks > 0),
            count(|line| !line.agrees()),
        )
    }
}
