//! How clients find this broker: the address they are told, and the name servers that tell it.

pub mod address;
mod link;
mod lookup;
mod registration;
pub use link::{Link, LinkError};
pub use registration::{Registrar, TopicSource, Who};
