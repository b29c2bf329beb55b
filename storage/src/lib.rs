//! storage of TenonMQ.
