//! Whole-system tests of TenonMQ: the harness, and the scenarios that several test files share.

pub mod client_suite;
pub mod own_broker;
pub mod simulation;
