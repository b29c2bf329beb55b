//! The broker of TenonMQ.

pub mod config;
