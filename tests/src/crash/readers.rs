//! Those who read queues and commit offsets; some send messages back.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use rand::{Rng, rngs::StdRng};
use tenonmq_client::{Error, MessageQueue, PullConsumer, ReceivedMessage};

use super::{Failure, Scene, Task, ledger::name_in, names, send_back::SendBacks};

const AWAY: Duration = Duration::from_millis(20);

/// Readers of two groups.
pub(super) async fn start(scene: &Scene) -> Result<Vec<Task>, Failure> {
    let mut tasks = Vec::new();
    let groups = [
        (300, names::READERS, &[names::PLAIN, names::PAID, names::TIMED][..]),
        (301, names::WORKERS, &[names::HARD, names::RETRY][..]),
    ];
    for (number, group, topics) in groups {
        let builder = PullConsumer::builder(scene.client.clone()).group(group).pull_batch(64);
        let reader = Reader {
            consumer: builder.connect().await?,
            group,
            back: (group == names::WORKERS).then(|| SendBacks::new(scene.broker.clone())),
            known: BTreeSet::new(),
            cuts: 0,
            scene: scene.clone(),
        };
        tasks.push(tokio::spawn(reader.run(topics, scene.choices(number))));
    }
    Ok(tasks)
}

struct Reader {
    consumer: PullConsumer,
    group: &'static str,
    /// Of those who send back.
    back: Option<SendBacks>,
    known: BTreeSet<MessageQueue>,
    /// What it knows of `Scene::cuts`.
    cuts: u32,
    scene: Scene,
}

impl Reader {
    async fn run(mut self, topics: &[&'static str], mut choices: StdRng) -> Result<(), Failure> {
        while !self.scene.over.is_cancelled() {
            let mut is_idle = true;
            for &topic in topics {
                if self.cuts != self.scene.cuts.load(Ordering::SeqCst) && !self.begin_anew().await {
                    tokio::time::sleep(AWAY).await;
                    continue;
                }
                match self.read(topic, &mut choices).await {
                    Ok(found) => is_idle &= !found,
                    Err(error) if error.is_retryable() => {}
                    Err(error) => return Err(format!("a reader can never succeed: {error}").into()),
                }
            }
            if is_idle {
                tokio::time::sleep(AWAY).await;
            }
        }
        self.consumer.shutdown().await;
        Ok(())
    }

    /// After a power cut: what was read may be gone, so that it goes on where the broker says. False when that cannot be
    /// asked yet.
    async fn begin_anew(&mut self) -> bool {
        let cuts = self.scene.cuts.load(Ordering::SeqCst);
        if cuts % 2 == 1 {
            return self.scene.over.is_cancelled();
        }
        for queue in self.known.clone() {
            match self.consumer.committed(&queue).await {
                Ok(committed) => self.consumer.seek(&queue, committed.unwrap_or(0)),
                Err(_) => return false,
            }
        }
        self.cuts = cuts;
        true
    }

    /// Pulls once from each queue of a topic; whether there was something.
    async fn read(&mut self, topic: &'static str, choices: &mut StdRng) -> Result<bool, Error> {
        let mut found = false;
        for queue in self.consumer.queues(topic).await? {
            let before = self.consumer.position(&queue).unwrap_or(0);
            if self.known.insert(queue.clone()) {
                self.consumer.seek(&queue, 0);
            }
            let pulled = self.consumer.pull(&queue).await?;
            if self.cuts != self.scene.cuts.load(Ordering::SeqCst) {
                return Ok(true); // what was pulled may be gone
            }
            if pulled.next_offset < before {
                let what = format!("{queue:?} was read up to {before}, and ends at {} now", pulled.next_offset);
                self.scene.ledger.violation(what);
            }
            for message in &pulled.messages {
                self.take(message).await;
            }
            found |= !pulled.messages.is_empty();
            if pulled.next_offset > before && choices.random_bool(0.6) {
                self.commit(topic, &queue, pulled.next_offset).await?;
            }
        }
        Ok(found)
    }

    async fn commit(&self, topic: &'static str, queue: &MessageQueue, offset: i64) -> Result<(), Error> {
        if self.cuts != self.scene.cuts.load(Ordering::SeqCst) {
            return Ok(());
        }
        let key = (self.group, topic, queue.queue_id);
        self.scene.ledger.commits(key, offset);
        self.consumer.commit(queue, offset).await?;
        self.scene.ledger.committed(key, offset);
        Ok(())
    }

    /// Sends it back, if its processing fails, until that is answered.
    async fn take(&mut self, message: &ReceivedMessage) {
        let (Some(back), Some(name)) = (&mut self.back, name_in(message.body())) else { return };
        let tries = message.reconsume_times();
        while fails(name, tries) && !self.scene.over.is_cancelled() {
            self.scene.ledger.sends_back(name, tries);
            if back.ask(message).await {
                self.scene.ledger.sent_back(name, tries);
                return;
            }
            tokio::time::sleep(AWAY).await;
        }
    }
}

/// Whether a processing fails: three in ten, but three in five once it has failed, so that some become dead letters.
pub(super) fn fails(name: &str, tries: i32) -> bool {
    let number =
        name.bytes().fold(tries.unsigned_abs(), |sum, byte| sum.wrapping_mul(37).wrapping_add(u32::from(byte)));
    number % 10 < if tries == 0 { 3 } else { 6 }
}
