//! The broker of TenonMQ.

pub mod admin;
pub mod config;
pub mod core;
pub mod dead_letter;
pub mod delay;
pub mod error;
pub mod filter;
pub mod group;
pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod namesrv;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod remoting;
pub mod reply;
pub mod retry;
pub mod route;
pub mod send;
pub mod timer;
pub mod transaction;
