//! Bodies that are JSON on the wire, as structs. Keys are camel case and in alphabetical order, as Apache writes them.
//!
//! Read them with [`json::from_slice`], write them with [`json::to_vec`]: both know the dialect.

#[macro_use]
mod macros;

pub mod admin;
pub mod dead_letter_desk;
pub mod desk;
pub mod filter;
pub mod group;
pub mod heartbeat;
pub mod json;
pub mod offset;
pub mod offset_desk;
pub mod pop;
pub mod queue;
pub mod register;
pub mod route;
pub mod running;
pub mod stats;
pub mod subscription_desk;
pub mod timer_desk;
pub mod topic;
pub mod transaction_desk;

pub use self::admin::*;
pub use self::filter::*;
pub use self::group::*;
pub use self::heartbeat::*;
pub use self::json::JsonError;
pub use self::offset::*;
pub use self::pop::*;
pub use self::queue::*;
pub use self::register::RegisterError;
pub use self::route::*;
pub use self::running::*;
pub use self::stats::*;
pub use self::subscription_desk::*;
pub use self::topic::*;
