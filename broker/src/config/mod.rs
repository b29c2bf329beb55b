//! What the program will do, as typed values, and the way from files, environment and flags to it.
//!
//! ```text
//! defaults < configuration file < kept changes < environment < flags        who wins
//!      └───────────┬──────────────────────────────────────┘
//!            [`Values`]        text by key, with the source of each           (what was said)
//!                │ build
//!            [`Config`]        durations, sizes, paths, addresses, checked    (what will be done)
//!                │
//!            [`LiveConfig`]    both of them together, changed as one while running
//! ```
//!
//! Keys are Apache RocketMQ's, so its files work as they are ([`keys`]). A key that upstream knows and
//! this program has no use for is accepted; one that nobody knows is a warning that names the nearest
//! known one.
//!
//! Invariant: a `Config` exists only if every value with an effect is valid; nothing downstream checks again.

mod build;
pub mod keys;
mod live;
mod load;
mod machine;
mod model;
pub mod policies;
pub mod properties;
mod read;
mod store;
mod toml;
pub mod updates;
mod values;

#[cfg(test)]
mod tests;

pub use live::{Changed, LiveConfig};
pub use load::{FileText, Input, Loaded, Warning, load};
pub use machine::Machine;
pub use model::{
    Clients, Config, Filters, Http, Identity, Messages, Metrics, MetricsExporter, NameServer, Offsets, Polling, Pop,
    Pull, Registration, Remoting, Roles, Topics, Transactions,
};
pub use policies::{CheckPolicy, GroupPolicies};
pub use values::{ConfigError, Given, Source, Values};
