//! Asks the broker what is there: a little after each start, everything at the end.

use std::{collections::BTreeMap, time::Duration};

use tenonmq_client::{Error, MessageQueue, PullConsumer};
use tokio::time::Instant;

use super::{
    Failure, Scene,
    ledger::name_in,
    names,
    verdict::{Found, Verdict},
    victim::Saved,
};

/// A broker that is ready answers within this time.
const PATIENCE: Duration = Duration::from_secs(10);
const TOPICS: [&str; 7] =
    [names::PLAIN, names::TIMED, names::PAID, names::LEASED, names::HARD, names::RETRY, names::DEAD];

/// Reads by offsets of its own, and commits nothing.
pub(super) struct Auditor {
    by_group: BTreeMap<&'static str, PullConsumer>,
    all: PullConsumer,
}

impl Auditor {
    pub(super) async fn connect(scene: &Scene) -> Result<Self, Failure> {
        let mut by_group = BTreeMap::new();
        for group in [names::READERS, names::WORKERS] {
            by_group.insert(group, PullConsumer::builder(scene.client.clone()).group(group).connect().await?);
        }
        let all = PullConsumer::builder(scene.client.clone()).group("auditors").pull_batch(500).connect().await?;
        Ok(Self { by_group, all })
    }

    /// What is cheap: committed offsets, and the last answered message of each queue.
    pub(super) async fn after_start(&mut self, scene: &Scene, saved: Option<&Saved>) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            let looked = async {
                self.offsets_stand(scene, saved).await?;
                self.last_ones_are_there(scene).await
            };
            match looked.await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retryable() && Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(format!("the broker does not answer after its start: {error}").into()),
            }
        }
    }

    /// `saved` are those that a power cut had to leave.
    async fn offsets_stand(&self, scene: &Scene, saved: Option<&Saved>) -> Result<(), Error> {
        for ((group, topic, queue), before) in scene.ledger.offsets() {
            let Some(consumer) = self.by_group.get(group) else { continue };
            let found = consumer.committed(&MessageQueue::new(topic, "broker-a", queue)).await?.unwrap_or(0);
            let asked = scene.ledger.offsets().get(&(group, topic, queue)).map_or(0, |now| now.asked);
            let least = match saved {
                Some(saved) => saved.of(group, topic, queue),
                None => before.answered.unwrap_or(0),
            };
            if found < least || found > asked {
                scene.ledger.violation(format!(
                    "offset of {group} in {topic} {queue}: {before:?}, at least {least}, and {found} is there"
                ));
            }
        }
        Ok(())
    }

    async fn last_ones_are_there(&self, scene: &Scene) -> Result<(), Error> {
        for ((topic, queue_id), (offset, name)) in scene.ledger.last_stored() {
            let queue = MessageQueue::new(topic, "broker-a", queue_id);
            self.all.seek(&queue, offset);
            let pulled = self.all.pull(&queue).await?;
            let found = pulled.messages.first().map(|message| (message.queue_offset(), name_in(message.body())));
            if found != Some((offset, Some(&*name))) {
                let what = format!("{name} was stored at {offset} of {topic} {queue_id}, and there is {found:?}");
                scene.ledger.violation(what);
            }
        }
        Ok(())
    }

    /// Reads every queue from its beginning.
    pub(super) async fn read_all(&mut self, scene: &Scene) -> Result<Verdict, Failure> {
        let mut found = Vec::new();
        let mut gaps = Vec::new();
        for topic in TOPICS {
            let queues = match self.all.queues(topic).await {
                Err(Error::NoRoute { .. }) => continue, // a topic that nobody needed
                queues => queues?,
            };
            for queue in queues {
                self.read_queue(topic, &queue, &mut found, &mut gaps).await?;
            }
        }
        Ok(Verdict::new(&scene.ledger, &found, gaps))
    }

    async fn read_queue(
        &self,
        topic: &'static str,
        queue: &MessageQueue,
        found: &mut Vec<Found>,
        gaps: &mut Vec<String>,
    ) -> Result<(), Error> {
        self.all.seek(queue, 0);
        let mut next = 0;
        loop {
            let pulled = self.all.pull(queue).await?;
            for message in &pulled.messages {
                if message.queue_offset() != next {
                    gaps.push(format!("{topic} {}: {next} is missing", queue.queue_id));
                }
                next = message.queue_offset() + 1;
                found.push(Found {
                    topic,
                    place: (queue.queue_id, message.queue_offset()),
                    name: name_in(message.body()).unwrap_or("?").to_owned(),
                    body_len: message.body().len(),
                    stored_ms: message.store_timestamp_ms(),
                    tries: message.reconsume_times(),
                });
            }
            if pulled.messages.is_empty() {
                if next < pulled.max_offset {
                    gaps.push(format!("{topic} {}: read up to {next} of {}", queue.queue_id, pulled.max_offset));
                }
                return Ok(());
            }
        }
    }
}
