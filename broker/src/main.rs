//! The `tenonmq` binary.
fn main() {}
