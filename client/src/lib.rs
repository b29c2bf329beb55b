//! client of TenonMQ.
