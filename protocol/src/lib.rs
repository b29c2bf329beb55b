//! protocol of TenonMQ.
