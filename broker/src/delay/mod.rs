//! Messages that become visible later.
//!
//! A message with a delay level waits under `SCHEDULE_TOPIC_XXXX`, in the queue of its level, with the real topic and
//! queue in its properties. The queue's entries hold the time of delivery, so a level is a queue in the other sense too:
//! what came first is due first. When it is due, a copy goes to the real topic.
//!
//! [`wish`] tells what a message asks for, [`levels`] puts it where it waits, [`scheduler`] delivers it, [`save`] keeps
//! how far that is, `ends` where the log ended then, `resume` finds out what a crash kept from being saved. Rules: `transactions-retry-delay.md` section 3,
//! contents of the records: `store.md` section 11.

mod delivery;
mod ends;
pub mod levels;
mod resume;
pub mod save;
pub mod scheduler;
#[cfg(test)]
mod tests;
pub mod wish;

pub use levels::{Delays, Waiting, note_target};
pub use scheduler::{Scheduler, keep_delivering};
pub use wish::{Wish, time_ahead, wished};
