//! Requests about dead letters, to be sent with [`Admin::ask`](crate::Admin::ask). Only our broker knows them.
//!
//! ```no_run
//! # async fn example() -> Result<(), tenonmq_client::Error> {
//! use tenonmq_client::{Admin, dead_letters::{DeadLetterFilter, ListDeadLetters, StartRedrive}};
//! let admin = Admin::connect("127.0.0.1:9876").await?;
//! for broker in admin.masters().await? {
//!     for group in admin.ask(&broker, &ListDeadLetters::default()).await?.groups {
//!         println!("{}: {} dead letters", group.group, group.messages);
//!     }
//!     // count by cause what would be sent again, and send nothing
//!     let filter = DeadLetterFilter { cause: Some("timeout".into()), ..DeadLetterFilter::default() };
//!     let redrive = StartRedrive { group: "billing".into(), dry_run: true, filter, ..StartRedrive::default() };
//!     println!("{:?}", admin.ask(&broker, &redrive).await?);
//! }
//! # Ok(()) }
//! ```

pub use tenonmq_protocol::body::dead_letter_desk::*;
