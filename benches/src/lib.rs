//! benches of TenonMQ.
