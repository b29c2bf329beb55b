//! tests of TenonMQ.
