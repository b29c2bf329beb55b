//! Whatever dies, wherever: the effects happen once for each business key.

use tenonmq_outbox::{Error, Schedule, Status, fault::Point};

use super::bench::{Bench, LEASE_END, NoteDown, START_MS, TestDatabase, arrived, event};

const EVENTS: [&str; 3] = ["order-1/paid", "order-2/paid", "order-3/paid"];
/// Fails with both consumers; the retrier handles it.
const FAILS_ONCE: &str = EVENTS[1];

/// What the outside world still has to do, because nothing told it that it is done.
struct World<'a, D: TestDatabase> {
    bench: &'a Bench<D>,
    effects: NoteDown,
    /// Requests whose answer has not come: their senders repeat them.
    asked: Vec<&'static str>,
    /// How many of the broker's messages each of two consumers has acknowledged.
    acknowledged: [usize; 2],
    cleaned: bool,
}

impl<D: TestDatabase> World<'_, D> {
    /// Goes on until nothing is left to do, or something crashes.
    async fn go_on(&mut self) -> Result<(), Error> {
        while let Some(id) = self.asked.first() {
            let mut transaction = self.bench.pool.begin().await?;
            self.bench.outbox().publish(&mut transaction, &event(id)).await?;
            transaction.commit().await?;
            self.asked.remove(0);
        }
        // two relays, two consumers that are brought the same messages
        let relays = [self.relay(), self.relay()];
        relays[0].pass().await?;
        relays[1].pass().await?;
        let messages = self.bench.broker.messages();
        for acknowledged in &mut self.acknowledged {
            while let Some(message) = messages.get(*acknowledged) {
                self.bench.inbox().receive(&arrived(message), &self.effects).await?;
                *acknowledged += 1;
            }
        }
        self.bench.inbox().retrier(self.effects.clone()).pass().await?;
        if !self.cleaned && self.is_at_rest().await {
            self.bench.outbox().clean(START_MS + 1).await?;
            self.cleaned = true;
        }
        Ok(())
    }

    fn relay(&self) -> tenonmq_outbox::Relay<D, super::bench::FakeBroker> {
        self.bench.relay().schedule(Schedule::default())
    }

    async fn is_at_rest(&self) -> bool {
        let outbox = self.bench.outbox().backlog().await.unwrap();
        let inbox = self.bench.inbox().backlog().await.unwrap();
        outbox.pending == 0 && inbox.pending == 0
    }
}

pub async fn effects_happen_once_whichever_point_a_crash_hits<D: TestDatabase>(bench: &Bench<D>) {
    for &point in Point::OF_OUTBOX_AND_INBOX {
        for nth in 1..=3 {
            crash(bench, point, nth).await;
        }
    }
}

async fn crash<D: TestDatabase>(bench: &Bench<D>, point: Point, nth: u32) {
    for table in [bench.published(), bench.received(), bench.effects.clone()] {
        bench.run(format!("DELETE FROM {table}")).await;
    }
    bench.broker.forget();
    bench.clock.step(START_MS - tenonmq_outbox::Clock::now_ms(&bench.clock));
    let effects = bench.note_down();
    effects.fail(FAILS_ONCE, 2);
    let mut world = World { bench, effects, asked: EVENTS.to_vec(), acknowledged: [0, 0], cleaned: false };
    bench.faults.crash_at_nth(point, nth);

    let mut crashes = 0;
    for _ in 0..8 {
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
    let waiting = bench.outbox().list(Status::Pending, 0, 9).await.unwrap();
    assert!(waiting.is_empty(), "{point:?} {nth}: to be sent: {waiting:?}");
    let waiting = bench.inbox().list(Status::Pending, 0, 9).await.unwrap();
    assert!(waiting.is_empty(), "{point:?} {nth}: to be handled: {waiting:?}");
    assert!(world.asked.is_empty() && world.cleaned, "{point:?} {nth}: {:?} is not asked for", world.asked);
    for id in EVENTS {
        assert_eq!(bench.times(id).await, 1, "{point:?} {nth}: {id}");
    }
    assert!(crashes == 1 || nth > 1, "{point:?} was never reached");
    bench.faults.disarm();
}
