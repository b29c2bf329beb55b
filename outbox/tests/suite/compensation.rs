//! Finding what has no counterpart, and repairing it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tenonmq_outbox::{
    Schedule, Status,
    compensation::{
        BoxError, Compensation, CompensationBuilder, Counterparts, Expectation, Item, Missing, Page, Repair, Repaired,
        Resend, Unacknowledged,
    },
    monitoring::{Part, prometheus_text},
};

use super::bench::{Bench, START_MS, TestDatabase, each_minute, event};

pub const AGE: Duration = Duration::from_secs(300);
pub const MINUTE: Duration = Duration::from_secs(60);

pub fn builder<D: TestDatabase>(bench: &Bench<D>, name: &str) -> CompensationBuilder<D> {
    let builder = Compensation::builder(bench.pool.clone(), name).schema(bench.schema.clone()).age(AGE);
    builder.clock(bench.clock.clone()).faults(bench.faults.clone()).schedule(each_minute(3))
}

/// Things of a service, and which of them exist on the other side. Clones are one.
#[derive(Clone, Default)]
struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Key and time of each, numbered from 1.
    things: Vec<(String, i64)>,
    present: HashSet<String>,
    /// Where each page began.
    pages: Vec<i64>,
    /// How often each was repaired.
    repairs: BTreeMap<String, u32>,
    /// What a query or repair says instead.
    fails: Option<&'static str>,
    hangs: bool,
}

impl World {
    fn of(keys: impl IntoIterator<Item = String>) -> Self {
        let world = Self::default();
        world.0.lock().things = keys.into_iter().map(|key| (key, START_MS - 600_000)).collect();
        world
    }

    fn expectation(&self) -> impl Expectation + use<> {
        let world = self.clone();
        move |page: Page| {
            let world = world.clone();
            async move { world.page(&page) }
        }
    }

    fn page(&self, page: &Page) -> Result<Vec<Item>, BoxError> {
        let mut state = self.0.lock();
        state.pages.push(page.after_number());
        let numbered = (1_i64..).zip(&state.things);
        let due = numbered.filter(|(id, (_, at_ms))| *id > page.after_number() && *at_ms < page.before_ms);
        Ok(due.take(page.limit as usize).map(|(id, (key, _))| Item::new(id, key.clone())).collect())
    }

    fn counterparts(&self) -> impl Counterparts + use<> {
        let world = self.clone();
        move |keys: Vec<String>| {
            let world = world.clone();
            async move {
                if world.0.lock().hangs {
                    std::future::pending::<()>().await;
                }
                let state = world.0.lock();
                match state.fails {
                    Some(error) => Err(error),
                    None => Ok(keys.into_iter().filter(|key| state.present.contains(key)).collect()),
                }
            }
        }
    }

    fn appears(&self, key: &str) {
        self.0.lock().present.insert(key.to_owned());
    }

    fn repairs(&self, key: &str) -> u32 {
        self.0.lock().repairs.get(key).copied().unwrap_or(0)
    }
}

/// Counts, and repairs nothing.
impl Repair for World {
    fn name(&self) -> &str {
        "count"
    }

    async fn repair(&self, missing: &Missing) -> Result<Repaired, BoxError> {
        let times = {
            let mut state = self.0.lock();
            let times = state.repairs.entry(missing.key().to_owned()).or_default();
            *times += 1;
            *times
        };
        match missing.key() {
            "fails" => Err("no connection".into()),
            "panics" => std::panic::resume_unwind(Box::new(())), // prints nothing
            "hangs" => std::future::pending().await,
            _ => Ok(Repaired::Begun(format!("counted {times}"))),
        }
    }
}

pub async fn what_lacks_its_counterpart_is_found_page_by_page_and_once<D: TestDatabase>(bench: &Bench<D>) {
    let world = World::of((1..=25).map(|number| format!("order-{number}")));
    for number in (1..=25).filter(|number| number % 5 != 0) {
        world.appears(&format!("order-{number}"));
    }
    world.0.lock().things.push(("order-26".into(), START_MS - 300_000)); // as old as it may be
    let unstocked = builder(bench, "unstocked").batch(10).build();
    let scanner = unstocked.scanner(world.expectation(), world.counterparts(), world.clone());
    let pass = scanner.pass().await.unwrap();
    assert_eq!((pass.scanned, pass.found, pass.repaired), (25, 5, 5));
    assert_eq!(world.0.lock().pages, [0, 10, 20]);

    bench.clock.step(1);
    let again = unstocked.scanner(world.expectation(), world.counterparts(), world.clone()).pass().await.unwrap();
    assert_eq!((again.scanned, again.found), (1, 1), "a millisecond later, in another process");
    assert_eq!(world.0.lock().pages, [0, 10, 20, 25], "it goes on where it was");
    let gap = unstocked.find("order-5").await.unwrap().unwrap();
    assert_eq!((gap.status, gap.attempts, gap.action.as_str()), (Status::Pending, 1, "count"));
    assert_eq!((gap.result.as_deref(), gap.created_ms), (Some("counted 1"), START_MS));
    assert!(builder(bench, "other").build().find("order-5").await.unwrap().is_none());
}

pub async fn repairs_follow_the_schedule_to_the_millisecond_until_people_must_decide<D: TestDatabase>(
    bench: &Bench<D>,
) {
    let world = World::of(["order-1".to_owned(), "fails".to_owned()]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let alerts = Arc::clone(&told);
    let unstocked = builder(bench, "unstocked")
        .schedule(Schedule::doubling_minutes())
        .on_exhausted(move |gap| alerts.lock().push((gap.key.clone(), gap.attempts)))
        .build();
    let scanner = unstocked.scanner(world.expectation(), world.counterparts(), world.clone());
    scanner.pass().await.unwrap();
    for (repairs, minutes) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        let gap = unstocked.find("fails").await.unwrap().unwrap();
        assert_eq!((gap.attempts, gap.last_error.as_deref()), (repairs, Some("no connection")));
        bench.clock.step(minutes * 60_000 - 1);
        scanner.pass().await.unwrap();
        assert_eq!((world.repairs("order-1"), world.repairs("fails")), (repairs, repairs), "a millisecond early");
        bench.clock.step(1);
        let pass = scanner.pass().await.unwrap();
        assert_eq!((pass.repaired, pass.failed), (1, 1));
    }
    assert_eq!(told.lock().as_slice(), [("fails".to_owned(), 5)], "its last try is known to have failed");
    bench.clock.step(299_999);
    assert_eq!(scanner.pass().await.unwrap().exhausted, 0, "the last repair has as long as any");
    bench.clock.step(1);
    assert_eq!(scanner.pass().await.unwrap().exhausted, 1);
    assert_eq!(told.lock().len(), 2);
    let gap = unstocked.find("order-1").await.unwrap().unwrap();
    assert_eq!((gap.status, gap.attempts), (Status::Exhausted, 5));
    assert_eq!(gap.last_error.as_deref(), Some("there is no counterpart after repair 5"));

    bench.clock.advance(24 * 60 * MINUTE);
    scanner.pass().await.unwrap();
    assert_eq!(world.repairs("order-1"), 5, "people decide");
    unstocked.rerun(gap.row).await.unwrap();
    scanner.pass().await.unwrap();
    assert_eq!(world.repairs("order-1"), 6);
    unstocked.give_up(gap.row, "cancelled").await.unwrap();
    bench.clock.advance(60 * MINUTE);
    scanner.pass().await.unwrap();
    assert_eq!(world.repairs("order-1"), 6);
    assert_eq!(unstocked.find("order-1").await.unwrap().unwrap().last_error.as_deref(), Some("cancelled"));
}

pub async fn a_counterpart_that_appears_closes_its_gap_whatever_its_state<D: TestDatabase>(bench: &Bench<D>) {
    let world = World::of(["open".to_owned(), "exhausted".to_owned()]);
    let unstocked = builder(bench, "unstocked").schedule(each_minute(1)).build();
    let scanner = unstocked.scanner(world.expectation(), world.counterparts(), world.clone());
    scanner.pass().await.unwrap();
    world.appears("open");
    bench.clock.advance(AGE);
    let pass = scanner.pass().await.unwrap();
    assert_eq!((pass.resolved, pass.exhausted), (1, 1));
    let reading = unstocked.read().await.unwrap();
    assert_eq!((reading.backlog.pending, reading.backlog.exhausted, reading.counts.done), (0, 1, 1));
    let page = prometheus_text(&[reading]);
    assert!(page.contains("tenonmq_outbox_exhausted{part=\"compensation/unstocked\"} 1"), "{page}");

    world.appears("exhausted");
    assert_eq!(scanner.pass().await.unwrap().resolved, 1);
    let gap = unstocked.find("exhausted").await.unwrap().unwrap();
    assert_eq!((gap.status, gap.result.as_deref()), (Status::Done, Some("the counterpart is there after repair 1")));
    bench.clock.advance(MINUTE);
    assert_eq!(unstocked.clean(START_MS + 600_000).await.unwrap(), 2);
    assert_eq!(scanner.pass().await.unwrap().found, 0, "what was cleaned away is not found again");
}

pub async fn scanners_side_by_side_find_and_repair_each_thing_once<D: TestDatabase>(bench: &Bench<D>) {
    let world = World::of((1..=60).map(|number| format!("order-{number}")));
    let one = || {
        let unstocked = builder(bench, "unstocked").batch(7).build();
        let scanner = unstocked.scanner(world.expectation(), world.counterparts(), world.clone());
        async move {
            // a deadlock is the database's to break; the next pass does what was left
            for _ in 0..10 {
                if scanner.pass().await.is_ok() {
                    return;
                }
            }
            panic!("no end to it")
        }
    };
    tokio::join!(one(), one(), one());
    one().await;
    let repairs = world.0.lock().repairs.clone();
    assert_eq!(repairs.len(), 60);
    assert!(repairs.values().all(|times| *times == 1), "{repairs:?}");
}

pub async fn a_pass_repairs_no_more_than_it_may_and_finds_no_more_than_may_be_open<D: TestDatabase>(bench: &Bench<D>) {
    let world = World::of((1..=40).map(|number| format!("order-{number:02}")));
    let unstocked = builder(bench, "unstocked").batch(5).most_open(12).most_repairs(4).build();
    let scanner = unstocked.scanner(world.expectation(), world.counterparts(), world.clone());
    let pass = scanner.pass().await.unwrap();
    assert_eq!((pass.found, pass.repaired), (15, 4), "whole pages");
    let pass = scanner.pass().await.unwrap();
    assert_eq!((pass.found, pass.repaired), (0, 4));
    let gap = unstocked.find("order-15").await.unwrap().unwrap();
    assert_eq!((gap.attempts, gap.claimed_by), (0, None), "what was not its turn is as it was");
    for number in 1..=40 {
        world.appears(&format!("order-{number:02}"));
    }
    bench.clock.advance(MINUTE);
    scanner.pass().await.unwrap();
    let pass = scanner.pass().await.unwrap();
    assert_eq!((pass.scanned, pass.found), (25, 0), "there is room again");
}

pub async fn a_query_that_fails_or_hangs_is_named_and_holds_up_nothing_else<D: TestDatabase>(bench: &Bench<D>) {
    let world = World::of(["order-1".to_owned()]);
    let unstocked = builder(bench, "unstocked").time_limit(Duration::from_secs(1)).build();
    let failing = |error: Result<(), &'static str>| {
        move |_: Page| async move {
            match error {
                Ok(()) => std::future::pending().await,
                Err(error) => Err::<Vec<Item>, _>(error),
            }
        }
    };
    let scanner = unstocked.scanner(world.expectation(), world.counterparts(), world.clone());
    world.0.lock().fails = Some("the stock database is away");
    let pass = scanner.pass().await.unwrap();
    let told = pass.errors[0].to_string();
    let expected = "compensation \"unstocked\": the query for what has a counterpart: the stock database is away";
    assert_eq!(told, expected);
    assert_eq!(pass.found, 0, "what nobody could ask about is not passed by");
    world.0.lock().fails = None;
    assert_eq!(scanner.pass().await.unwrap().repaired, 1);

    // the scan fails, the repairs go on
    for (error, told) in [(Err("no such table"), "no such table"), (Ok(()), "no answer within 1s")] {
        bench.clock.advance(MINUTE);
        let pass = unstocked.scanner(failing(error), world.counterparts(), world.clone()).pass().await.unwrap();
        let error = pass.errors[0].to_string();
        assert!(error.contains("what should have a counterpart") && error.contains(told), "{error}");
        assert_eq!(pass.repaired, 1);
    }
    // the other side is away: no repair is used up
    bench.clock.advance(AGE);
    world.0.lock().hangs = true;
    let pass = scanner.pass().await.unwrap();
    assert!(pass.errors.iter().all(|error| error.to_string().contains("no answer within 1s")));
    let gap = unstocked.find("order-1").await.unwrap().unwrap();
    assert_eq!((gap.status, gap.attempts, gap.claimed_by), (Status::Pending, 3, None));
}

pub async fn a_repair_that_hangs_or_panics_counts_as_failed_and_holds_up_no_other<D: TestDatabase>(bench: &Bench<D>) {
    let world = World::of(["panics", "hangs", "order-1"].map(str::to_owned));
    let unstocked = builder(bench, "unstocked").at_once(1).time_limit(Duration::from_secs(1)).build();
    let scanner = unstocked.scanner(world.expectation(), world.counterparts(), world.clone());
    let pass = scanner.pass().await.unwrap();
    assert_eq!((pass.repaired, pass.failed), (1, 2));
    for (key, cause) in [("panics", "it panicked"), ("hangs", "no answer within 1s")] {
        let gap = unstocked.find(key).await.unwrap().unwrap();
        assert_eq!((gap.attempts, gap.last_error.as_deref()), (1, Some(cause)));
    }
}

pub async fn things_that_cannot_be_kept_are_told_of_and_hold_up_no_other<D: TestDatabase>(bench: &Bench<D>) {
    let keys = ["", "a b", "a\0b", &"x".repeat(300), "order-1"].map(str::to_owned);
    let world = World::of(keys);
    let told = Arc::new(Mutex::new(Vec::new()));
    let alerts = Arc::clone(&told);
    let unstocked = builder(bench, "unstocked")
        .on_exhausted(move |gap| alerts.lock().push(gap.last_error.clone().unwrap_or_default()))
        .build();
    let scanner = unstocked.scanner(world.expectation(), world.counterparts(), world.clone());
    let pass = scanner.pass().await.unwrap();
    assert_eq!((pass.found, pass.repaired), (5, 1));
    let told = told.lock().clone();
    for (told, why) in told.iter().zip(["empty", "blank", "control", "300 bytes of 255"]) {
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(unstocked.list(Status::Exhausted, 0, 9).await.unwrap().len(), 4);

    let large = |page: Page| async move {
        let item = Item::new(1, "large").message("paid", vec![0; 70_000]);
        Ok::<_, BoxError>(if page.after_number() < 1 { vec![item] } else { Vec::new() })
    };
    let other = builder(bench, "large").build();
    other.scanner(large, world.counterparts(), world.clone()).pass().await.unwrap();
    let gap = other.list(Status::Exhausted, 0, 9).await.unwrap().remove(0);
    assert!(gap.last_error.unwrap().contains("70000 bytes"));

    let still = |_: Page| async { Ok::<_, BoxError>(vec![Item::new("", "order-1")]) };
    let pass =
        builder(bench, "still").build().scanner(still, world.counterparts(), world.clone()).pass().await.unwrap();
    assert!(pass.errors[0].to_string().contains("cursor stays"), "{:?}", pass.errors);
}

pub async fn rows_that_nobody_can_read_hold_no_other_up_and_say_why<D: TestDatabase>(bench: &Bench<D>) {
    let world = World::of(["order-1", "order-2"].map(str::to_owned));
    let unstocked = builder(bench, "unstocked").build();
    unstocked.scanner(world.expectation(), world.counterparts(), world.clone()).pass().await.unwrap();
    let table = bench.schema.name(tenonmq_outbox::Table::Compensation);
    bench.run(format!("UPDATE {table} SET attempts = -1 WHERE business_key = 'order-1'")).await;
    bench.clock.advance(MINUTE);
    let scanner = unstocked.scanner(world.expectation(), world.counterparts(), world.clone());
    let pass = scanner.pass().await.unwrap();
    assert_eq!((pass.repaired, pass.exhausted), (1, 1));

    for id in ["paid-1", "paid-2"] {
        bench.publish(&event(id)).await;
    }
    bench.run(format!("UPDATE {} SET status = 'odd' WHERE business_id = 'paid-1'", bench.published())).await;
    bench.relay().pass().await.unwrap();
    bench.clock.advance(AGE + MINUTE);
    let sent = builder(bench, "sent").build();
    let outbox = bench.outbox();
    let pass = sent.scanner(Unacknowledged::of(&outbox), bench.inbox(), Resend::from(&outbox)).pass().await.unwrap();
    assert_eq!((pass.found, pass.repaired), (1, 1));
    let told = pass.errors[0].to_string();
    assert!(told.contains("row 1 of") && told.contains("\"odd\" is no status"), "{told}");
}

pub async fn what_was_written_under_a_wrong_clock_is_scanned_and_repaired<D: TestDatabase>(bench: &Bench<D>) {
    const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;
    let outbox = bench.outbox();
    bench.clock.step(TEN_YEARS_MS);
    bench.publish(&event("ahead")).await;
    bench.relay().pass().await.unwrap();
    bench.clock.advance(AGE + MINUTE);
    let lost = builder(bench, "lost").build();
    let scanner = || lost.scanner(Unacknowledged::of(&outbox), bench.inbox(), Resend::from(&outbox));
    scanner().pass().await.unwrap(); // it is to wait ten years from now on
    bench.relay().pass().await.unwrap();
    bench.publish(&event("ahead-2")).await;
    bench.relay().pass().await.unwrap();
    bench.clock.step(-TEN_YEARS_MS);
    bench.publish(&event("behind")).await;
    bench.relay().pass().await.unwrap();
    bench.clock.advance(AGE + MINUTE);
    let pass = scanner().pass().await.unwrap();
    assert_eq!((pass.found, pass.repaired), (2, 2), "a row of the future stops no scan");

    bench.broker.forget();
    let running = scanner().start();
    while !bench.broker.ids().iter().any(|id| id == "ahead") {
        bench.relay().pass().await.unwrap(); // until its gap is amended
        bench.clock.step(1);
    }
    running.shutdown().await;
}
