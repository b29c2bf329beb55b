//! The broker of TenonMQ.

pub mod config;
pub mod namesrv;
pub mod route;
