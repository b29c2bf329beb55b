//! examples of TenonMQ.
