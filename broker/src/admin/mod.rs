//! What operators and their tools ask of a broker. None of it is on a hot path.
//!
//! [`topic`] and [`attributes`]: creating, changing and deleting topics. [`query`]: finding messages. [`broker`]: settings
//! and counters of the process. Rules: `remoting.md` section 9.

pub mod attributes;
pub mod broker;
pub mod query;
pub mod topic;
