//! Reading the tables, and telling people.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::Value as Json;
use tenonmq_outbox::{
    Backlog, Incoming, PublishError, Schedule, Status, Transactional,
    monitoring::{
        AlertSettings, Channel, Format, Measure, Monitor, Notice, Part, Rule, Rules, Severity, WebHook, prometheus_text,
    },
    notification::{Decision, Key, Reach, Signed},
};

use super::{
    bench::{Bench, SECOND, TestDatabase, event},
    endpoint::{Answer, Endpoint},
    half_broker::{HalfBroker, Trouble},
    notification::{courier, notifier, notify, paid},
};

const TICK: Duration = Duration::from_secs(15);

fn web_hook(endpoint: &Endpoint, format: Format) -> WebHook {
    WebHook::new(endpoint.url(), format).reach(Reach::public().and("127.0.0.0/8".parse().unwrap()))
}

fn monitor<D: TestDatabase>(bench: &Bench<D>) -> Monitor {
    Monitor::new(Rules::default(), AlertSettings::default()).clock(bench.clock.clone())
}

/// Passes for so long, with the clock.
async fn watch<D: TestDatabase>(bench: &Bench<D>, monitor: &mut Monitor, seconds: u64) {
    for _ in 0..seconds / TICK.as_secs() {
        monitor.pass().await;
        bench.clock.advance(TICK);
    }
}

fn told(endpoint: &Endpoint) -> Vec<Json> {
    endpoint.calls().iter().map(|call| serde_json::from_slice(&call.body).unwrap()).collect()
}

/// Gives one notification and one message of the outbox up.
async fn outage<D: TestDatabase>(bench: &Bench<D>) -> i64 {
    let ill = Endpoint::that(Answer::Says(500, "")).await;
    let row = notify(bench, &paid(&ill, "order-1")).await;
    courier(bench).otherwise(Schedule::listed([], 1)).pass().await.unwrap();
    bench.publish(&event("order-1")).await;
    bench.broker.fail("order-1", PublishError::lasting("refused"));
    bench.relay().pass().await.unwrap();
    row
}

pub async fn an_outage_of_several_parts_is_one_notice_and_then_resolved<D: TestDatabase>(bench: &Bench<D>) {
    let people = Endpoint::well().await;
    let key = Key::new("people's");
    let hook = web_hook(&people, Format::Json(Some(key.clone())));
    let mut monitor = monitor(bench).watch(bench.outbox()).watch(notifier(bench)).watch(bench.inbox()).tell(hook);
    watch(bench, &mut monitor, 60).await;
    assert!(people.calls().is_empty());
    let row = outage(bench).await;
    watch(bench, &mut monitor, 600).await;

    let notices = told(&people);
    assert_eq!(notices.len(), 1);
    assert_eq!((&notices[0]["kind"], &notices[0]["severity"]), (&"opened".into(), &"critical".into()));
    let parts: Vec<&Json> = notices[0]["findings"].as_array().unwrap().iter().map(|one| &one["part"]).collect();
    assert_eq!(parts, ["notification", "outbox"]);
    let call = people.calls().remove(0);
    let id = call.header("x-business-id");
    let signed = Signed::Notification { business_type: "alert", business_id: id, body: &call.body };
    assert_eq!(signed.verify(&[key], call.header("x-signature"), notices[0]["at"].as_i64().unwrap(), SECOND), Ok(()));

    notifier(bench).give_up(row, Decision { who: "ann", why: "closed" }).await.unwrap();
    let message = bench.outbox().list(Status::Exhausted, 0, 1).await.unwrap().remove(0).row;
    bench.outbox().give_up(message, "closed").await.unwrap();
    watch(bench, &mut monitor, 600).await;
    let notices = told(&people);
    assert_eq!((notices.len(), &notices[1]["kind"]), (2, &"resolved".into()));
}

pub async fn what_was_done_failed_and_came_twice_is_counted<D: TestDatabase>(bench: &Bench<D>) {
    let (well, ill) = (Endpoint::well().await, Endpoint::that(Answer::Says(500, "")).await);
    let (notifier, inbox, outbox) = (notifier(bench), bench.inbox(), bench.outbox());
    notify(bench, &paid(&well, "well")).await;
    notify(bench, &paid(&ill, "ill")).await;
    notifier.courier().otherwise(Schedule::listed([], 1)).pass().await.unwrap();
    bench.publish(&event("order-1")).await;
    outbox.relay(bench.broker.clone()).pass().await.unwrap();
    let message = Incoming::new("paid", "order-1", "x");
    for _ in 0..3 {
        let mut transaction = bench.pool.begin().await.unwrap();
        inbox.handle(&mut transaction, &message, async |_| Ok::<_, sqlx::Error>(())).await.unwrap();
        transaction.commit().await.unwrap();
    }
    let readings = [notifier.read().await.unwrap(), inbox.read().await.unwrap(), outbox.read().await.unwrap()];
    let page = prometheus_text(&readings);
    for line in [
        "tenonmq_outbox_done_total{part=\"notification\"} 1",
        "tenonmq_outbox_failed_total{part=\"notification\"} 1",
        "tenonmq_outbox_exhausted{part=\"notification\"} 1",
        "tenonmq_outbox_done_total{part=\"inbox/points\"} 1",
        "tenonmq_outbox_duplicates_total{part=\"inbox/points\"} 2",
        "tenonmq_outbox_done_total{part=\"outbox\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
}

/// Takes what it is told, unless it is away.
#[derive(Clone, Default)]
struct Pager(Arc<Mutex<(bool, Vec<Notice>)>>);

impl Channel for Pager {
    fn name(&self) -> &str {
        "pager"
    }

    fn tell<'a>(&'a self, notice: &'a Notice) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        let mut state = self.0.lock();
        let result = if state.0 { Err("away".to_owned()) } else { Ok(()) };
        if result.is_ok() {
            state.1.push(notice.clone());
        }
        Box::pin(std::future::ready(result))
    }
}

pub async fn a_channel_that_is_away_is_told_later_and_holds_up_no_other<D: TestDatabase>(bench: &Bench<D>) {
    let (away, here) = (Pager::default(), Pager::default());
    // a chat that says 200 and means no
    let chat = Endpoint::that(Answer::Says(200, "{\"errcode\":310000,\"errmsg\":\"sign not match\"}")).await;
    let ding = web_hook(&chat, Format::DingTalk(Some(Key::new("SEC"))));
    away.0.lock().0 = true;
    let mut monitor = monitor(bench).watch(bench.outbox()).tell(away.clone()).tell(ding).tell(here.clone());
    outage(bench).await;
    watch(bench, &mut monitor, 60).await;
    assert_eq!((away.0.lock().1.len(), here.0.lock().1.len()), (0, 1));
    let refused = chat.calls().len();
    assert!(refused > 1, "it is told again");
    assert!(chat.calls()[0].head.contains("&timestamp="), "{}", chat.calls()[0].head);

    away.0.lock().0 = false;
    chat.answers(Answer::Says(200, "{\"errcode\":0}"));
    watch(bench, &mut monitor, 60).await;
    assert_eq!((away.0.lock().1.len(), here.0.lock().1.len(), chat.calls().len()), (1, 1, refused + 1));
}

pub async fn a_table_that_cannot_be_read_is_told_of<D: TestDatabase>(bench: &Bench<D>) {
    let missing = bench.schema.clone().prefix("missing_").unwrap();
    let pager = Pager::default();
    let outbox = bench.outbox_builder().schema(missing).build();
    let mut monitor = monitor(bench).watch(outbox).tell(pager.clone());
    watch(bench, &mut monitor, 60).await;
    let notices = pager.0.lock().1.clone();
    assert_eq!(notices.len(), 1);
    assert_eq!((notices[0].findings[0].rule.as_str(), notices[0].findings[0].part.as_str()), ("unreadable", "outbox"));
}

pub async fn half_messages_that_stay_undecided_are_counted_and_told_of<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = Transactional::builder(bench.outbox(), "no name server").over(broker.clone());
    let pager = Pager::default();
    let rules = Rules::new([Rule::new("old", Measure::OldestMs, 300_000, Severity::Warning)]);
    let mut monitor = Monitor::new(rules, AlertSettings::default()).clock(bench.clock.clone());
    monitor = monitor.watch(service.clone()).tell(pager.clone());
    for id in ["paid-1", "paid-2", "paid-3"] {
        let mut transaction = bench.pool.begin().await.unwrap();
        service.publish(&mut transaction, &event(id)).await.unwrap();
        transaction.commit().await.unwrap();
    }
    assert_eq!(service.read().await.unwrap().backlog.pending, 3, "held");
    broker.trouble(Trouble::CommitsLost);
    let relay = service.relay().schedule(Schedule::listed([60 * SECOND], 7));
    for _ in 0..7 {
        relay.pass().await.unwrap();
        watch(bench, &mut monitor, 60).await;
    }
    let reading = service.read().await.unwrap();
    let Backlog { pending, exhausted, .. } = reading.backlog;
    assert_eq!((pending, exhausted), (0, 3), "being decided, and tried no more");
    let told = pager.0.lock().1.clone();
    assert_eq!((told.len(), told[0].findings.len()), (1, 1), "{told:?}");
    assert!(
        told[0].title().starts_with("[messaging] warning") && told[0].lines().starts_with("- half: the oldest row")
    );

    broker.trouble(Trouble::None);
    for row in service.outbox().list(Status::Exhausted, 0, 10).await.unwrap() {
        service.outbox().rerun(row.row).await.unwrap();
    }
    relay.pass().await.unwrap();
    let reading = service.read().await.unwrap();
    assert_eq!((reading.backlog, reading.counts.done, reading.counts.failed), (Backlog::default(), 3, 0));
}
