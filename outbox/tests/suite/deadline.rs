//! Orders that are cancelled when nobody pays.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::Transaction;
use tenonmq_outbox::{
    Deadlines, Error, Expiry, Incoming, Outgoing, Status, SystemClock, Table,
    deadline::{Deadline, DeadlinesBuilder, Passed},
};

use super::bench::{Bench, START_MS, TestDatabase, arrived, each_minute};

pub const TOPIC: &str = "order_timeout";
const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);
const DUE_MS: i64 = START_MS + 30 * 60 * 1000;

/// The order service: orders, and stock that they hold.
pub struct Shop<'a, D: TestDatabase> {
    pub bench: &'a Bench<D>,
    orders: String,
    stock: String,
}

/// Cancels an unpaid order; fails first so many times, after having done its work.
#[derive(Clone)]
pub struct Cancel {
    orders: String,
    stock: String,
    pub fails: Arc<AtomicUsize>,
    hangs: bool,
}

impl<'a, D: TestDatabase> Shop<'a, D> {
    pub async fn open(bench: &'a Bench<D>) -> Self {
        let name = |table| bench.effects.replace("effects", table);
        let shop = Self { bench, orders: name("orders"), stock: name("stock") };
        bench.run(format!("CREATE TABLE {} (id VARCHAR(200) PRIMARY KEY, state VARCHAR(20))", shop.orders)).await;
        bench.run(format!("CREATE TABLE {} (held BIGINT, sold BIGINT)", shop.stock)).await;
        bench.run(format!("INSERT INTO {} (held, sold) VALUES (0, 0)", shop.stock)).await;
        shop
    }

    pub fn builder(&self) -> DeadlinesBuilder<D> {
        Deadlines::builder(&self.bench.outbox(), TOPIC).schedule(each_minute(3))
    }

    pub fn cancel(&self) -> Cancel {
        Cancel { orders: self.orders.clone(), stock: self.stock.clone(), fails: Arc::default(), hangs: false }
    }

    /// An order that holds stock until its deadline, in one transaction.
    pub async fn order(&self, deadlines: &Deadlines<D>, id: &str, after: Duration) -> Result<(), Error> {
        let mut transaction = self.bench.pool.begin().await?;
        D::run(&mut transaction, format!("INSERT INTO {} (id, state) VALUES ('{id}', 'unpaid')", self.orders)).await?;
        D::run(&mut transaction, format!("UPDATE {} SET held = held + 1", self.stock)).await?;
        deadlines.set(&mut transaction, id, after, "").await?;
        Ok(transaction.commit().await?)
    }

    /// Whether it was in time.
    pub async fn pay(&self, deadlines: &Deadlines<D>, id: &str) -> Result<bool, Error> {
        let mut transaction = self.bench.pool.begin().await?;
        let pay = format!("UPDATE {} SET state = 'paid' WHERE id = '{id}' AND state = 'unpaid'", self.orders);
        if D::run(&mut transaction, pay).await? == 0 {
            transaction.rollback().await?;
            return Ok(false);
        }
        D::run(&mut transaction, format!("UPDATE {} SET held = held - 1, sold = sold + 1", self.stock)).await?;
        deadlines.cancel(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(true)
    }

    pub async fn held(&self) -> i64 {
        self.bench.number(format!("SELECT held FROM {}", self.stock)).await
    }

    pub async fn sold(&self) -> i64 {
        self.bench.number(format!("SELECT sold FROM {}", self.stock)).await
    }

    pub async fn count(&self, state: &str) -> i64 {
        self.bench.number(format!("SELECT COUNT(*) FROM {} WHERE state = '{state}'", self.orders)).await
    }

    pub async fn empty(&self) {
        let deadline = self.bench.schema.name(Table::Deadline);
        for table in [self.orders.clone(), deadline, self.bench.published()] {
            self.bench.run(format!("DELETE FROM {table}")).await;
        }
        self.bench.run(format!("UPDATE {} SET held = 0, sold = 0", self.stock)).await;
    }

    /// Sends what is in the outbox, and returns all messages so far as they arrive.
    async fn messages(&self) -> Vec<Incoming> {
        self.bench.relay().pass().await.unwrap();
        let mut messages: Vec<Incoming> = self.bench.broker.messages().iter().map(arrived).collect();
        messages.sort_by(|one, other| one.business_key().cmp(other.business_key())); // they were sent side by side
        messages
    }
}

impl<D: TestDatabase> Expiry<D> for Cancel {
    type Error = String;

    async fn close(&self, transaction: &mut Transaction<'_, D>, deadline: &Deadline) -> Result<u64, String> {
        let key = deadline.key();
        let sql = format!("UPDATE {} SET state = 'cancelled' WHERE id = '{key}' AND state = 'unpaid'", self.orders);
        D::run(&mut **transaction, sql).await.map_err(|error| error.to_string())
    }

    async fn expire(&self, transaction: &mut Transaction<'_, D>, _: &Deadline) -> Result<(), String> {
        let sql = format!("UPDATE {} SET held = held - 1", self.stock);
        D::run(&mut **transaction, sql).await.map_err(|error| error.to_string())?;
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let once_less = |fails: usize| fails.checked_sub(1);
        match self.fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, once_less) {
            Ok(_) => Err("the stock is being counted".to_owned()),
            Err(_) => Ok(()),
        }
    }
}

pub async fn a_deadline_is_there_if_and_only_if_the_transaction_commits<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().build();
    let mut rolled_back = bench.pool.begin().await.unwrap();
    deadlines.set(&mut rolled_back, "order-1", HALF_AN_HOUR, "").await.unwrap();
    rolled_back.rollback().await.unwrap();
    assert!(deadlines.find("order-1").await.unwrap().is_none());
    assert!(shop.messages().await.is_empty());

    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    shop.messages().await;
    let message = Outgoing::new(TOPIC, format!("order-1/{DUE_MS}"), "order-1").deliver_at_ms(DUE_MS);
    assert_eq!(bench.broker.messages(), [message]);
    assert_eq!(deadlines.find("order-1").await.unwrap().unwrap().status, Status::Pending);
}

pub async fn nothing_happens_a_millisecond_early_and_a_message_that_comes_early_is_put_back<D: TestDatabase>(
    bench: &Bench<D>,
) {
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().build();
    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    let message = shop.messages().await.remove(0);
    bench.clock.step(DUE_MS - START_MS - 1);
    assert_eq!(deadlines.receive(&message, &shop.cancel()).await.unwrap(), Passed::Early);
    let keeper = deadlines.keeper(shop.cancel());
    assert_eq!(keeper.pass().await.unwrap(), 0);
    assert_eq!(shop.held().await, 1);
    bench.clock.step(1);
    assert_eq!(keeper.pass().await.unwrap(), 1, "no message comes once more");
    assert_eq!((shop.held().await, shop.count("cancelled").await), (0, 1));
}

pub async fn an_unpaid_order_is_cancelled_once_however_often_it_is_told<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().build();
    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    let message = shop.messages().await.remove(0);
    bench.clock.advance(HALF_AN_HOUR);
    assert_eq!(deadlines.receive(&message, &shop.cancel()).await.unwrap(), Passed::Expired);
    let elsewhere = shop.builder().build();
    assert_eq!(elsewhere.receive(&message, &shop.cancel()).await.unwrap(), Passed::Over);
    bench.clock.advance(HALF_AN_HOUR);
    assert_eq!(elsewhere.keeper(shop.cancel()).pass().await.unwrap(), 0);
    assert_eq!((shop.held().await, deadlines.counts().done, elsewhere.counts().duplicates), (0, 1, 1));
    assert_eq!(deadlines.find("order-1").await.unwrap().unwrap().status, Status::Done);
}

pub async fn a_paid_order_is_left_alone<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().build();
    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    // by a service that knows nothing of deadlines
    bench.run(format!("UPDATE {} SET state = 'paid'", shop.orders)).await;
    let message = shop.messages().await.remove(0);
    bench.clock.advance(HALF_AN_HOUR);
    assert_eq!(deadlines.receive(&message, &shop.cancel()).await.unwrap(), Passed::Settled);
    assert_eq!((shop.held().await, shop.count("paid").await), (1, 1));
}

pub async fn paying_at_the_same_moment_is_either_in_time_or_too_late<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let (deadlines, elsewhere) = (shop.builder().build(), shop.builder().build());
    let (mut in_time, rounds) = (0, 12);
    for round in 0..rounds {
        let id = format!("order-{round}");
        shop.order(&deadlines, &id, HALF_AN_HOUR).await.unwrap();
        let messages = shop.messages().await;
        let message = messages.into_iter().find(|one| one.business_key().starts_with(&format!("{id}/"))).unwrap();
        bench.clock.advance(HALF_AN_HOUR);
        // a deadlock would be an error here: all lock the order before its deadline
        let (paid, first, second) = tokio::join!(
            shop.pay(&deadlines, &id),
            async { deadlines.receive(&message, &shop.cancel()).await },
            async { elsewhere.receive(&message, &shop.cancel()).await },
        );
        let (paid, passed) = (paid.unwrap(), [first.unwrap(), second.unwrap()]);
        let expired = passed.iter().filter(|passed| **passed == Passed::Expired).count();
        assert_eq!(expired, usize::from(!paid), "{passed:?}");
        in_time += i64::from(paid);
    }
    assert_eq!((shop.held().await, shop.sold().await), (0, in_time));
    assert_eq!((shop.count("paid").await, shop.count("cancelled").await), (in_time, rounds - in_time));
}

pub async fn a_message_that_is_lost_is_made_up_for_after_the_grace<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().grace(Duration::from_secs(30)).build();
    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    let keepers = [deadlines.keeper(shop.cancel()), shop.builder().build().keeper(shop.cancel())];
    bench.clock.step(DUE_MS - START_MS + 29_999);
    assert_eq!(keepers[0].pass().await.unwrap(), 0, "it is the message's turn");
    bench.clock.step(1);
    let (first, second) = tokio::join!(keepers[0].pass(), keepers[1].pass());
    assert_eq!(first.unwrap() + second.unwrap(), 1);
    assert_eq!(shop.held().await, 0);
}

pub async fn a_deadline_beyond_the_brokers_reach_gets_its_message_when_it_comes_near<D: TestDatabase>(
    bench: &Bench<D>,
) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().build();
    shop.order(&deadlines, "order-1", 30 * DAY).await.unwrap();
    let keeper = deadlines.keeper(shop.cancel());
    assert!(shop.messages().await.is_empty());
    bench.clock.advance(28 * DAY - Duration::from_millis(1));
    keeper.pass().await.unwrap();
    assert!(shop.messages().await.is_empty(), "the horizon is two days");
    bench.clock.step(1);
    assert_eq!(keeper.pass().await.unwrap(), 0);
    let messages = shop.messages().await;
    assert_eq!(messages.len(), 1);
    bench.clock.advance(2 * DAY);
    assert_eq!(deadlines.receive(&messages[0], &shop.cancel()).await.unwrap(), Passed::Expired);
    assert_eq!(keeper.pass().await.unwrap(), 0);
    assert_eq!(shop.held().await, 0);
}

pub async fn a_cancelled_deadline_does_nothing<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().build();
    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    assert!(shop.pay(&deadlines, "order-1").await.unwrap());
    let message = shop.messages().await.remove(0);
    bench.clock.advance(2 * HALF_AN_HOUR);
    assert_eq!(deadlines.receive(&message, &shop.cancel()).await.unwrap(), Passed::Over);
    assert_eq!(deadlines.keeper(shop.cancel()).pass().await.unwrap(), 0);
    let row = deadlines.find("order-1").await.unwrap().unwrap();
    assert_eq!((row.status, row.last_error.as_deref()), (Status::Dropped, Some("cancelled")));

    let mut transaction = bench.pool.begin().await.unwrap();
    assert!(!deadlines.cancel(&mut transaction, "order-1").await.unwrap(), "it was cancelled before");
    let again = deadlines.set(&mut transaction, "order-1", HALF_AN_HOUR, "").await.unwrap_err();
    assert!(matches!(again, Error::Refused { .. }), "{again}");
}

pub async fn a_deadline_that_is_moved_comes_at_its_new_time_only<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().build();
    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    let mut transaction = bench.pool.begin().await.unwrap();
    assert!(deadlines.extend(&mut transaction, "order-1", 2 * HALF_AN_HOUR).await.unwrap());
    assert!(!deadlines.extend(&mut transaction, "order-2", HALF_AN_HOUR).await.unwrap(), "there is none");
    transaction.commit().await.unwrap();
    let messages = shop.messages().await;
    assert_eq!(messages.len(), 2);
    bench.clock.advance(HALF_AN_HOUR);
    assert_eq!(deadlines.receive(&messages[0], &shop.cancel()).await.unwrap(), Passed::Over);
    bench.clock.advance(HALF_AN_HOUR - Duration::from_millis(1));
    assert_eq!(deadlines.keeper(shop.cancel()).pass().await.unwrap(), 0);
    bench.clock.step(1);
    assert_eq!(deadlines.receive(&messages[1], &shop.cancel()).await.unwrap(), Passed::Expired);
    assert_eq!(shop.held().await, 0);
}

pub async fn setting_again_changes_nothing_and_another_payload_is_refused<D: TestDatabase>(bench: &Bench<D>) {
    let deadlines = Shop::open(bench).await.builder().build();
    let mut transaction = bench.pool.begin().await.unwrap();
    let first = deadlines.set(&mut transaction, "order-1", HALF_AN_HOUR, "2 pens").await.unwrap();
    assert_eq!((first.is_new, first.due_ms), (true, DUE_MS));
    bench.clock.step(1_000);
    let second = deadlines.set(&mut transaction, "order-1", HALF_AN_HOUR, "2 pens").await.unwrap();
    assert_eq!((second.row, second.due_ms, second.is_new), (first.row, DUE_MS, false));
    let other = deadlines.set(&mut transaction, "order-1", HALF_AN_HOUR, "3 pens").await.unwrap_err();
    assert!(matches!(&other, Error::Collision { row, .. } if *row == first.row), "{other}");
    for bad in [String::new(), "a b".into(), "x".repeat(231)] {
        let error = deadlines.set(&mut transaction, &bad, HALF_AN_HOUR, "").await.unwrap_err();
        assert!(matches!(error, Error::Message { .. }), "{error}");
    }
    transaction.commit().await.unwrap();
    for key in ["order-1", "order-1/soon", ""] {
        let error = deadlines
            .receive(
                &Incoming::new(TOPIC, key, "x"),
                &Shop { bench, orders: String::new(), stock: String::new() }.cancel(),
            )
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Message { .. }), "{error}");
    }
}

pub async fn failures_follow_the_schedule_and_the_last_one_is_told_of<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told);
    let deadlines = shop.builder().on_exhausted(move |_| _ = counted.fetch_add(1, Ordering::SeqCst)).build();
    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    let message = shop.messages().await.remove(0);
    let cancel = shop.cancel();
    cancel.fails.store(3, Ordering::SeqCst);
    bench.clock.advance(HALF_AN_HOUR);
    let next_ms = Some(DUE_MS + 60_000);
    assert_eq!(deadlines.receive(&message, &cancel).await.unwrap(), Passed::Failed { attempts: 1, next_ms });
    assert_eq!(deadlines.receive(&message, &cancel).await.unwrap(), Passed::InHand, "it waits for its next try");
    let keeper = deadlines.keeper(cancel);
    for attempts in 2..=3 {
        bench.clock.step(59_999);
        keeper.pass().await.unwrap();
        assert_eq!(deadlines.find("order-1").await.unwrap().unwrap().attempts, attempts - 1, "a millisecond early");
        bench.clock.step(1);
        keeper.pass().await.unwrap();
    }
    let row = deadlines.find("order-1").await.unwrap().unwrap();
    assert_eq!((row.status, row.attempts, told.load(Ordering::SeqCst)), (Status::Exhausted, 3, 1));
    assert_eq!(row.last_error.as_deref(), Some("the stock is being counted"));
    assert_eq!((shop.held().await, shop.count("unpaid").await), (1, 1), "all of a failed try is undone");
    deadlines.rerun(row.row).await.unwrap();
    assert_eq!(keeper.pass().await.unwrap(), 1);
    assert_eq!(shop.held().await, 0);
}

pub async fn effects_that_hang_are_rolled_back<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().time_limit(Duration::from_millis(50)).build();
    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    let message = shop.messages().await.remove(0);
    bench.clock.advance(HALF_AN_HOUR);
    let hanging = Cancel { hangs: true, ..shop.cancel() };
    let passed = deadlines.receive(&message, &hanging).await.unwrap();
    assert!(matches!(passed, Passed::Failed { attempts: 1, .. }), "{passed:?}");
    let row = deadlines.find("order-1").await.unwrap().unwrap();
    assert!(row.last_error.unwrap().contains("longer than 50ms"));
    assert_eq!(shop.held().await, 1);
}

pub async fn a_row_that_nobody_can_read_holds_no_other_up<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().build();
    for id in ["broken", "fine"] {
        shop.order(&deadlines, id, HALF_AN_HOUR).await.unwrap();
    }
    let table = bench.schema.name(Table::Deadline);
    bench.run(format!("UPDATE {table} SET attempts = -1 WHERE business_key = 'broken'")).await;
    let message = shop.messages().await.remove(0);
    bench.clock.advance(2 * HALF_AN_HOUR);
    let error = deadlines.receive(&message, &shop.cancel()).await.unwrap_err();
    assert!(matches!(&error, Error::Row { reason, .. } if reason.contains("attempts")), "{error}");
    assert_eq!(deadlines.keeper(shop.cancel()).pass().await.unwrap(), 2);
    assert_eq!(shop.held().await, 0);
}

pub async fn without_messages_the_keeper_is_punctual<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().without_messages().build();
    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    assert!(shop.messages().await.is_empty());
    let keeper = deadlines.keeper(shop.cancel());
    bench.clock.step(DUE_MS - START_MS - 1);
    assert_eq!(keeper.pass().await.unwrap(), 0);
    bench.clock.step(1);
    assert_eq!(keeper.pass().await.unwrap(), 1);
}

pub async fn a_running_keeper_lets_deadlines_pass<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let outbox = bench.outbox_builder().clock(SystemClock).build();
    let deadlines = Deadlines::builder(&outbox, TOPIC).grace(Duration::ZERO).build();
    let keeper = deadlines.keeper(shop.cancel()).period(Duration::from_millis(5)).start();
    shop.order(&deadlines, "order-1", Duration::from_millis(20)).await.unwrap();
    while shop.count("cancelled").await == 0 {
        tokio::task::yield_now().await;
    }
    keeper.shutdown().await;
    assert_eq!(shop.held().await, 0);
}

pub async fn deadlines_that_failed_under_a_wrong_clock_do_not_wait_for_it<D: TestDatabase>(bench: &Bench<D>) {
    const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().build();
    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    let message = shop.messages().await.remove(0);
    let cancel = shop.cancel();
    cancel.fails.store(1, Ordering::SeqCst);
    bench.clock.step(TEN_YEARS_MS);
    deadlines.receive(&message, &cancel).await.unwrap();
    bench.clock.step(2 * 3_600_000 - TEN_YEARS_MS);
    let keeper = deadlines.keeper(cancel).start();
    while shop.count("cancelled").await == 0 {
        tokio::task::yield_now().await;
    }
    keeper.shutdown().await;
}

pub async fn what_is_overdue_is_the_backlog<D: TestDatabase>(bench: &Bench<D>) {
    let shop = Shop::open(bench).await;
    let deadlines = shop.builder().build();
    shop.order(&deadlines, "order-1", HALF_AN_HOUR).await.unwrap();
    shop.order(&deadlines, "order-2", 2 * HALF_AN_HOUR).await.unwrap();
    assert_eq!(deadlines.backlog().await.unwrap().pending, 0);
    bench.clock.step(DUE_MS - START_MS + 5);
    let backlog = deadlines.backlog().await.unwrap();
    assert_eq!((backlog.pending, backlog.oldest_ms, backlog.exhausted), (1, Some(5), 0));
}
