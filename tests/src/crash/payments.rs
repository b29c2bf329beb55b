//! Transactions: most are decided at once, some when the broker asks.

use std::sync::Arc;

use rand::{Rng, rngs::StdRng};
use tenonmq_client::{Check, CheckError, CheckListener, Error, LocalState, Message, TransactionProducer};

use super::{
    Failure, Scene, Task,
    ledger::{Decision, Kind, Ledger, body, name_in},
    names,
    senders::{SEND_TIMEOUT, pause_after},
};

const PAYERS: u64 = 2;

/// The tasks that begin transactions, and those that answer checks to the end.
pub(super) async fn start(scene: &Scene) -> Result<(Vec<Task>, Vec<Task>), Failure> {
    let (mut payers, mut answering) = (Vec::new(), Vec::new());
    for number in 0..PAYERS {
        let builder = TransactionProducer::builder(scene.client.clone()).group("payers");
        let builder = builder.send_timeout(SEND_TIMEOUT).retries(0).listener(Answers(Arc::clone(&scene.ledger)));
        let producer = Arc::new(builder.connect().await?);
        producer.watch(names::PAID).await?;
        let payer = Payer { producer: Arc::clone(&producer), name: format!("p{number}"), scene: scene.clone() };
        payers.push(tokio::spawn(payer.run(scene.choices(200 + number))));
        let over = scene.over.clone();
        answering.push(tokio::spawn(async move {
            over.cancelled().await;
            producer.shutdown().await;
            Ok(())
        }));
    }
    Ok((payers, answering))
}

struct Payer {
    producer: Arc<TransactionProducer<Answers>>,
    name: String,
    scene: Scene,
}

impl Payer {
    async fn run(self, mut choices: StdRng) -> Result<(), Failure> {
        let mut number = 0;
        while !self.scene.sent_enough.is_cancelled() {
            let name = format!("{}-{number:08}", self.name);
            number += 1;
            let paid = self.pay(&name, &mut choices).await;
            pause_after(paid, &self.scene).await?;
        }
        Ok(())
    }

    async fn pay(&self, name: &str, choices: &mut StdRng) -> Result<(), Error> {
        let ledger = &self.scene.ledger;
        let body = body(name, choices.random_range(20..1_500));
        ledger.sends(name, Kind::Paid, body.len());
        let prepared = self.producer.prepare(Message::new(names::PAID, body).key(name)).await?;
        ledger.stored(name, (prepared.receipt().queue.queue_id, prepared.receipt().queue_offset));
        if choices.random_bool(0.2) {
            return Ok(()); // left to the check
        }
        match ledger.decide(name, decision_on(name)) {
            Decision::Commit => prepared.commit().await,
            Decision::Rollback => prepared.rollback().await,
        }
    }
}

/// The same whoever decides, and when.
fn decision_on(name: &str) -> Decision {
    let number = name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    if number % 10 < 7 { Decision::Commit } else { Decision::Rollback }
}

struct Answers(Arc<Ledger>);

impl CheckListener for Answers {
    async fn check_local_transaction(&self, check: Check) -> Result<LocalState, CheckError> {
        let name = name_in(check.message().body()).ok_or("a check with a body that nobody sent")?;
        Ok(match self.0.decide(name, decision_on(name)) {
            Decision::Commit => LocalState::Commit,
            Decision::Rollback => LocalState::Rollback,
        })
    }
}
