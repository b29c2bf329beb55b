//! Connections to brokers and name servers: one per peer, pipelined, re-made when lost.

mod connection;
mod pool;
mod route;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    connection::{Connection, Reply, expect_success, name_of},
    pool::{Hooks, Peer, Pool},
    route::{MASTER_ID, Routes, TopicRoute},
};
