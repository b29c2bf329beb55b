//! Compensation through every crash point.

use tenonmq_outbox::{
    Error, Outgoing, Status, Table,
    compensation::{Acknowledgements, FailureEvent, MakeUp, Resend, Unacknowledged},
    fault::Point,
};

use super::{
    bench::{Bench, LEASE_END, NoteDown, TestDatabase, arrived},
    compensation::builder,
};

/// One message of each topic is lost on its way; each topic is compensated in another way.
const TOPICS: [&str; 3] = ["resent", "made_up", "failed_back"];

struct World<'a, D: TestDatabase> {
    bench: &'a Bench<D>,
    effects: NoteDown,
    asked: Vec<(&'static str, String)>,
    /// How many of the broker's messages have been brought to the consumer.
    brought: usize,
    /// Messages that the broker loses once.
    lost: Vec<String>,
}

impl<D: TestDatabase> World<'_, D> {
    async fn go_on(&mut self) -> Result<(), Error> {
        let (bench, outbox) = (self.bench, self.bench.outbox());
        while let Some((topic, id)) = self.asked.first() {
            let mut transaction = bench.pool.begin().await?;
            outbox.publish(&mut transaction, &Outgoing::new(*topic, id, id.clone())).await?;
            transaction.commit().await?;
            self.asked.remove(0);
        }
        bench.relay().pass().await?;
        self.consume().await?;
        self.compensate().await
    }

    async fn consume(&mut self) -> Result<(), Error> {
        let (bench, outbox) = (self.bench, self.bench.outbox());
        let inbox = bench.inbox_builder().acknowledge_to(&outbox, "acknowledged").build();
        while let Some(message) = bench.broker.messages().get(self.brought) {
            let id = message.business_id();
            if let Some(at) = self.lost.iter().position(|lost| lost == id) {
                self.lost.remove(at);
            } else if message.topic() == "acknowledged" {
                self.acknowledgements().collect(&arrived(message)).await?;
            } else if TOPICS.contains(&message.topic()) {
                inbox.receive(&arrived(message), &self.effects).await?;
            }
            self.brought += 1;
        }
        inbox.retrier(self.effects.clone()).pass().await.map(|_| ())
    }

    /// Two scanners of each kind.
    async fn compensate(&self) -> Result<(), Error> {
        let (bench, outbox, inbox) = (self.bench, self.bench.outbox(), self.bench.inbox());
        let of = |topic| Unacknowledged::of(&outbox).topic(topic);
        for _ in 0..2 {
            let resent = builder(bench, "resent").build();
            resent.scanner(of("resent"), self.acknowledgements().of("points"), Resend::from(&outbox)).pass().await?;
            let make_up = MakeUp::through(&inbox, self.effects.clone());
            builder(bench, "made_up").build().scanner(of("made_up"), inbox.clone(), make_up).pass().await?;
            let event = FailureEvent::to("failure", &outbox).barring(&inbox);
            builder(bench, "failed").build().scanner(of("failed_back"), inbox.clone(), event).pass().await?;
        }
        Ok(())
    }

    fn acknowledgements(&self) -> Acknowledgements<D> {
        let table = Acknowledgements::in_table_of(self.bench.pool.clone()).schema(self.bench.schema.clone());
        table.clock(self.bench.clock.clone()).faults(self.bench.faults.clone())
    }
}

pub async fn after_a_crash_anywhere_what_was_lost_is_repaired_once<D: TestDatabase>(bench: &Bench<D>) {
    let of_the_inbox = [Point::ReceiptWritten, Point::EffectsWritten, Point::EffectsKept, Point::PublishWritten];
    for &point in Point::OF_COMPENSATION.iter().chain(&of_the_inbox) {
        for nth in 1..=2 {
            crash(bench, point, nth).await;
        }
    }
}

async fn crash<D: TestDatabase>(bench: &Bench<D>, point: Point, nth: u32) {
    for table in [Table::Published, Table::Received, Table::Compensation, Table::CompensationScan, Table::Acknowledged]
    {
        bench.run(format!("DELETE FROM {}", bench.schema.name(table))).await;
    }
    bench.run(format!("DELETE FROM {}", bench.effects)).await;
    bench.broker.forget();
    let id = |topic: &str, what: &str| format!("{topic}/{what}");
    let asked = TOPICS.iter().flat_map(|topic| [(*topic, id(topic, "fine")), (*topic, id(topic, "lost"))]).collect();
    let lost = TOPICS.iter().map(|topic| id(topic, "lost")).collect();
    let mut world = World { bench, effects: bench.note_down(), asked, brought: 0, lost };
    bench.faults.crash_at_nth(point, nth);
    let mut crashes = 0;
    for _ in 0..16 {
        match world.go_on().await {
            Ok(()) => {}
            Err(Error::Crashed(at)) if at == point => {
                crashes += 1;
                bench.bury().await;
            }
            Err(other) => panic!("{point:?} {nth}: {other}"),
        }
        bench.clock.advance(LEASE_END);
    }
    assert!(crashes == 1 || nth > 1, "{point:?} was never reached");
    bench.faults.disarm();
    for topic in TOPICS {
        let times = (bench.times(&id(topic, "fine")).await, bench.times(&id(topic, "lost")).await);
        let expected = if topic == "failed_back" { (1, 0) } else { (1, 1) };
        assert_eq!(times, expected, "{point:?} {nth}: {topic}");
    }
    let told =
        bench.broker.ids().into_iter().filter(|id| id.ends_with("/failed")).collect::<std::collections::HashSet<_>>();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["failed_back/lost/failed"], "{point:?} {nth}");
    for (name, topic) in [("resent", "resent"), ("made_up", "made_up"), ("failed", "failed_back")] {
        let gap = builder(bench, name).build().find(&id(topic, "lost")).await.unwrap().unwrap();
        assert_eq!(gap.status, Status::Done, "{point:?} {nth}: {gap:?}");
    }
}
