//! broker of TenonMQ.
