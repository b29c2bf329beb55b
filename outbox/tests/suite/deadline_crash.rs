//! Whatever dies, wherever: the stock of an unpaid order is released once, and that of a paid one is not.

use std::{sync::atomic::Ordering, time::Duration};

use tenonmq_outbox::{Deadlines, Error, Schedule, Status, fault::Point};

use super::{
    bench::{Bench, LEASE_END, START_MS, TestDatabase, arrived},
    deadline::{Cancel, Shop},
};

/// Order, and seconds until its deadline; the second is beyond the broker's reach at first, the third is paid.
const ORDERS: [(&str, u64); 4] = [("near", 90), ("far", 400), ("paid", 90), ("other", 90)];
const HORIZON: Duration = Duration::from_secs(200);

struct World<'a, D: TestDatabase> {
    shop: Shop<'a, D>,
    cancel: Cancel,
    /// Requests whose answer has not come: their senders repeat them.
    asked: Vec<(&'static str, u64)>,
    is_paid: bool,
    /// Messages that each of two consumers has acknowledged.
    acknowledged: [Vec<String>; 2],
}

impl<D: TestDatabase> World<'_, D> {
    /// An instance of the service.
    fn deadlines(&self) -> Deadlines<D> {
        self.shop.builder().schedule(Schedule::default()).horizon(HORIZON).build()
    }

    /// Goes on until nothing is left to do now, or something crashes.
    async fn go_on(&mut self) -> Result<(), Error> {
        while let Some((id, after)) = self.asked.first() {
            match self.shop.order(&self.deadlines(), id, Duration::from_secs(*after)).await {
                Ok(()) => {}
                Err(Error::Database(sqlx::Error::Database(error))) if error.is_unique_violation() => {} // it was written
                Err(error) => return Err(error),
            }
            self.asked.remove(0);
        }
        if !self.is_paid {
            self.shop.pay(&self.deadlines(), "paid").await?;
            self.is_paid = true;
        }
        let bench = self.shop.bench;
        bench.relay().schedule(Schedule::default()).pass().await?;
        let now_ms = tenonmq_outbox::Clock::now_ms(&bench.clock);
        let deadlines = [self.deadlines(), self.deadlines()];
        for (consumer, instance) in deadlines.iter().enumerate() {
            for message in bench.broker.messages() {
                let id = message.business_id().to_owned();
                let due_ms: i64 = id.rsplit_once('/').unwrap().1.parse().unwrap();
                if due_ms <= now_ms && !self.acknowledged[consumer].contains(&id) {
                    instance.receive(&arrived(&message), &self.cancel).await?;
                    self.acknowledged[consumer].push(id);
                }
            }
            instance.keeper(self.cancel.clone()).pass().await?;
        }
        Ok(())
    }
}

pub async fn stock_is_released_once_whichever_point_a_crash_hits<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let mut world =
        World { cancel: shop.cancel(), shop, asked: Vec::new(), is_paid: false, acknowledged: Default::default() };
    for &point in Point::OF_DEADLINES {
        for nth in 1..=3 {
            crash(&mut world, point, nth).await;
        }
    }
}

async fn crash<D: TestDatabase>(world: &mut World<'_, D>, point: Point, nth: u32) {
    let bench = world.shop.bench;
    world.shop.empty().await;
    bench.broker.forget();
    bench.clock.step(START_MS - tenonmq_outbox::Clock::now_ms(&bench.clock));
    world.cancel.fails.store(1, Ordering::SeqCst);
    (world.asked, world.is_paid, world.acknowledged) = (ORDERS.to_vec(), false, Default::default());
    bench.faults.crash_at_nth(point, nth);

    let mut crashes = 0;
    for _ in 0..14 {
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
    let shop = &world.shop;
    let waiting = world.deadlines().list(Status::Pending, 0, 9).await.unwrap();
    assert!(waiting.is_empty() && world.asked.is_empty(), "{point:?} {nth}: {waiting:?}");
    assert_eq!((shop.held().await, shop.sold().await), (0, 1), "{point:?} {nth}");
    assert_eq!((shop.count("cancelled").await, shop.count("paid").await), (3, 1), "{point:?} {nth}");
    assert!(crashes == 1 || nth > 1, "{point:?} was never reached");
    bench.faults.disarm();
}
