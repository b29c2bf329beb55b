//! Those who send. What was not answered is sent again until it is, as an application would.

use std::time::Duration;

use rand::{Rng, rngs::StdRng};
use tenonmq_client::{
    Check, CheckError, CheckListener, LocalState, Message, Producer, TransactionListener, TransactionProducer,
};
use tokio::task::JoinHandle;

use crate::{
    Failure, Scene,
    ledger::{Decision, Kind},
    names,
};

/// Sends of one message before the run is given up: the broker is away for less than a second.
const MOST_SENDS: u32 = 200;
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// Sequences of ordered messages.
const KEYS: u32 = 8;
/// By the broker's settings.
const LEVEL_OF_TWO_SECONDS: u8 = 2;

pub(crate) type Task = JoinHandle<Result<(), Failure>>;

/// The senders, which end when enough is sent, and the one that goes on to answer checks.
pub(crate) async fn start(scene: &Scene) -> Result<(Vec<Task>, Task), Failure> {
    let mut tasks = Vec::new();
    for (number, what) in What::ALL.into_iter().enumerate() {
        if scene.without.contains(&what) {
            continue;
        }
        // No retries inside the client, so that every send is in the ledger.
        let group = format!("producers-{number}");
        let builder = Producer::builder(scene.name_server.as_str()).group(group).send_timeout(SEND_TIMEOUT).retries(0);
        let producer = builder.connect().await?;
        let (scene, choices) = (scene.clone(), scene.choices(100 + number as u64));
        tasks.push(tokio::spawn(async move { send(scene, producer, what, choices).await }));
    }
    let listener = Payments(scene.clone());
    let builder = TransactionProducer::builder(scene.name_server.as_str()).group("payers").send_timeout(SEND_TIMEOUT);
    let producer = builder.retries(0).listener(listener).connect().await?;
    let (scene, choices) = (scene.clone(), scene.choices(200));
    let payer = tokio::spawn(async move { pay(scene, producer, choices).await });
    Ok((tasks, payer))
}

/// What the ordinary producers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    Plain,
    Ordered,
    Timed,
    Leased,
}

impl What {
    const ALL: [Self; 4] = [Self::Plain, Self::Ordered, Self::Timed, Self::Leased];
}

async fn send(scene: Scene, producer: Producer, what: What, mut choices: StdRng) -> Result<(), Failure> {
    let mut numbers = [0_u32; KEYS as usize];
    while !scene.sent_enough.is_cancelled() {
        tokio::time::sleep(scene.pause).await;
        match what {
            What::Plain => until_stored(&scene, &producer, Kind::Plain, None, plain).await?,
            What::Leased => until_stored(&scene, &producer, Kind::Leased, None, leased).await?,
            What::Ordered => {
                let key = choices.random_range(0..KEYS);
                let number = &mut numbers[key as usize];
                let kind = Kind::Ordered { key, number: *number };
                *number += 1;
                until_stored(&scene, &producer, kind, Some(format!("key-{key}")), ordered).await?;
            }
            What::Timed => {
                let by_level = choices.random_bool(0.5);
                let delay = Duration::from_millis(if by_level { 2_000 } else { choices.random_range(500..4_000) });
                let timed = move |name| {
                    let message = Message::new(names::TIMED, name);
                    if by_level { message.delay_level(LEVEL_OF_TWO_SECONDS) } else { message.delay(delay) }
                };
                until_stored(&scene, &producer, Kind::Timed(delay), None, timed).await?;
            }
        }
    }
    producer.shutdown().await;
    Ok(())
}

fn plain(name: String) -> Message {
    Message::new(names::PLAIN, name)
}

fn leased(name: String) -> Message {
    Message::new(names::LEASED, name)
}

fn ordered(name: String) -> Message {
    Message::new(names::ORDERED, name)
}

/// Sends one message until a send is answered with success; all with one key go to one queue.
async fn until_stored(
    scene: &Scene,
    producer: &Producer,
    kind: Kind,
    key: Option<String>,
    message: impl Fn(String) -> Message,
) -> Result<(), Failure> {
    let name = scene.ledger.open_entry(kind);
    let mut last = None;
    for _ in 0..MOST_SENDS {
        scene.ledger.sends(&name);
        let message = message(name.clone());
        let sent = match &key {
            Some(key) => producer.send_by_key(key, message).await,
            None => producer.send(message).await,
        };
        match sent {
            Ok(_) => {
                scene.ledger.stored(&name);
                return Ok(());
            }
            Err(error) if error.is_retryable() => last = Some(error),
            Err(error) => return Err(format!("a send that can never succeed: {error}").into()),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{name} ({kind:?}) was not stored in {MOST_SENDS} sends, the last error is {last:?}").into())
}

async fn pay(scene: Scene, producer: TransactionProducer<Payments>, mut choices: StdRng) -> Result<(), Failure> {
    producer.watch(names::PAID).await?;
    while !scene.sent_enough.is_cancelled() {
        tokio::time::sleep(scene.pause).await;
        let name = scene.ledger.open_entry(Kind::Paid);
        let decision = if choices.random_bool(0.7) { Decision::Commit } else { Decision::Rollback };
        let plan = Plan { decision, tells: choices.random_bool(0.8) };
        scene.ledger.sends(&name);
        // Whatever the answer: if the local transaction ran, its decision stands in the ledger.
        drop(producer.send_in_transaction(Message::new(names::PAID, name), plan).await);
    }
    // Checks go on to the end.
    scene.over.cancelled().await;
    producer.shutdown().await;
    Ok(())
}

/// A local transaction: what it comes to, and whether the broker is told at once or has to ask.
struct Plan {
    decision: Decision,
    tells: bool,
}

struct Payments(Scene);

impl Payments {
    fn settle(&self, message: &Message, decision: Decision) -> LocalState {
        let name = String::from_utf8_lossy(message.body());
        match self.0.ledger.decide(&name, decision) {
            Decision::Commit => LocalState::Commit,
            Decision::Rollback => LocalState::Rollback,
        }
    }
}

impl TransactionListener for Payments {
    type Input = Plan;

    async fn execute_local_transaction(&self, message: &Message, plan: Plan) -> LocalState {
        let state = self.settle(message, plan.decision);
        if plan.tells { state } else { LocalState::Unknown }
    }
}

impl CheckListener for Payments {
    /// A half message whose local transaction never ran is rolled back.
    async fn check_local_transaction(&self, check: Check) -> Result<LocalState, CheckError> {
        Ok(self.settle(check.message(), Decision::Rollback))
    }
}
