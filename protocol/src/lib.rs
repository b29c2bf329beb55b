//! Bytes on the wire and in the log, and the values they stand for.
//!
//! Everything here is a pure function of bytes: no sockets, no tasks, no clock, no state between calls. The remoting
//! protocol of Apache RocketMQ 4.9 and 5.x is spoken exactly; what a peer sends is never trusted, so every parser
//! answers garbage with an error that names what was wrong, and never panics.
//!
//! * [`message`]: the stored record, property text, batches, ids, compression. All that `storage` needs.

pub mod message;
