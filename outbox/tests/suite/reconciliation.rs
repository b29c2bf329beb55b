//! Two tables side by side.

use std::error::Error as _;

use sqlx::Pool;
use tenonmq_outbox::{
    Error, Status,
    fault::Point,
    reconciliation::{
        Difference, Kind, Pages, Period, Published, Received, Reconciliation, Record, Repairs, Report, Trouble,
    },
};

use super::bench::{Bench, START_MS, TestDatabase, arrived, event};

const DAY_MS: i64 = 24 * 3_600_000;
const HOUR_MS: i64 = 3_600_000;

/// The day before the one in which the tests begin.
fn day() -> Period {
    Period::day_before(START_MS, 0)
}

/// Its first millisecond.
fn midnight() -> i64 {
    START_MS.div_euclid(DAY_MS) * DAY_MS - DAY_MS
}

impl<D: TestDatabase> Bench<D> {
    /// Publishes at that time, and handles it so much later.
    async fn event_at(&self, at_ms: i64, id: &str, handled_after_ms: Option<i64>) {
        self.clock.step(at_ms - tenonmq_outbox::Clock::now_ms(&self.clock));
        self.publish(&event(id)).await;
        if let Some(after_ms) = handled_after_ms {
            self.clock.step(after_ms);
            self.inbox().receive(&arrived(&event(id)), &self.note_down()).await.unwrap();
        }
    }

    async fn compare(&self, now_ms: i64) -> Report {
        let period = day();
        let left = Published::of(&self.outbox(), "paid", &period);
        let right = Received::of(&self.inbox(), "paid", &period);
        let clock = tenonmq_outbox::ManualClock::at(now_ms);
        Reconciliation::new("paid", period).clock(clock).run(left, right, &mut ()).await.unwrap()
    }
}

fn kinds(report: &Report) -> Vec<(&str, Kind)> {
    report.differences.iter().map(|one| (one.key.as_str(), one.kind)).collect()
}

pub async fn what_was_sent_is_compared_with_what_was_handled<D: TestDatabase>(bench: &Bench<D>) {
    let noon = midnight() + DAY_MS / 2;
    // names that a language would sort otherwise than their bytes
    for id in ["b/1", "B/2", "ä-3", "a_4", "a-5", "Z"] {
        bench.event_at(noon, id, Some(5)).await;
    }
    bench.event_at(noon, "missing", None).await;
    bench.clock.step(noon - tenonmq_outbox::Clock::now_ms(&bench.clock));
    bench.inbox().receive(&arrived(&event("surplus")), &bench.note_down()).await.unwrap();
    let failing = bench.note_down();
    failing.fail("failed", 1);
    bench.publish(&event("failed")).await;
    bench.inbox().receive(&arrived(&event("failed")), &failing).await.unwrap();

    let report = bench.compare(START_MS + DAY_MS).await;
    assert_eq!(kinds(&report), [("failed", Kind::Different), ("missing", Kind::Missing), ("surplus", Kind::Surplus)]);
    let failed = &report.differences[0].fields[0];
    assert_eq!(
        (failed.field.as_str(), failed.left.as_deref(), failed.right.as_deref()),
        ("handled", Some("done"), Some("pending"))
    );
    assert_eq!((report.matched, report.left.records, report.right.records), (6, 8, 8));
    assert!(!report.agrees());
}

pub async fn what_is_under_way_at_the_end_of_the_period_is_not_missing<D: TestDatabase>(bench: &Bench<D>) {
    let end = midnight() + DAY_MS;
    bench.event_at(midnight() - 1, "of-the-day-before", Some(10)).await; // handled within the period
    bench.event_at(end - 1, "over-midnight", Some(10)).await; // handled after it
    bench.event_at(end - HOUR_MS / 2, "under-way", None).await;
    bench.event_at(end - HOUR_MS, "lost", None).await;
    bench.event_at(end, "of-the-day-after", None).await;

    let report = bench.compare(end).await;
    assert_eq!(kinds(&report), [("lost", Kind::Missing), ("under-way", Kind::Unsettled)]);
    assert_eq!((report.matched, report.missing, report.unsettled), (1, 1, 1));
    let later = bench.compare(end + HOUR_MS).await;
    assert_eq!(kinds(&later), [("lost", Kind::Missing), ("under-way", Kind::Missing)]);
}

async fn repair<D: TestDatabase>(bench: &Bench<D>, content: &'static str) -> Result<(u64, u64, usize), Trouble> {
    let period = day();
    let left = Published::of(&bench.outbox(), "paid", &period);
    let right = Received::of(&bench.inbox(), "paid", &period);
    let outbox = bench.outbox();
    let mut repairs =
        Repairs::new(&outbox, "repair", |one: &Difference| (one.kind == Kind::Missing).then_some(content));
    let clock = tenonmq_outbox::ManualClock::at(START_MS + DAY_MS);
    Reconciliation::new("paid", period).clock(clock).run(left, right, &mut repairs).await?;
    Ok((repairs.written, repairs.known, repairs.refused.len()))
}

async fn lose<D: TestDatabase>(bench: &Bench<D>, count: usize) {
    let noon = midnight() + DAY_MS / 2;
    for number in 0..count {
        bench.event_at(noon, &format!("order-{number:03}"), None).await;
    }
}

async fn repairs_waiting<D: TestDatabase>(bench: &Bench<D>) -> i64 {
    bench.number(format!("SELECT COUNT(*) FROM {} WHERE topic = 'repair'", bench.published())).await
}

pub async fn repairs_are_written_once_for_each_key_and_period<D: TestDatabase>(bench: &Bench<D>) {
    lose(bench, 2).await;
    let long = "k".repeat(250);
    bench.event_at(midnight() + 1, &long, None).await;
    assert_eq!(repair(bench, "send again").await.unwrap(), (2, 0, 1), "no message can be named by the long key");
    assert_eq!(repair(bench, "said otherwise").await.unwrap(), (0, 2, 1));
    assert_eq!(repairs_waiting(bench).await, 2);
    let id = format!("reconciliation/paid/{}/order-000", day().name());
    let row = bench.outbox().find("repair", &id).await.unwrap().unwrap();
    assert_eq!(row.status, Status::Pending);
}

pub async fn repairs_survive_a_crash_anywhere<D: TestDatabase>(bench: &Bench<D>) {
    lose(bench, 150).await; // more than one transaction takes
    for point in [Point::PublishWritten, Point::RepairsWritten, Point::RepairsKept] {
        for nth in 1..=2 {
            bench.run(format!("DELETE FROM {} WHERE topic = 'repair'", bench.published())).await;
            bench.faults.crash_at_nth(point, nth);
            let crash = repair(bench, "send again").await.unwrap_err();
            assert!(matches!(crash, Trouble::Outbox(Error::Crashed(at)) if at == point), "{crash}");
            bench.bury().await;
            let (written, known, _) = repair(bench, "send again").await.unwrap();
            assert_eq!((written + known, repairs_waiting(bench).await), (150, 150), "{point:?} {nth}");
        }
    }
}

pub async fn pages_of_a_query_are_compared<D: TestDatabase>(bench: &Bench<D>) {
    let table = bench.effects.clone();
    for number in 0..7 {
        bench.run(format!("INSERT INTO {table} (business_key) VALUES ('k{number}')")).await;
    }
    let pages = |skip: i64| {
        let (pool, table): (Pool<D>, String) = (bench.pool.clone(), table.clone());
        let ask = move |after: Option<String>, limit: u32| {
            let (pool, table) = (pool.clone(), table.clone());
            async move {
                let mut page = Vec::new();
                let mut connection = pool.acquire().await?;
                for number in 0..7 {
                    let key = format!("k{number}");
                    let there = format!("SELECT COUNT(*) FROM {table} WHERE business_key = '{key}'");
                    let is_there = D::number(&mut *connection, there).await? > 0 && number != skip;
                    if is_there && after.as_ref().is_none_or(|after| *after < key) && page.len() < limit as usize {
                        page.push(Record::new(key).amount(number));
                    }
                }
                Ok(page)
            }
        };
        Pages::new("effects", ask).limit(2)
    };
    let report = Reconciliation::new("effects", day()).run(pages(-1), pages(5), &mut ()).await.unwrap();
    assert_eq!(kinds(&report), [("k5", Kind::Missing)]);
    assert_eq!((report.left.amount, report.right.amount, report.left.records), (21, 16, 7));

    bench.run(format!("DROP TABLE {table}")).await;
    let gone = Reconciliation::new("effects", day()).run(pages(-1), pages(5), &mut ()).await.unwrap_err();
    assert!(matches!(&gone, Trouble::Source { name, .. } if name == "effects"), "{gone}");
    assert!(gone.source().is_none() || gone.to_string().contains("effects"));
}
