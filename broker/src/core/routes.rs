//! Which queues of a topic may be read, on all brokers that have it, as the name servers say.
//!
//! Whoever divides queues among clients has to know them all: a broker that divided only its own would take the queues of
//! the others away from its clients. A name server elsewhere is asked once in `loadBalancePollNameServerInterval` for each
//! topic; while none answers, what was known is true still.

use std::{future::Future, pin::Pin, sync::OnceLock, time::Duration};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_protocol::{
    body::{PERM_READ, TopicRoute},
    message::MessageQueue,
};

use super::topics::Topic;

/// What the name servers say of a topic.
#[derive(Debug)]
pub enum Found {
    /// Where it is; whether that is worth keeping for a while.
    Route(Box<TopicRoute>, Keep),
    /// They do not know it.
    NoTopic,
    /// None of them answers.
    NoAnswer,
    /// There are none: this broker is all there is.
    Alone,
}

/// How long a route is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// For this answer: the next one is as cheap.
    No,
    /// It came over the network.
    AWhile,
}

/// Whoever can ask the name servers.
pub trait LookUp: Send + Sync + 'static {
    /// Where a topic is. Resolves in a few seconds at most.
    fn route(&self, topic: &str) -> Pin<Box<dyn Future<Output = Found> + Send>>;
}

/// Routes of topics, as far as somebody asked for them.
pub struct Routes {
    look_up: OnceLock<Box<dyn LookUp>>,
    known: Mutex<FxHashMap<Box<str>, Known>>,
    limit: usize,
}

struct Known {
    queues: Vec<MessageQueue>,
    /// When it was learned, in milliseconds.
    at: i64,
}

impl Routes {
    /// Remembers up to `limit` topics.
    pub fn with_limit(limit: usize) -> Self {
        Self { look_up: OnceLock::new(), known: Mutex::default(), limit }
    }

    /// Asks through `look_up` from now on. Only the first call counts.
    pub fn set(&self, look_up: impl LookUp) {
        let _ = self.look_up.set(Box::new(look_up));
    }

    /// Queues of `topic` that may be read, by broker and number; `own` is the topic on this broker, if it is here. What is
    /// not older than `period` at `now` is not asked for again. `None`: nobody knows the topic, or nobody answers.
    pub async fn readable(
        &self,
        topic: &str,
        own: Option<(&Topic, &str)>,
        now: i64,
        period: Duration,
    ) -> Option<Vec<MessageQueue>> {
        let fresh_from = now.saturating_sub(i64::try_from(period.as_millis()).unwrap_or(i64::MAX));
        if let Some(known) = self.known.lock().get(topic).filter(|known| known.at > fresh_from) {
            return Some(known.queues.clone());
        }
        let found = match self.look_up.get() {
            Some(look_up) => look_up.route(topic).await,
            None => Found::Alone,
        };
        match found {
            Found::Route(route, keep) => {
                let queues = readable(topic, &route);
                if keep == Keep::AWhile {
                    self.keep(topic, Known { queues: queues.clone(), at: now }, fresh_from);
                }
                Some(queues)
            }
            Found::NoTopic => {
                self.known.lock().remove(topic);
                None
            }
            Found::NoAnswer => self.known.lock().get(topic).map(|known| known.queues.clone()),
            Found::Alone => own.map(|(own, broker)| {
                let readable = if own.is_readable() { own.config.read_queue_nums } else { 0 };
                (0..readable).map(|queue_id| MessageQueue::new(topic, broker, queue_id)).collect()
            }),
        }
    }

    fn keep(&self, topic: &str, learned: Known, fresh_from: i64) {
        let mut known = self.known.lock();
        if known.len() >= self.limit && !known.contains_key(topic) {
            known.retain(|_, known| known.at > fresh_from);
        }
        if known.len() < self.limit || known.contains_key(topic) {
            known.insert(topic.into(), learned);
        }
    }
}

/// In the order in which clients count them.
fn readable(topic: &str, route: &TopicRoute) -> Vec<MessageQueue> {
    let of_broker = route.queues.iter().filter(|queues| queues.perm & PERM_READ != 0);
    let each = of_broker.flat_map(|queues| {
        (0..queues.read_queue_nums).map(|queue_id| MessageQueue::new(topic, queues.broker_name.as_str(), queue_id))
    });
    let mut queues: Vec<_> = each.collect();
    queues.sort_by(|one, other| (&one.broker_name, one.queue_id).cmp(&(&other.broker_name, other.queue_id)));
    queues
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenonmq_protocol::body::QueueData;

    use super::*;

    /// A name server that says what it is told to.
    struct Says(Arc<Mutex<Option<Found>>>);

    impl LookUp for Says {
        fn route(&self, _: &str) -> Pin<Box<dyn Future<Output = Found> + Send>> {
            Box::pin(std::future::ready(self.0.lock().take().unwrap_or(Found::NoAnswer)))
        }
    }

    fn route(brokers: &[(&str, i32)]) -> Found {
        let queues = brokers.iter().map(|(name, perm)| QueueData {
            broker_name: (*name).to_owned(),
            perm: *perm,
            read_queue_nums: 2,
            ..QueueData::default()
        });
        Found::Route(Box::new(TopicRoute { queues: queues.collect(), ..TopicRoute::default() }), Keep::AWhile)
    }

    fn shown(queues: Option<Vec<MessageQueue>>) -> Vec<String> {
        let name = |queue: MessageQueue| format!("{}/{}", queue.broker_name, queue.queue_id);
        queues.into_iter().flatten().map(name).collect()
    }

    #[tokio::test]
    async fn queues_of_all_brokers_are_known_and_asked_for_once_in_a_period() {
        let (routes, answer) = (Routes::with_limit(1), Arc::<Mutex<Option<Found>>>::default());
        routes.set(Says(Arc::clone(&answer)));
        let ask = async |topic, now| shown(routes.readable(topic, None, now, Duration::from_millis(30)).await);
        *answer.lock() = Some(route(&[("b", 6), ("a", 4), ("c", 2)]));
        assert_eq!(ask("t", 100).await, ["a/0", "a/1", "b/0", "b/1"]);
        *answer.lock() = Some(route(&[("a", 6)]));
        assert_eq!(ask("t", 129).await.len(), 4, "what was learned is kept");
        assert_eq!(ask("t", 130).await.len(), 2);
        assert_eq!(ask("t", 500).await.len(), 2, "nobody answers: what was known is true still");
        *answer.lock() = Some(Found::NoTopic);
        assert_eq!(ask("t", 501).await.len(), 0);
        assert_eq!(ask("t", 502).await.len(), 0);
    }

    #[tokio::test]
    async fn no_more_topics_are_kept_than_the_limit_says() {
        let (routes, answer) = (Routes::with_limit(1), Arc::<Mutex<Option<Found>>>::default());
        routes.set(Says(Arc::clone(&answer)));
        for topic in ["one", "two"] {
            *answer.lock() = Some(route(&[("a", 6)]));
            assert_eq!(shown(routes.readable(topic, None, 100, Duration::from_millis(30)).await).len(), 2);
        }
        assert_eq!(routes.known.lock().len(), 1);
    }
}
