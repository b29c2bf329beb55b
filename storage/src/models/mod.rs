//! Models of what threads may see of each other, for every order in which they can meet: the store's own types, with loom's
//! atomics and locks below them ([`crate::sync`]).
//!
//! `cargo test -p tenonmq-storage --features loom --lib models` runs them.

mod bench;
mod flushing;
mod index;
mod log;
mod marks;
mod queue;

use crate::fs::RealFs;
use crate::{Environment, FlushPolicy, ManualClock, Store, StoreConfig};
