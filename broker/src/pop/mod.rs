//! Popping: the broker hands messages out for a while, and takes back what is not acknowledged in time.
//!
//! ```text
//! POP ──► lease {start, messages, deadline} ──ACK──► done
//!             │        └──CHANGE_INVISIBLETIME──► a lease of its own
//!             └──deadline──► copy in %RETRY%group_topic (reconsumeTimes + 1) ──► popped again
//! ```
//!
//! Apache writes check points and acknowledgements into revive topics and joins them later. Here [`lease`] holds what is
//! open, by group, topic and queue, and [`log`] keeps each change in a small log of its own, so that a process that is
//! killed forgets no lease and no acknowledgement.
//!
//! Invariants:
//! - A group's stored offset never passes its lowest open lease. Whoever opens the directory next, Apache's broker
//!   included, gives these messages again instead of losing them.
//! - A change is in the log before anybody hears of it.
//! - The copy of an expired message is appended before its lease ends. After a crash in between the copy is recognised.
//!
//! [`read`] pops, [`ack`] and [`invisible`] end and prolong leases, [`returning`] takes expired ones back, [`wait`] and
//! [`notify`] hold requests, [`order`] is for groups that pop in order, [`revive`] takes Apache's check points over. Rules: `remoting.md` section 6,
//! `transactions-retry-delay.md` sections 7, 8 and 10.1.

pub mod ack;
pub mod admit;
pub mod info;
pub mod invisible;
pub mod lease;
pub mod log;
pub mod notify;
pub mod operator;
pub mod order;
pub mod peek;
mod queue;
pub mod read;
pub mod record;
pub mod replay;
mod retried;
pub mod returning;
pub mod revive;
pub mod save;
mod state;
pub mod table;
#[cfg(test)]
mod tests;
pub mod wait;

pub use read::{Asked, Popped, pop};
pub use returning::keep_returning;
pub use revive::keep_taking_over;
pub use state::{OpenError, Pops};
