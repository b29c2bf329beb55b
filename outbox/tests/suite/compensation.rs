//! Finding what has no counterpart, and repairing it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tenonmq_outbox::{
    Clock, Outgoing, PublishError, Received, Schedule, Status,
    compensation::{
        Acknowledgements, BoxError, Compensation, CompensationBuilder, Counterparts, Expectation, FailureEvent, Item,
        MakeUp, Missing, Page, Repair, Repaired, Resend, Unacknowledged,
    },
    monitoring::{Part, prometheus_text},
};

use super::bench::{Bench, START_MS, TestDatabase, arrived, each_minute, event};

pub const AGE: Duration = Duration::from_secs(300);
const MINUTE: Duration = Duration::from_secs(60);

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

pub async fn a_message_that_nobody_acknowledged_is_sent_again_and_its_gap_closed<D: TestDatabase>(bench: &Bench<D>) {
    let (outbox, effects) = (bench.outbox(), bench.note_down());
    for id in ["paid-1", "lost", "paid-3"] {
        bench.publish(&event(id)).await;
    }
    bench.publish(&Outgoing::new("other", "not-for-points", "x")).await;
    bench.relay().pass().await.unwrap();
    for id in ["paid-1", "paid-3"] {
        bench.inbox().receive(&arrived(&event(id)), &effects).await.unwrap();
    }
    let unacknowledged = builder(bench, "unacknowledged").build();
    let scanner =
        unacknowledged.scanner(Unacknowledged::of(&outbox).topic("paid"), bench.inbox(), Resend::from(&outbox));
    bench.clock.advance(AGE);
    assert_eq!(scanner.pass().await.unwrap().scanned, 3);
    assert_eq!(unacknowledged.list(Status::Pending, 0, 9).await.unwrap().len(), 1);
    bench.relay().pass().await.unwrap();
    assert_eq!(bench.broker.ids().iter().filter(|id| *id == "lost").count(), 2);
    bench.inbox().receive(&arrived(&event("lost")), &effects).await.unwrap();
    bench.inbox().receive(&arrived(&event("lost")), &effects).await.unwrap();
    assert_eq!(bench.times("lost").await, 1);
    bench.clock.step(59_999);
    assert_eq!(scanner.pass().await.unwrap().resolved, 0);
    bench.clock.step(1);
    assert_eq!(scanner.pass().await.unwrap().resolved, 1);
    let gap = unacknowledged.find("lost").await.unwrap().unwrap();
    assert_eq!((gap.status, gap.topic.as_str(), gap.action.as_str()), (Status::Done, "paid", "resend"));
}

pub async fn what_is_on_its_way_or_given_up_is_not_repaired<D: TestDatabase>(bench: &Bench<D>) {
    let outbox = bench.outbox();
    for id in ["pending", "exhausted", "dropped", "just-sent", "failing"] {
        bench.publish(&event(id)).await;
    }
    bench.publish(&event("delayed").deliver_at_ms(START_MS + 86_400_000)).await;
    for id in ["pending", "just-sent"] {
        bench.broker.fail(id, PublishError::passing("away"));
    }
    for id in ["exhausted", "dropped"] {
        bench.broker.fail(id, PublishError::lasting("refused"));
    }
    let relay = || bench.outbox().relay(bench.broker.clone()).schedule(Schedule::listed([2 * AGE], 9));
    relay().pass().await.unwrap();
    let failing = bench.note_down();
    failing.fail("failing", 9);
    bench.inbox().receive(&arrived(&event("failing")), &failing).await.unwrap();
    let row = outbox.find("paid", "dropped").await.unwrap().unwrap().row;
    outbox.give_up(row, "a test").await.unwrap();
    let row = outbox.find("paid", "just-sent").await.unwrap().unwrap().row;
    bench.clock.advance(AGE);
    bench.broker.heal();
    outbox.rerun(row).await.unwrap();
    relay().pass().await.unwrap();

    let part = builder(bench, "part").build();
    let pass = part.scanner(Unacknowledged::of(&outbox), bench.inbox(), Resend::from(&outbox)).pass().await.unwrap();
    assert_eq!((pass.found, pass.repaired, pass.failed), (4, 0, 0), "{pass:?}");
    for (key, why) in [
        ("pending", "it is still to be sent"),
        ("exhausted", "the relay has given it up: rerun it, or give it up"),
        ("just-sent", "it was sent a short while ago"),
        ("failing", "the other side is trying it"),
    ] {
        let gap = part.find(key).await.unwrap().unwrap();
        assert_eq!((gap.attempts, gap.result.as_deref()), (0, Some(why)), "{key}");
    }
    // people give it up after it was found
    let row = outbox.find("paid", "exhausted").await.unwrap().unwrap().row;
    outbox.give_up(row, "a test").await.unwrap();
    bench.clock.advance(AGE);
    let scanner = part.scanner(Unacknowledged::of(&outbox), bench.inbox(), Resend::from(&outbox));
    let pass = scanner.pass().await.unwrap();
    assert_eq!(part.find("exhausted").await.unwrap().unwrap().status, Status::Done, "nothing is due any more");
    assert_eq!(pass.repaired, 1, "what was sent so long ago");

    // those who want it have the given up sent as well
    let all = builder(bench, "all").build();
    let (expectation, resend) = (Unacknowledged::of(&outbox).given_up_too(), Resend::from(&outbox).given_up_too());
    all.scanner(expectation, bench.inbox(), resend).pass().await.unwrap();
    for id in ["exhausted", "dropped"] {
        assert_eq!(outbox.find("paid", id).await.unwrap().unwrap().status, Status::Pending, "{id}");
    }
}

pub async fn a_row_with_a_half_message_is_sent_again_as_an_ordinary_one<D: TestDatabase>(bench: &Bench<D>) {
    bench.publish(&event("paid-1").header("outbox_half", "h1").header("member", "7")).await;
    let (table, outbox) = (bench.published(), bench.outbox());
    bench.run(format!("UPDATE {table} SET status = 'done'")).await; // its half message was committed
    bench.clock.advance(AGE + MINUTE);
    let lost = builder(bench, "lost").build();
    lost.scanner(Unacknowledged::of(&outbox), bench.inbox(), Resend::from(&outbox)).pass().await.unwrap();
    assert_eq!(bench.relay().pass().await.unwrap().sent, 1);
    let sent = bench.broker.messages().remove(0).to_message();
    assert!(!format!("{sent:?}").contains("outbox_half") && format!("{sent:?}").contains("member"));
}

pub async fn a_record_is_made_up_once_and_a_late_original_changes_nothing<D: TestDatabase>(bench: &Bench<D>) {
    let (outbox, effects) = (bench.outbox(), bench.note_down());
    bench.publish(&event("paid-1")).await;
    bench.relay().pass().await.unwrap();
    bench.clock.advance(AGE + MINUTE);
    effects.fail("paid-1", 1);
    let unstocked = builder(bench, "unstocked").build();
    let inbox = bench.inbox();
    let scanner = || {
        let make_up = MakeUp::through(&inbox, effects.clone());
        unstocked.scanner(Unacknowledged::of(&outbox), inbox.clone(), make_up)
    };
    assert_eq!(scanner().pass().await.unwrap().failed, 1);
    assert_eq!(bench.times("paid-1").await, 0, "what failed is rolled back");
    assert!(unstocked.find("paid-1").await.unwrap().unwrap().last_error.unwrap().contains("no stock"));
    bench.clock.advance(MINUTE);
    assert_eq!(scanner().pass().await.unwrap().repaired, 1);
    assert_eq!(inbox.receive(&arrived(&event("paid-1")), &effects).await.unwrap(), Received::Before);
    bench.clock.advance(MINUTE);
    assert_eq!(scanner().pass().await.unwrap().resolved, 1);
    assert_eq!(bench.times("paid-1").await, 1);
}

pub async fn a_failure_is_told_once_and_the_receiver_is_barred<D: TestDatabase>(bench: &Bench<D>) {
    let (outbox, effects, inbox) = (bench.outbox(), bench.note_down(), bench.inbox());
    for id in ["paid-1", "handled"] {
        bench.publish(&event(id)).await;
    }
    bench.relay().pass().await.unwrap();
    inbox.receive(&arrived(&event("handled")), &effects).await.unwrap();
    bench.clock.advance(AGE + MINUTE);
    let failing = builder(bench, "failing").build();
    let blind = |_: Vec<String>| async { Ok::<_, BoxError>(Vec::new()) }; // sees nothing of what is there
    let scanner = || {
        let event = FailureEvent::to("paid_failed", &outbox).barring(&inbox);
        failing.scanner(Unacknowledged::of(&outbox).topic("paid"), blind, event)
    };
    let pass = scanner().pass().await.unwrap();
    assert_eq!((pass.repaired, pass.resolved), (2, 1));
    bench.clock.advance(AGE);
    scanner().pass().await.unwrap();
    assert!(outbox.find("paid_failed", "paid-1/failed").await.unwrap().is_some());
    assert!(outbox.find("paid_failed", "handled/failed").await.unwrap().is_none(), "it did not fail");
    assert_eq!(failing.find("paid-1").await.unwrap().unwrap().status, Status::Done);
    // the message that was believed lost
    assert_eq!(inbox.receive(&arrived(&event("paid-1")), &effects).await.unwrap(), Received::GivenUp);
    assert_eq!((bench.times("paid-1").await, bench.times("handled").await), (0, 1));
}

pub async fn one_repair_follows_another_after_so_many<D: TestDatabase>(bench: &Bench<D>) {
    let (outbox, inbox) = (bench.outbox(), bench.inbox());
    bench.publish(&event("lost")).await;
    bench.relay().pass().await.unwrap();
    bench.clock.advance(AGE + MINUTE);
    let lost = builder(bench, "lost").build();
    let repair = Resend::from(&outbox).then_after(2, FailureEvent::to("paid_failed", &outbox).content(|_| "lost"));
    let scanner = lost.scanner(Unacknowledged::of(&outbox).topic("paid"), inbox, repair);
    for _ in 0..3 {
        scanner.pass().await.unwrap();
        bench.relay().pass().await.unwrap();
        bench.clock.advance(MINUTE);
    }
    assert_eq!(bench.broker.ids(), ["lost", "lost", "lost", "lost/failed"]);
    let gap = lost.find("lost").await.unwrap().unwrap();
    assert_eq!((gap.status, gap.attempts, gap.action.as_str()), (Status::Done, 3, "resend, failure_event"));
}

pub async fn acknowledgements_come_by_a_topic_and_again_when_one_was_lost<D: TestDatabase>(bench: &Bench<D>) {
    let (outbox, effects) = (bench.outbox(), bench.note_down());
    let inbox = bench.inbox_builder().acknowledge_to(&outbox, "acknowledged").build();
    let acknowledgements =
        Acknowledgements::in_table_of(bench.pool.clone()).schema(bench.schema.clone()).clock(bench.clock.clone());
    for id in ["paid-1", "lost-receipt", "paid-2"] {
        bench.publish(&event(id)).await;
        inbox.receive(&arrived(&event(id)), &effects).await.unwrap();
    }
    bench.relay().pass().await.unwrap();
    let receipts = || {
        let messages = bench.broker.messages().into_iter();
        messages.filter(|message| message.topic() == "acknowledged").map(|message| arrived(&message))
    };
    assert_eq!(receipts().count(), 3);
    for receipt in receipts().filter(|receipt| !receipt.business_key().contains("lost")) {
        acknowledgements.collect(&receipt).await.unwrap();
        acknowledgements.collect(&receipt).await.unwrap();
    }
    bench.clock.advance(AGE + MINUTE);
    let unacknowledged = builder(bench, "unacknowledged").build();
    let scanner = unacknowledged.scanner(
        Unacknowledged::of(&outbox).topic("paid"),
        acknowledgements.of("points"),
        Resend::from(&outbox),
    );
    let pass = scanner.pass().await.unwrap();
    assert_eq!((pass.scanned, pass.repaired), (3, 1));
    bench.broker.forget();
    bench.relay().pass().await.unwrap();
    assert_eq!(bench.broker.ids(), ["lost-receipt"]);
    assert_eq!(inbox.receive(&arrived(&event("lost-receipt")), &effects).await.unwrap(), Received::Before);
    bench.relay().pass().await.unwrap();
    for receipt in receipts() {
        acknowledgements.collect(&receipt).await.unwrap();
    }
    bench.clock.advance(MINUTE);
    assert_eq!(scanner.pass().await.unwrap().resolved, 1);
    assert_eq!(bench.times("lost-receipt").await, 1);

    let error = acknowledgements.collect(&arrived(&Outgoing::new("acknowledged", "x", "[]"))).await.unwrap_err();
    assert!(error.to_string().contains("no acknowledgement"), "{error}");
    let minute_ago_ms = bench.clock.now_ms() - 60_000;
    assert_eq!(acknowledgements.clean(minute_ago_ms).await.unwrap(), 2, "the third is young");
}

pub async fn a_receipt_is_there_if_and_only_if_the_effects_are<D: TestDatabase>(bench: &Bench<D>) {
    let (outbox, effects) = (bench.outbox(), bench.note_down());
    let inbox = bench.inbox_builder().acknowledge_to(&outbox, "acknowledged").build();
    effects.fail("paid-1", 1);
    inbox.receive(&arrived(&event("paid-1")), &effects).await.unwrap();
    assert!(outbox.find("acknowledged", "points/paid-1").await.unwrap().is_none());
    bench.clock.advance(MINUTE);
    assert_eq!(inbox.retrier(effects).pass().await.unwrap(), 1);
    assert!(outbox.find("acknowledged", "points/paid-1").await.unwrap().is_some());
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
