//! What all services share: the tables of topics, groups, clients and offsets, the store, the clock, and who we are.
//!
//! Services are modules over `&Core`. They take typed values and return typed values or a future; none sees a socket.

pub mod clock;
pub mod deliver;
pub mod filter;
pub mod identity;
pub mod names;
pub mod waiters;
