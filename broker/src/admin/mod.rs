//! What operators and their tools ask of a broker. None of it is on a hot path.
//!
//! [`topic`], [`group`] and [`attributes`]: creating, changing and deleting topics and subscription groups. [`client`]: who
//! is connected. [`progress`]: how far groups have come; [`reset`]: moving them; [`preview`]: what that would mean.
//! [`owners`]: who reads a queue. [`relay`]: asking their members. [`query`] and [`queue`]: finding messages. [`broker`]:
//! settings and counters of the process; [`statistics`]: those of topics and groups.
//! Rules: `remoting.md` section 9.

pub mod attributes;
pub mod broker;
pub mod client;
#[cfg(test)]
mod golden_tests;
pub mod group;
pub mod owners;
pub mod preview;
pub mod progress;
pub mod query;
pub mod queue;
pub mod relay;
pub mod reset;
pub mod statistics;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tool_tests;
pub mod topic;
