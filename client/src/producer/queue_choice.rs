//! Which queue a message goes to.

use std::sync::Arc;

use tenonmq_protocol::message::{properties::java_hash, queue::MessageQueue};

use crate::{error::Error, transport::TopicRoute};

/// How the attempts of one send find their queue.
pub(crate) enum QueueChoice<'a> {
    /// In turn; another broker after a failure.
    InTurn,
    /// This one, every time: order among messages matters more than getting through.
    Exactly(&'a MessageQueue),
    /// In turn among those of this broker, every time.
    AtBroker(&'a str),
}

impl QueueChoice<'_> {
    /// The queue of the next attempt. `failed` is the broker of the attempt before.
    pub(crate) fn choose(
        &self,
        route: &TopicRoute,
        failed: Option<&str>,
        is_unreachable: impl Fn(&str) -> bool,
    ) -> Option<Arc<MessageQueue>> {
        match self {
            Self::Exactly(queue) => Some(Arc::new((*queue).clone())),
            Self::AtBroker(broker) => {
                let at_broker = |queue: &MessageQueue| queue.broker_name == *broker;
                route.next_queue(at_broker).filter(|queue| at_broker(queue)).cloned()
            }
            Self::InTurn => {
                let usable = |queue: &MessageQueue| {
                    Some(queue.broker_name.as_str()) != failed
                        && route.master(&queue.broker_name).is_ok_and(|address| !is_unreachable(address))
                };
                route.next_queue(usable).cloned()
            }
        }
    }
}

impl QueueChoice<'_> {
    /// The error when there is no such queue.
    pub(crate) fn not_found(&self, topic: &str) -> Error {
        let topic = topic.to_owned();
        match self {
            Self::AtBroker(broker) => Error::NotOnBroker { topic, broker: (*broker).to_owned() },
            Self::InTurn | Self::Exactly(_) => Error::NoRoute { topic },
        }
    }
}

/// The index that upstream's hash selector gives a key among `count` queues.
pub fn index_by_key(key: &str, count: usize) -> usize {
    java_hash(key).unsigned_abs() as usize % count.max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use tenonmq_protocol::body::route::{BrokerData, QueueData, TopicRoute as RouteBody};

    fn two_brokers() -> TopicRoute {
        let broker = |name: &str, port: u16| BrokerData {
            broker_name: name.into(),
            broker_addrs: BTreeMap::from([(0, format!("127.0.0.1:{port}"))]),
            ..BrokerData::default()
        };
        let queues = |name: &str| QueueData {
            broker_name: name.into(),
            read_queue_nums: 2,
            write_queue_nums: 2,
            perm: 6,
            ..QueueData::default()
        };
        let data = RouteBody {
            brokers: vec![broker("a", 1), broker("b", 2)],
            queues: vec![queues("a"), queues("b")],
            ..RouteBody::default()
        };
        TopicRoute::from_data("T", data)
    }

    #[test]
    fn queues_are_taken_in_turn() {
        let route = two_brokers();
        let pick = || QueueChoice::InTurn.choose(&route, None, |_| false).map(|q| (q.broker_name.clone(), q.queue_id));
        let taken: Vec<_> = (0..4).filter_map(|_| pick()).collect();
        assert_eq!(taken, [("a".into(), 0), ("a".into(), 1), ("b".into(), 0), ("b".into(), 1)]);
    }

    #[test]
    fn an_attempt_after_a_failure_goes_to_another_broker() {
        let route = two_brokers();
        for _ in 0..4 {
            let queue = QueueChoice::InTurn.choose(&route, Some("a"), |_| false);
            assert_eq!(queue.map(|q| q.broker_name.clone()).as_deref(), Some("b"));
        }
    }

    #[test]
    fn a_broker_that_cannot_be_reached_is_left_out_while_there_is_another() {
        let route = two_brokers();
        for _ in 0..4 {
            let queue = QueueChoice::InTurn.choose(&route, None, |address| address.ends_with(":2"));
            assert_eq!(queue.map(|q| q.broker_name.clone()).as_deref(), Some("a"));
        }
        assert!(QueueChoice::InTurn.choose(&route, None, |_| true).is_some());
    }

    #[test]
    fn the_queues_of_one_broker_are_taken_in_turn_and_no_other_ones() {
        let (route, choice) = (two_brokers(), QueueChoice::AtBroker("b"));
        let taken: Vec<_> = (0..3).filter_map(|_| choice.choose(&route, Some("b"), |_| true)).collect();
        assert!(taken.iter().all(|queue| queue.broker_name == "b"), "{taken:?}");
        let elsewhere = QueueChoice::AtBroker("c");
        assert!(elsewhere.choose(&route, None, |_| false).is_none());
        assert!(matches!(elsewhere.not_found("T"), Error::NotOnBroker { .. }));
    }

    #[test]
    fn one_key_always_goes_to_one_queue() {
        assert_eq!(index_by_key("order-42", 4), index_by_key("order-42", 4));
        assert!(index_by_key("", 3) < 3);
    }
}
