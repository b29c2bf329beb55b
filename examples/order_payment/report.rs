//! The books of the four services, side by side.

use std::{error::Error, fmt};

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};

use crate::{fate::Fate, followers::Followers, orders::Orders};

/// One order in all databases.
struct Line {
    order: u32,
    fate: Fate,
    is_paid: bool,
    /// How often it took effect in each follower.
    effects: [i64; 3],
    /// Whether every effect happened once, with the right amount, or never for an order that is not paid.
    agrees: bool,
}

/// All orders, and what is still under way.
pub(crate) struct Books {
    lines: Vec<Line>,
    followers: [&'static str; 3],
    totals_agree: bool,
    open: u64,
    halves: Vec<(String, i64)>,
}

impl Books {
    pub(crate) async fn of(count: u32, orders: &Orders, followers: &Followers) -> Result<Self, Box<dyn Error>> {
        let mut lines = Vec::new();
        let mut expected = [0; 3];
        for order in 0..count {
            let paid = orders.find(order).await?;
            let due = paid.map_or([0; 3], |(quantity, amount)| [quantity, amount, 1]);
            let mut effects = [0; 3];
            let mut agrees = paid.is_some() == Fate::of(order).is_paid();
            for (place, follower) in followers.all.iter().enumerate() {
                let (times, sum) = follower.effects(order).await?;
                agrees &= times == i64::from(paid.is_some()) && sum == due[place];
                effects[place] = times;
                expected[place] += due[place];
            }
            lines.push(Line { order, fate: Fate::of(order), is_paid: paid.is_some(), effects, agrees });
        }
        let mut open = orders.unsent().await?;
        let mut totals_agree = true;
        for (follower, expected) in followers.all.iter().zip(expected) {
            open += follower.unhandled().await?;
            totals_agree &= follower.total().await? == expected;
        }
        let names = [0, 1, 2].map(|place| followers.all[place].name);
        Ok(Self { lines, followers: names, totals_agree, open, halves: orders.halves().await? })
    }

    /// Whether all books say the same, and nothing is left over.
    pub(crate) fn balance(&self) -> bool {
        self.totals_agree && self.open == 0 && self.undecided() == 0 && self.lines.iter().all(|line| line.agrees)
    }

    /// Whether they balance, and what was rolled back has been dropped by the check.
    pub(crate) fn are_closed(&self) -> bool {
        let is_any_rolled_back = self.lines.iter().any(|line| !line.fate.is_paid());
        self.balance() && (!is_any_rolled_back || self.count("void") > 0)
    }

    fn count(&self, state: &str) -> i64 {
        self.halves.iter().filter(|(name, _)| name == state).map(|(_, count)| count).sum()
    }

    fn undecided(&self) -> i64 {
        self.count("held") + self.count("deciding")
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY);
        let [stock, points, warehouse] = self.followers;
        table.set_header(["fate", "orders", "paid", stock, points, warehouse, "agrees"]);
        for fate in Fate::ALL {
            let of_it: Vec<&Line> = self.lines.iter().filter(|line| line.fate == fate).collect();
            let effects = |place: usize| of_it.iter().map(|line| line.effects[place]).sum::<i64>().to_string();
            table.add_row([
                format!("{fate:?}"),
                of_it.len().to_string(),
                of_it.iter().filter(|line| line.is_paid).count().to_string(),
                effects(0),
                effects(1),
                effects(2),
                if of_it.iter().all(|line| line.agrees) { "yes" } else { "NO" }.to_owned(),
            ]);
        }
        writeln!(f, "{table}")?;
        for line in self.lines.iter().filter(|line| !line.agrees) {
            writeln!(f, "order {} disagrees: paid {}, effects {:?}", line.order, line.is_paid, line.effects)?;
        }
        writeln!(
            f,
            "half messages: {} committed, {} dropped by a check, {} taken over by the relay, {} undecided",
            self.count("done"),
            self.count("void"),
            self.count("relayed"),
            self.undecided(),
        )?;
        let verdict = if self.balance() { "the books balance" } else { "THE BOOKS DO NOT BALANCE" };
        write!(f, "{} orders, {} messages under way: {verdict}", self.lines.len(), self.open)
    }
}
