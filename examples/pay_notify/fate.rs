//! What happens to each order.

/// How the merchant fares with the notification of an order, or the order itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// It answers 200.
    Well,
    /// It hangs once.
    Hangs,
    /// It answers 500 twice.
    Fails,
    /// It redirects once.
    Redirects,
    /// It answers 200 once, with half of the body that it announces, and books nothing.
    Lies,
    /// It books, and drops the connection before it answers.
    LosesAnswer,
    /// It answers 503 once, and asks for a second's pause.
    AsksForPause,
    /// It answers 500 each time.
    NeverAnswers,
    /// The payment is declined when the notification is written already: the transaction is rolled back.
    Declined,
}

impl Fate {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Well,
        Self::Hangs,
        Self::Fails,
        Self::Redirects,
        Self::Lies,
        Self::LosesAnswer,
        Self::AsksForPause,
        Self::NeverAnswers,
        Self::Declined,
    ];

    /// The fate of an order, by its number.
    pub(crate) fn of(order: u32) -> Self {
        match order % 20 {
            3 => Self::Hangs,
            5 => Self::Fails,
            7 => Self::Redirects,
            9 => Self::Lies,
            11 => Self::LosesAnswer,
            13 => Self::AsksForPause,
            15 => Self::NeverAnswers,
            17 => Self::Declined,
            _ => Self::Well,
        }
    }

    /// Whether the order ends up paid.
    pub(crate) fn is_paid(self) -> bool {
        self != Self::Declined
    }
}

/// What an order costs, in cents.
pub(crate) fn amount_of(order: u32) -> i64 {
    100 + i64::from(order)
}
