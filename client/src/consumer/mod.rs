//! Receiving messages.
//!
//! [`PushConsumer`] is the usual one: it divides the queues among the members of its group, keeps long polls open, and
//! hands each message to a [`MessageListener`]. [`PullConsumer`] leaves queues, positions and commits to the caller.

mod assignment;
mod builder;
mod conflict;
mod dispatch;
mod failure;
mod fetch;
mod filter_check;
mod flow;
#[cfg(test)]
mod flow_tests;
mod listener;
mod lock;
mod members;
mod offset;
mod operators;
mod ordered;
#[cfg(test)]
mod ordered_tests;
mod pause;
mod pop_lane;
#[cfg(test)]
mod pop_lane_tests;
mod process_queue;
mod progress;
mod pull;
mod pull_loop;
mod push;
pub(crate) mod queries;
mod rebalance;
mod role;
mod send_back;
mod subscription;

pub use self::{
    builder::PushConsumerBuilder,
    failure::Failure,
    fetch::PullStatus,
    listener::{ConsumeOutcome, MessageListener},
    offset::BroadcastOffsets,
    pause::Scope,
    progress::{QueueProgress, QueueState},
    pull::{PullConsumer, PullConsumerBuilder, Pulled},
    push::PushConsumer,
    rebalance::allocate_averagely,
    subscription::Filter,
};
pub(crate) use self::{
    conflict::check_conflicts,
    filter_check::check_filters,
    push::consume_from_name,
    role::{ConsumerRole, Subscription, Subscriptions},
};

use std::time::SystemTime;

/// Where a group begins in a queue that it has never consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsumeFrom {
    /// Behind the newest message. (A broker that still holds a queue's first message starts a new group there all the
    /// same, so that nothing sent while a topic is new is missed.)
    #[default]
    Latest,
    /// With the oldest message that the broker still has.
    Earliest,
    /// With the first message stored at that time or later.
    Timestamp(SystemTime),
}
