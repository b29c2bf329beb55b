//! Those who send. Each message is sent once: what was not answered is left as it is.

use std::time::{Duration, UNIX_EPOCH};

use rand::{Rng, rngs::StdRng};
use tenonmq_client::{Error, Message, Producer, SendReceipt, SendStatus};

use super::{
    Failure, Scene, Task,
    ledger::{Kind, Recall, body, now_ms},
    names,
};

pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait when the broker is away.
const AWAY: Duration = Duration::from_millis(20);
/// A recall that is answered so long before the timer is due was in time.
const MARGIN_MS: i64 = 200;
const SEQUENCES: u32 = 6;

/// How one of them sends.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// One after the other, to any queue.
    InTurn(&'static str, Kind),
    /// Several at a time.
    Batches,
    /// To the queue of a key.
    ByKey,
    Timers,
}

pub(super) async fn start(scene: &Scene) -> Result<Vec<Task>, Failure> {
    let manners = [
        Manner::InTurn(names::PLAIN, Kind::Plain),
        Manner::InTurn(names::PLAIN, Kind::Plain),
        Manner::InTurn(names::LEASED, Kind::Leased),
        Manner::InTurn(names::HARD, Kind::Hard),
        Manner::Batches,
        Manner::ByKey,
        Manner::ByKey,
        Manner::Timers,
        Manner::Timers,
    ];
    let mut tasks = Vec::new();
    for (number, manner) in (0..).zip(manners) {
        let builder = Producer::builder(scene.client.clone()).group(format!("senders-{number}"));
        let producer = builder.send_timeout(SEND_TIMEOUT).retries(0).connect().await?;
        let sender = Sender { producer, name: format!("s{number}"), sent: 0, scene: scene.clone() };
        let choices = scene.choices(100 + number);
        tasks.push(tokio::spawn(sender.run(manner, choices)));
    }
    Ok(tasks)
}

struct Sender {
    producer: Producer,
    name: String,
    sent: u64,
    scene: Scene,
}

impl Sender {
    async fn run(mut self, manner: Manner, mut choices: StdRng) -> Result<(), Failure> {
        while !self.scene.sent_enough.is_cancelled() {
            let sent = match manner {
                Manner::InTurn(topic, kind) => self.send_one(topic, kind, &mut choices).await,
                Manner::Batches => self.send_batch(&mut choices).await,
                Manner::ByKey => self.send_by_key(&mut choices).await,
                Manner::Timers => self.send_timer(&mut choices).await,
            };
            pause_after(sent, &self.scene).await?;
        }
        self.producer.shutdown().await;
        Ok(())
    }

    /// Notes a new message and makes it.
    fn begin(&mut self, topic: &str, kind: Kind, choices: &mut StdRng) -> (String, Message) {
        let sequence = choices.random_range(0..SEQUENCES);
        self.begin_in(topic, kind, sequence, choices)
    }

    fn begin_in(&mut self, topic: &str, kind: Kind, sequence: u32, choices: &mut StdRng) -> (String, Message) {
        let name = format!("{}-{:08}", self.name, self.sent);
        self.sent += 1;
        let body = body(&name, choices.random_range(20..2_500));
        self.scene.ledger.sends(&name, kind, body.len());
        let message = Message::new(topic, body).key(&name).tag(format!("t{sequence}"));
        (name, message)
    }

    async fn send_one(&mut self, topic: &'static str, kind: Kind, choices: &mut StdRng) -> Result<(), Error> {
        let (name, message) = self.begin(topic, kind, choices);
        let receipt = self.producer.send(message).await?;
        self.answered(&name, topic, &receipt);
        Ok(())
    }

    async fn send_by_key(&mut self, choices: &mut StdRng) -> Result<(), Error> {
        let sequence = choices.random_range(0..SEQUENCES);
        let (name, message) = self.begin_in(names::PLAIN, Kind::Plain, sequence, choices);
        let receipt = self.producer.send_by_key(&format!("key-{sequence}"), message).await?;
        self.answered(&name, names::PLAIN, &receipt);
        Ok(())
    }

    async fn send_batch(&mut self, choices: &mut StdRng) -> Result<(), Error> {
        let count = choices.random_range(2..8);
        let (names, messages): (Vec<_>, Vec<_>) =
            (0..count).map(|_| self.begin(names::PLAIN, Kind::Plain, choices)).unzip();
        let receipt = self.producer.send_batch(messages).await?;
        if receipt.status != SendStatus::Ok {
            return Ok(());
        }
        for (offset, name) in (receipt.first_queue_offset..).zip(names) {
            self.scene.ledger.visible(&name, names::PLAIN, (receipt.queue.queue_id, offset));
        }
        Ok(())
    }

    async fn send_timer(&mut self, choices: &mut StdRng) -> Result<(), Error> {
        let due = now_ms() + choices.random_range(100..3_000);
        let (name, message) = self.begin(names::TIMED, Kind::Timed(due), choices);
        let at = UNIX_EPOCH + Duration::from_millis(due.unsigned_abs());
        let receipt = self.producer.send(message.deliver_at(at)).await?;
        if receipt.status != SendStatus::Ok {
            return Ok(());
        }
        self.scene.ledger.stored(&name, (receipt.queue.queue_id, receipt.queue_offset));
        if let Some(handle) = receipt.recall_handle
            && choices.random_bool(0.3)
        {
            self.scene.ledger.recall(&name, Recall::Unknown);
            self.producer.recall(names::TIMED, &handle).await?;
            if now_ms() + MARGIN_MS < due {
                self.scene.ledger.recall(&name, Recall::Done);
            }
        }
        Ok(())
    }

    fn answered(&self, name: &str, topic: &'static str, receipt: &SendReceipt) {
        if receipt.status == SendStatus::Ok {
            self.scene.ledger.visible(name, topic, (receipt.queue.queue_id, receipt.queue_offset));
        }
    }
}

/// Waits a little, or until the broker may be back. What can never succeed ends the run.
pub(super) async fn pause_after(outcome: Result<(), Error>, scene: &Scene) -> Result<(), Failure> {
    match outcome {
        Ok(()) => tokio::time::sleep(scene.pause).await,
        Err(error) if error.is_retryable() => tokio::time::sleep(AWAY).await,
        // a timer that is due already is not recalled
        Err(Error::Refused { operation: "RECALL_MESSAGE", .. }) => {}
        Err(error) => return Err(format!("what can never succeed: {error}").into()),
    }
    Ok(())
}
