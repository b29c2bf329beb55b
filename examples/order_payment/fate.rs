//! What happens to each order.

/// How the order service fares with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// It is paid.
    Paid,
    /// The payment is declined when the message is published already: the transaction is rolled back.
    Declined,
    /// The instance dies before its commit.
    DiesBeforeCommit,
    /// The instance dies after its commit, before it can tell anybody.
    DiesAfterCommit,
    /// The relay dies when it has told the broker, before it writes that down.
    DiesWhileTelling,
}

impl Fate {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Paid, Self::Declined, Self::DiesBeforeCommit, Self::DiesAfterCommit, Self::DiesWhileTelling];

    /// The fate of an order, by its number.
    pub(crate) fn of(order: u32) -> Self {
        match order {
            _ if order % 5 == 4 => Self::DiesAfterCommit,
            _ if order % 7 == 6 => Self::DiesBeforeCommit,
            _ if order % 11 == 10 => Self::DiesWhileTelling,
            _ if order % 4 == 3 => Self::Declined,
            _ => Self::Paid,
        }
    }

    /// Whether the order ends up paid.
    pub(crate) fn is_paid(self) -> bool {
        !matches!(self, Self::Declined | Self::DiesBeforeCommit)
    }
}
