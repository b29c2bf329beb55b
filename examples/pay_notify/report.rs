//! The books of the two services, side by side.

use std::{error::Error, fmt};

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use tenonmq_outbox::Status;

use crate::{
    fate::{Fate, amount_of},
    merchant::Merchant,
    shop::Shop,
};

/// One order in both databases.
struct Line {
    fate: Fate,
    is_paid: bool,
    told: Option<(Status, u32)>,
    bookings: i64,
    agrees: bool,
}

/// All orders.
pub(crate) struct Books {
    lines: Vec<Line>,
    bookings: i64,
    copies: u32,
    forged: u32,
    fetched: u32,
    notices: u32,
    under_way: u64,
}

impl Books {
    pub(crate) async fn of(
        orders: u32,
        shop: &Shop,
        merchant: &Merchant,
        fetched: u32,
        notices: u32,
    ) -> Result<Self, Box<dyn Error>> {
        let paid = shop.paid().await?;
        let mut lines = Vec::new();
        for order in 0..orders {
            let fate = Fate::of(order);
            let is_paid = paid.contains(&(order, amount_of(order)));
            let (bookings, sum) = merchant.booked(order).await?;
            let told = shop.told(order).await?;
            let expected = match fate {
                Fate::Declined => None,
                Fate::NeverAnswers => Some(Status::Dropped), // after it was fetched
                _ => Some(Status::Done),
            };
            let agrees = is_paid == fate.is_paid()
                && bookings == i64::from(is_paid)
                && sum == if is_paid { amount_of(order) } else { 0 }
                && told.map(|(status, _)| status) == expected;
            lines.push(Line { fate, is_paid, told, bookings, agrees });
        }
        let (bookings, copies, forged) = merchant.totals().await?;
        Ok(Self { lines, bookings, copies, forged, fetched, notices, under_way: shop.under_way().await? })
    }

    /// Whether each paid order is booked once, with its amount, and nothing else is.
    pub(crate) fn balance(&self) -> bool {
        let paid = self.lines.iter().filter(|line| line.is_paid).count();
        self.under_way == 0
            && usize::try_from(self.bookings) == Ok(paid)
            && self.count(Fate::NeverAnswers) == self.fetched as usize
            && self.notices == u32::from(self.fetched > 0)
            && self.copies as usize >= self.count(Fate::LosesAnswer)
            && self.forged > 0
            && self.lines.iter().all(|line| line.agrees)
    }

    fn count(&self, fate: Fate) -> usize {
        self.lines.iter().filter(|line| line.fate == fate).count()
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY);
        table.set_header(["the merchant", "orders", "paid", "booked", "tries", "agrees"]);
        for fate in Fate::ALL {
            let of_it: Vec<&Line> = self.lines.iter().filter(|line| line.fate == fate).collect();
            table.add_row([
                format!("{fate:?}"),
                of_it.len().to_string(),
                of_it.iter().filter(|line| line.is_paid).count().to_string(),
                of_it.iter().map(|line| line.bookings).sum::<i64>().to_string(),
                of_it.iter().filter_map(|line| line.told).map(|(_, tries)| tries).sum::<u32>().to_string(),
                if of_it.iter().all(|line| line.agrees) { "yes" } else { "NO" }.to_owned(),
            ]);
        }
        writeln!(f, "{table}")?;
        let Self { copies, forged, fetched, under_way, .. } = self;
        writeln!(
            f,
            "{copies} copies changed nothing, {forged} forged calls were refused, {fetched} payments were fetched"
        )?;
        let verdict = if self.balance() { "the books balance" } else { "THE BOOKS DO NOT BALANCE" };
        write!(f, "{} orders, {under_way} notifications under way: {verdict}", self.lines.len())
    }
}
