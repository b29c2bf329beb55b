//! Dead letters against a broker without sockets: crashes are dropped brokers, time is moved by hand.

use std::{fs, time::Duration};

use tenonmq_protocol::{
    body::dead_letter_desk::*,
    header::SendBack,
    message::{RecordView, properties::find},
};

use super::runner::round;
use crate::{
    core::{
        names,
        topics::{perm, topic},
    },
    remoting::testing::{Peer, START_MS, TestBroker},
};

/// A message of `orders` that the group `billing` gives up at once, for this cause.
pub(super) async fn give_up(broker: &TestBroker, peer: &Peer, key: &str, tag: &str, cause: &str) {
    let text = format!("KEYS\u{1}{key} all\u{2}TAGS\u{1}{tag}\u{2}UNIQ_KEY\u{1}U{key}\u{2}");
    let queue_offset = broker.store_with("orders", 0, key.as_bytes(), &text, 0);
    let at = broker.core.store.find_queue("orders", 0).unwrap().entry(queue_offset).unwrap().physical_offset;
    send_back(broker, peer, at.cast_signed(), cause).await;
}

async fn send_back(broker: &TestBroker, peer: &Peer, at: i64, cause: &str) {
    let header = SendBack {
        commit_log_offset: at,
        group: "billing",
        delay_level: -1,
        origin_message_id: None,
        origin_topic: Some("orders"),
        unit_mode: false,
        max_reconsume_times: Some(16),
        broker_name: None,
        cause_class: Some(cause).filter(|cause| !cause.is_empty()),
        cause_digest: None,
        cause_host: Some("worker-1"),
    };
    assert_eq!(broker.ask(peer, &header).await.code, 0);
}

/// `letters` dead letters, of the causes `A` and `B` in turn.
pub(super) async fn broker_with(letters: usize, settings: &[(&str, &str)]) -> (TestBroker, Peer) {
    let (broker, peer) = (TestBroker::with(settings), Peer::new(1));
    broker.topic("orders", 2);
    for at in 0..letters {
        give_up(&broker, &peer, &format!("k{at}"), ["x", "y"][at % 2], ["A", "B"][at % 2]).await;
    }
    (broker, peer)
}

pub(super) fn wanted() -> StartRedrive {
    StartRedrive { group: "billing".into(), ..StartRedrive::default() }
}

pub(super) async fn start(broker: &TestBroker, peer: &Peer, wanted: &StartRedrive) -> i64 {
    broker.desk(peer, wanted).await.unwrap().id
}

/// Rounds until no job runs; the clock goes where it must.
pub(super) fn run(broker: &TestBroker) {
    for _ in 0..10_000 {
        let Some(next) = round(&broker.core).next else { return };
        broker.advance(Duration::from_millis((next - broker.core.clock.now_ms()).max(0).unsigned_abs()));
    }
    panic!("the jobs do not end");
}

pub(super) async fn job(broker: &TestBroker, peer: &Peer, id: i64) -> RedriveJob {
    broker.desk(peer, &ListRedrives { id: Some(id) }).await.unwrap().jobs.remove(0)
}

pub(super) async fn results(broker: &TestBroker, peer: &Peer, id: i64) -> Vec<RedriveResult> {
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let page = broker.desk(peer, &ShowRedriveResults { id, from, count: 7, only_not_sent: false }).await.unwrap();
        found.extend(page.results);
        match page.next {
            Some(next) => from = next,
            None => return found,
        }
    }
}

pub(super) fn bodies(broker: &TestBroker, topic: &str, queue_id: i32) -> Vec<String> {
    look(broker, topic, queue_id, |record| String::from_utf8(record.body().to_vec()).unwrap())
}

fn look<T>(broker: &TestBroker, topic: &str, queue_id: i32, see: impl Fn(&RecordView<'_>) -> T) -> Vec<T> {
    let Some(queue) = broker.core.store.find_queue(topic, queue_id) else { return Vec::new() };
    queue.entries(0).map(|at| broker.core.store.peek(&at.entry, |record| see(record)).unwrap()).collect()
}

#[tokio::test]
async fn thread_dashboard_30_dead_letters_are_listed_by_group_and_shown_with_their_causes() {
    let (broker, peer) = broker_with(5, &[]).await;
    let groups = broker.desk(&peer, &ListDeadLetters::default()).await.unwrap();
    assert_eq!(
        groups.groups,
        [DeadLetterGroup {
            begins: 0,
            ends: 5,
            group: "billing".into(),
            messages: 5,
            newest: Some(START_MS),
            oldest: Some(START_MS),
            readable: true,
            sent_again: 0,
            topic: "%DLQ%billing".into(),
        }]
    );
    assert_eq!(groups.next, None);

    let asked = ShowDeadLetters { group: "billing".into(), count: 2, ..ShowDeadLetters::default() };
    let page = broker.desk(&peer, &asked).await.unwrap();
    assert_eq!((page.letters.len(), page.next), (2, Some(2)));
    let letter = &page.letters[1];
    assert_eq!((letter.offset, letter.retries, letter.body_length), (1, 1, 2));
    assert_eq!((letter.keys.as_deref(), letter.tags.as_deref()), (Some("k1 all"), Some("y")));
    assert_eq!((letter.origin_topic.as_deref(), letter.unique_key.as_deref()), (Some("orders"), Some("Uk1")));
    assert!(letter.origin_id.is_some() && letter.body.is_none() && letter.properties.is_empty());
    let cause =
        DeadLetterCause { at: START_MS, attempt: 1, class: "B".into(), digest: String::new(), host: "worker-1".into() };
    assert_eq!(letter.causes, [cause]);

    let whole = ShowDeadLetters { whole: true, from: page.next, ..asked };
    let page = broker.desk(&peer, &whole).await.unwrap();
    assert_eq!(page.letters[0].body.as_deref(), Some("azI=")); // k2
    assert_eq!(page.letters[0].properties["ORIGIN_MESSAGE_ID"], *page.letters[0].origin_id.as_ref().unwrap());
}

#[tokio::test]
async fn letters_are_found_by_tag_key_cause_topic_and_time() {
    let (broker, peer) = broker_with(4, &[]).await;
    broker.advance(Duration::from_secs(60));
    give_up(&broker, &peer, "late", "x", "").await;
    let found = async |filter: DeadLetterFilter| {
        let asked = ShowDeadLetters { group: "billing".into(), filter, ..ShowDeadLetters::default() };
        broker.desk(&peer, &asked).await.unwrap().letters.iter().map(|letter| letter.offset).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found(DeadLetterFilter { tag: text("x"), ..Default::default() }).await, [0, 2, 4]);
    assert_eq!(found(DeadLetterFilter { key: text("k3"), ..Default::default() }).await, [3]);
    assert_eq!(found(DeadLetterFilter { key: text("Uk3"), ..Default::default() }).await, [3]);
    assert_eq!(found(DeadLetterFilter { key: text("k"), ..Default::default() }).await, Vec::<i64>::new());
    assert_eq!(found(DeadLetterFilter { cause: text("B"), ..Default::default() }).await, [1, 3]);
    assert_eq!(found(DeadLetterFilter { cause: text("-"), ..Default::default() }).await, [4]);
    assert_eq!(found(DeadLetterFilter { topic: text("others"), ..Default::default() }).await, Vec::<i64>::new());
    assert_eq!(found(DeadLetterFilter { from: Some(START_MS + 1), ..Default::default() }).await, [4]);
    assert_eq!(found(DeadLetterFilter { until: Some(START_MS + 1), ..Default::default() }).await, [0, 1, 2, 3]);
    assert_eq!(found(DeadLetterFilter { min_redriven: 1, ..Default::default() }).await, Vec::<i64>::new());
}

#[tokio::test]
async fn thread_1334_3327_the_dead_letter_topic_is_readable() {
    let (broker, peer) = broker_with(1, &[]).await;
    assert!(broker.core.topics.get("%DLQ%billing").unwrap().is_readable());
    broker.core.topics.put(topic("%DLQ%billing", 1, perm::WRITE), START_MS); // as brokers before 4.7 made it
    let groups = broker.desk(&peer, &ListDeadLetters::default()).await.unwrap();
    assert!(!groups.groups[0].readable, "operators are told");
    let id = start(&broker, &peer, &wanted()).await;
    run(&broker);
    assert_eq!(job(&broker, &peer, id).await.sent, 1, "and can send it again nevertheless");
}

#[tokio::test]
async fn a_redrive_gives_letters_to_the_group_that_gave_them_up_as_if_they_were_new() {
    let (broker, peer) = broker_with(3, &[]).await;
    let id = start(&broker, &peer, &wanted()).await;
    run(&broker);
    let done = job(&broker, &peer, id).await;
    assert_eq!((done.state, done.scanned, done.matched, done.sent, done.failed), (RedriveState::Done, 3, 3, 3, 0));
    assert_eq!(done.causes.into_iter().collect::<Vec<_>>(), [("A".to_owned(), 2), ("B".to_owned(), 1)]);
    assert_eq!(bodies(&broker, "%RETRY%billing", 0), ["k0", "k1", "k2"]);
    look(&broker, "%RETRY%billing", 0, |record| {
        let property = |name| find(record.properties_text(), name);
        assert_eq!((record.reconsume_times(), property("RETRY_TOPIC")), (0, Some("orders")));
        assert_eq!((property("DELAY"), property("REAL_TOPIC"), property("WAIT")), (None, None, None));
        assert_eq!(property("TENON_REDRIVEN"), Some("1"));
        assert!(property("ORIGIN_MESSAGE_ID").is_some() && property("UNIQ_KEY").is_some());
    });
    let results = results(&broker, &peer, id).await;
    let ids = look(&broker, "%RETRY%billing", 0, |record| record.message_id().to_string());
    assert_eq!(results.iter().map(|result| result.sent_id.clone().unwrap()).collect::<Vec<_>>(), ids);
    assert!(results.iter().all(|result| result.outcome == RedriveOutcome::Sent));
    assert_eq!(results.iter().map(|result| result.offset).collect::<Vec<_>>(), [0, 1, 2]);
    let listed = broker.desk(&peer, &ListDeadLetters { group: Some("billing".into()), ..Default::default() }).await;
    assert_eq!(listed.unwrap().groups[0].sent_again, 3);
}

#[tokio::test]
async fn a_redrive_to_the_topic_makes_it_a_message_of_that_topic_again() {
    let (broker, peer) = broker_with(2, &[]).await;
    broker.topic("mended", 1);
    let before = bodies(&broker, "orders", 0).len();
    start(&broker, &peer, &StartRedrive { target: RedriveTarget::Origin, ..wanted() }).await;
    run(&broker);
    assert_eq!((bodies(&broker, "orders", 0).len(), bodies(&broker, "orders", 1).len()), (before + 1, 1));
    let target = StartRedrive { target: RedriveTarget::Topic, topic: Some("mended".into()), again: true, ..wanted() };
    start(&broker, &peer, &target).await;
    run(&broker);
    assert_eq!(bodies(&broker, "mended", 0), ["k0", "k1"]);
    look(&broker, "mended", 0, |record| assert_eq!(find(record.properties_text(), "RETRY_TOPIC"), None));
}

#[tokio::test]
async fn a_dry_run_counts_by_cause_and_sends_nothing() {
    let (broker, peer) = broker_with(5, &[]).await;
    let end = broker.core.store.watermarks().appended;
    let dry = StartRedrive { dry_run: true, ..wanted() };
    let id = start(&broker, &peer, &dry).await;
    run(&broker);
    let done = job(&broker, &peer, id).await;
    assert_eq!((done.state, done.matched, done.sent), (RedriveState::Done, 5, 5));
    assert_eq!(done.causes.into_iter().collect::<Vec<_>>(), [("A".to_owned(), 3), ("B".to_owned(), 2)]);
    assert_eq!(broker.core.store.watermarks().appended, end);
    assert_eq!(results(&broker, &peer, id).await, Vec::<RedriveResult>::new());
    let id = start(&broker, &peer, &StartRedrive { max_messages: 2, ..dry }).await;
    run(&broker);
    assert_eq!(job(&broker, &peer, id).await.sent, 2);
}

#[tokio::test]
async fn a_letter_is_sent_once_by_all_jobs_unless_that_is_asked_for() {
    let (broker, peer) = broker_with(3, &[]).await;
    let some = DeadLetterFilter { cause: Some("B".into()), ..DeadLetterFilter::default() };
    start(&broker, &peer, &StartRedrive { filter: some, ..wanted() }).await;
    run(&broker);
    let broker = broker.restarted();
    let id = start(&broker, &peer, &wanted()).await;
    run(&broker);
    let done = job(&broker, &peer, id).await;
    assert_eq!((done.sent, done.skipped), (2, 1));
    assert_eq!(bodies(&broker, "%RETRY%billing", 0), ["k1", "k0", "k2"]);
    let id = start(&broker, &peer, &StartRedrive { again: true, ..wanted() }).await;
    run(&broker);
    assert_eq!(job(&broker, &peer, id).await.sent, 3);
}

#[tokio::test]
async fn a_deleted_dead_letter_topic_takes_its_marks_with_it() {
    let (broker, peer) = broker_with(2, &[]).await;
    start(&broker, &peer, &wanted()).await;
    run(&broker);
    broker.core.topics.remove("%DLQ%billing", START_MS);
    broker.core.store.delete_topic("%DLQ%billing").unwrap();
    give_up(&broker, &peer, "new", "x", "A").await;
    let id = start(&broker, &peer, &wanted()).await;
    run(&broker);
    assert_eq!(job(&broker, &peer, id).await.sent, 1, "the new letter has an offset that an old one had");
}

#[tokio::test]
async fn a_job_keeps_to_its_rate() {
    let (broker, peer) = broker_with(40, &[]).await;
    let id = start(&broker, &peer, &StartRedrive { per_second: 20, ..wanted() }).await;
    for sent in [2, 4, 6] {
        let next = round(&broker.core).next.unwrap();
        assert_eq!(next, broker.core.clock.now_ms() + 100);
        assert_eq!(round(&broker.core).next, Some(next), "nothing before");
        assert_eq!(job(&broker, &peer, id).await.sent, sent);
        broker.advance(Duration::from_millis(100));
    }
}

#[tokio::test]
async fn thread_dashboard_4315_a_job_is_paused_resumed_and_cancelled() {
    let (broker, peer) = broker_with(40, &[]).await;
    let id = start(&broker, &peer, &StartRedrive { per_second: 20, ..wanted() }).await;
    round(&broker.core);
    let steer = async |action| broker.desk(&peer, &SteerRedrive { action, id }).await;
    let paused = steer(RedriveAction::Pause).await.unwrap();
    assert_eq!((paused.state, paused.sent), (RedriveState::Paused, 2));
    broker.advance(Duration::from_secs(60));
    assert_eq!(round(&broker.core).next, None);
    assert_eq!(job(&broker, &peer, id).await.sent, 2);
    assert_eq!(steer(RedriveAction::Resume).await.unwrap().state, RedriveState::Running);
    round(&broker.core);
    assert_eq!(steer(RedriveAction::Cancel).await.unwrap().sent, 4);
    assert_eq!(
        steer(RedriveAction::Resume).await.unwrap_err(),
        (604, format!("id: redrive job {id} is cancelled already"))
    );
    assert_eq!(bodies(&broker, "%RETRY%billing", 0).len(), 4);
}

#[tokio::test]
async fn a_paused_job_is_paused_after_a_crash_too() {
    let (broker, peer) = broker_with(10, &[]).await;
    let id = start(&broker, &peer, &StartRedrive { per_second: 20, ..wanted() }).await;
    round(&broker.core);
    broker.desk(&peer, &SteerRedrive { action: RedriveAction::Pause, id }).await.unwrap();
    let broker = broker.crashed();
    run(&broker);
    assert_eq!((job(&broker, &peer, id).await.state, job(&broker, &peer, id).await.sent), (RedriveState::Paused, 2));
    broker.desk(&peer, &SteerRedrive { action: RedriveAction::Resume, id }).await.unwrap();
    run(&broker);
    assert_eq!(bodies(&broker, "%RETRY%billing", 0).len(), 10);
}

#[tokio::test]
async fn a_job_goes_on_after_a_crash_wherever_it_happened_and_sends_nothing_twice() {
    // the journal is cut back to each of its lengths, as a crash between any two writes would leave it
    let (broker, peer) = broker_with(12, &[]).await;
    let id = start(&broker, &peer, &StartRedrive { per_second: 30, ..wanted() }).await;
    let path = broker.folder().join(format!("tenonmq/redrive/{id}.jsonl"));
    let mut lengths = Vec::new();
    let mut broker = broker;
    for turn in 0..4 {
        let before = fs::metadata(&path).unwrap().len();
        round(&broker.core);
        let after = fs::metadata(&path).unwrap().len();
        lengths.push((before, after));
        let cut = match turn {
            0 => before,      // nothing of the turn was noted
            1 => before + 10, // half a line
            2 => after - 1,   // all but the progress
            _ => after,
        };
        broker = broker.crashed_after(|| fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap());
    }
    run(&broker);
    let done = job(&broker, &peer, id).await;
    assert_eq!((done.state, done.sent, done.failed, done.skipped), (RedriveState::Done, 12, 0, 0));
    let expected: Vec<String> = (0..12).map(|at| format!("k{at}")).collect();
    assert_eq!(bodies(&broker, "%RETRY%billing", 0), expected);
    let noted = results(&broker, &peer, id).await;
    assert_eq!(noted.iter().map(|result| result.offset).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    let ids = look(&broker, "%RETRY%billing", 0, |record| record.message_id().to_string());
    assert_eq!(noted.iter().map(|result| result.sent_id.clone().unwrap()).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn thread_dashboard_3161_4913_what_was_not_sent_is_told_one_by_one_with_the_reason() {
    let (broker, peer) = broker_with(2, &[]).await;
    broker.store("%DLQ%billing", 0, b"by hand"); // names no topic it came from
    let shown = broker.desk(&peer, &ShowDeadLetters { group: "billing".into(), ..Default::default() }).await.unwrap();
    let mut ids: Vec<String> = shown.letters.iter().map(|letter| letter.id.clone()).collect();
    ids.push("7F00000100002A9F00000000000000FF".into());
    let id = start(&broker, &peer, &StartRedrive { ids, target: RedriveTarget::Origin, ..wanted() }).await;
    run(&broker);
    let done = job(&broker, &peer, id).await;
    assert_eq!((done.state, done.scanned, done.sent, done.failed), (RedriveState::Done, 4, 2, 2));
    let asked = ShowRedriveResults { id, from: 0, count: 0, only_not_sent: true };
    let failed = broker.desk(&peer, &asked).await.unwrap().results;
    let why: Vec<&str> = failed.iter().map(|result| result.why.as_deref().unwrap()).collect();
    assert_eq!(
        why,
        [
            "it does not say which topic it came from (RETRY_TOPIC)",
            "no dead letter of group billing has this id (any more)"
        ]
    );
}

#[tokio::test]
async fn a_topic_that_is_gone_is_the_reason_for_each_of_its_letters_and_nothing_is_created() {
    let (broker, peer) = broker_with(2, &[]).await;
    broker.core.topics.remove("orders", START_MS);
    let id = start(&broker, &peer, &StartRedrive { target: RedriveTarget::Origin, ..wanted() }).await;
    run(&broker);
    let done = job(&broker, &peer, id).await;
    assert_eq!((done.sent, done.failed), (0, 2));
    assert_eq!(results(&broker, &peer, id).await[0].why.as_deref(), Some("topic orders does not exist"));
    assert!(broker.core.topics.get("orders").is_none());
}

#[tokio::test]
async fn a_message_that_keeps_coming_back_is_in_quarantine_until_it_is_forced() {
    let (broker, peer) = broker_with(1, &[("deadLetterRedrivesMax", "2")]).await;
    for redriven in 1..=2 {
        start(&broker, &peer, &wanted()).await;
        run(&broker);
        let copies = look(&broker, "%RETRY%billing", 0, |record| record.physical_offset());
        assert_eq!(copies.len(), redriven);
        send_back(&broker, &peer, *copies.last().unwrap(), "A").await; // it fails again
    }
    let id = start(&broker, &peer, &wanted()).await;
    run(&broker);
    let done = job(&broker, &peer, id).await;
    assert_eq!((done.sent, done.skipped, done.quarantined), (0, 2, 1));
    let filter = DeadLetterFilter { min_redriven: 2, ..DeadLetterFilter::default() };
    let asked = ShowDeadLetters { group: "billing".into(), filter, ..ShowDeadLetters::default() };
    let list = broker.desk(&peer, &asked).await.unwrap().letters;
    assert_eq!((list.len(), list[0].offset, list[0].redriven), (1, 2, 2));
    assert_eq!(list[0].causes.len(), 3, "and its causes tell of every time");
    let id = start(&broker, &peer, &StartRedrive { force: true, ..wanted() }).await;
    run(&broker);
    assert_eq!(job(&broker, &peer, id).await.sent, 1);
}

#[tokio::test]
async fn letters_that_come_while_a_job_runs_are_left_to_the_next_one() {
    let (broker, peer) = broker_with(2, &[]).await;
    let id = start(&broker, &peer, &StartRedrive { per_second: 1, ..wanted() }).await;
    round(&broker.core);
    give_up(&broker, &peer, "later", "x", "A").await;
    run(&broker);
    let done = job(&broker, &peer, id).await;
    assert_eq!((done.state, done.sent, done.end), (RedriveState::Done, 2, 2));
}

#[tokio::test]
async fn jobs_are_bounded_and_a_group_has_one_at_a_time() {
    let (broker, peer) = broker_with(2, &[("deadLetterJobsMax", "2"), ("deadLetterJobsKeptMax", "1")]).await;
    let slow = StartRedrive { per_second: 1, ..wanted() };
    let first = start(&broker, &peer, &slow).await;
    let remark = format!("group: redrive job {first} of \"billing\" has not ended");
    assert_eq!(broker.desk(&peer, &slow).await.unwrap_err(), (604, remark));
    let dry = StartRedrive { dry_run: true, ..wanted() };
    start(&broker, &peer, &dry).await;
    assert_eq!(broker.desk(&peer, &dry).await.unwrap_err().0, 2);
    run(&broker);
    for _ in 0..3 {
        start(&broker, &peer, &dry).await;
        run(&broker);
    }
    let files = fs::read_dir(broker.folder().join("tenonmq/redrive")).unwrap().count();
    assert_eq!(files, 3, "the job that ended last, the one before, and the list of sent letters");
    assert_eq!(broker.restarted().core.dead_letters.all().len(), 2);
}

#[tokio::test]
async fn a_job_that_makes_no_sense_is_refused_and_the_remark_names_the_field() {
    let (broker, peer) = broker_with(1, &[]).await;
    let with_dlq = names::dlq_topic("nobody");
    broker.core.topics.put(topic(with_dlq, 1, perm::READ_WRITE), START_MS);
    let topic = |name: &str| StartRedrive { target: RedriveTarget::Topic, topic: Some(name.into()), ..wanted() };
    let filter = DeadLetterFilter { from: Some(5), until: Some(5), ..DeadLetterFilter::default() };
    for (asked, code, field) in [
        (StartRedrive { group: "unknown".into(), ..wanted() }, 17, "group: "),
        (StartRedrive { group: "nobody".into(), ..wanted() }, 26, "group: "),
        (StartRedrive { per_second: -1, ..wanted() }, 29, "perSecond: "),
        (StartRedrive { max_messages: -1, ..wanted() }, 29, "maxMessages: "),
        (StartRedrive { ids: vec!["here".into()], ..wanted() }, 29, "ids: "),
        (StartRedrive { ids: vec!["7F00000100002A9F0000000000000000".into(); 1001], ..wanted() }, 29, "ids: "),
        (StartRedrive { filter, ..wanted() }, 29, "filter.from: "),
        (StartRedrive { topic: Some("orders".into()), ..wanted() }, 29, "topic: "),
        (StartRedrive { target: RedriveTarget::Topic, ..wanted() }, 29, "topic: "),
        (topic("%DLQ%billing"), 29, "topic: "),
        (topic(names::HALF_TOPIC), 29, "topic: "),
        (topic("missing"), 17, "topic: "),
    ] {
        let (got, remark) = broker.desk(&peer, &asked).await.unwrap_err();
        assert_eq!(got, code, "{remark}");
        assert!(remark.starts_with(field), "{remark}");
    }
    assert_eq!(
        broker.desk(&peer, &ListRedrives { id: Some(7) }).await.unwrap_err(),
        (22, "id: no redrive job 7".into())
    );
    let gone = ShowDeadLetters { group: "unknown".into(), ..ShowDeadLetters::default() };
    assert_eq!(broker.desk(&peer, &gone).await.unwrap_err().0, 17);
}
