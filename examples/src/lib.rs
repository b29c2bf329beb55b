//! Programs that show how services use TenonMQ, each run with `cargo run --release --example NAME`.
//!
//! | example | shows |
//! |---|---|
//! | `order_payment` | an order is paid in one database if and only if its stock is deducted and its points are added in two others |
