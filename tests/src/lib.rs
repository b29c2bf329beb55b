//! Whole-system tests of TenonMQ: the harness, and the scenarios that several test files share.

pub mod bit_flips;
pub mod broker_process;
pub mod client_suite;
pub mod crash;
pub mod disk_faults;
pub mod fuzzing;
pub mod network;
pub mod own_broker;
pub mod power_cut;
pub mod simulation;
pub mod temporary_broker;
pub mod tiny_store;
