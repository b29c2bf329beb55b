//! The broker of TenonMQ.

pub mod config;
pub mod core;
pub mod error;
pub mod lifecycle;
pub mod namesrv;
pub mod remoting;
pub mod route;
pub mod send;
