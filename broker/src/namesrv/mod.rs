//! The name-server role: who serves which topic, and where.
//!
//! [`table`] holds the rules and does no I/O; the rest carries requests to it and answers back.

pub mod handler;
pub mod kv;
pub mod model;
pub mod register;
pub mod service;
pub mod table;

pub use handler::Handler;
pub use model::{Origin, Refused, Registered, Registrant};
pub use service::{Answer, Call, NameServer};
pub use table::{RouteTable, Rules, UnitTopics};
