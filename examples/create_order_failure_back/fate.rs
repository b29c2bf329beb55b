//! What happens to each order.

/// How an order reaches the stock service, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// As it should.
    Handled,
    /// The broker refuses its message for good, and the relay gives it up.
    Refused,
    /// The stock service loses its message the first time.
    LostOnce,
    /// The stock service loses every copy of its message.
    LostAlways,
    /// It comes from a till that writes orders and no messages.
    FromTill,
}

impl Fate {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Handled, Self::Refused, Self::LostOnce, Self::LostAlways, Self::FromTill];

    /// The fate of an order, by its number.
    pub(crate) fn of(order: u32) -> Self {
        match order {
            _ if order % 20 == 7 => Self::LostAlways,
            _ if order % 10 == 3 => Self::Refused,
            _ if order % 10 == 5 => Self::LostOnce,
            _ if order % 10 == 8 => Self::FromTill,
            _ => Self::Handled,
        }
    }
}

/// How many pieces an order wants.
pub(crate) fn quantity(order: u32) -> u32 {
    1 + order % 3
}

/// The business id of the event that an order was created.
pub(crate) fn key(order: u32) -> String {
    format!("order-{order}/created")
}
