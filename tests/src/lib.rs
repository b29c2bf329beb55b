//! tests of TenonMQ.
pub mod client_suite;
