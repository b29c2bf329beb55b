//! The tables: what they are called, and how they come to be.
//!
//! A [`Schema`] holds names that have been checked, so that statements can be made of them. [`Schema::migrate`] creates
//! what is missing; [`Schema::sql`] writes the same down for those who run migrations by other means.

mod migrate;
mod names;

pub use self::names::{Schema, Table};
