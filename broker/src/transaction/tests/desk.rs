//! The transaction desk over the wire, with a broker without sockets.

use std::time::Duration;

use tenonmq_protocol::{
    Command,
    body::{
        HeartbeatData, ProducerData,
        desk::DeskRequest,
        json,
        transaction_desk::{
            ActOnTransaction, ActedOnTransaction, AuditEntry, ListExhausted, ListTransactions, ReadAudit,
            ShowTransaction, ShownTransaction, TransactionPage,
        },
    },
    code::RequestCode,
    header::SendMessage,
};

use super::super::state::Next;
use crate::remoting::testing::{Peer, TestBroker};

const SECOND: Duration = Duration::from_secs(1);
const INVALID: i32 = 29;
const NOT_FOUND: i32 = 22;
const ILLEGAL: i32 = 604;

struct Shop {
    broker: TestBroker,
    peer: Peer,
}

impl Shop {
    fn with(settings: &[(&str, &str)]) -> Self {
        let broker = TestBroker::with(settings);
        broker.topic("paid", 1);
        broker.topic("shipped", 1);
        Self { broker, peer: Peer::new(1) }
    }

    fn open() -> Self {
        Self::with(&[])
    }

    /// A half message of `group` for `topic`; its log offset.
    async fn half(&self, group: &str, topic: &str, key: &str) -> i64 {
        let properties =
            format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{group}\u{2}UNIQ_KEY\u{1}FD-{key}\u{2}KEYS\u{1}{key} order\u{2}");
        let header =
            SendMessage { producer_group: group, topic, queue_id: 0, properties: &properties, ..Default::default() };
        let answer = self.broker.call(&self.peer, Command::with_header(&header).with_body(key.to_owned())).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        let id = answer.field("msgId").unwrap();
        i64::from_str_radix(&id[id.len() - 16..], 16).unwrap()
    }

    /// What a producer says about the message at these offsets.
    async fn verdict(&self, half_offset: i64, log_offset: i64, verdict: i32, from_check: bool) -> i32 {
        let command = Command::request(RequestCode::END_TRANSACTION)
            .with_field("producerGroup", "orders")
            .with_field("tranStateTableOffset", half_offset)
            .with_field("commitLogOffset", log_offset)
            .with_field("commitOrRollback", verdict)
            .with_field("fromTransactionCheck", from_check)
            .with_field("msgId", "x");
        self.broker.call(&self.peer, command).await.code
    }

    async fn producer_of(&self, group: &str) {
        let producer_data_set = vec![ProducerData { group_name: group.into() }];
        let data = HeartbeatData { client_id: "till-7".into(), producer_data_set, ..HeartbeatData::default() };
        let command = Command::request(RequestCode::HEART_BEAT).with_body(json::to_vec(&data));
        assert_eq!(self.broker.call(&self.peer, command).await.code, 0);
    }

    async fn ask<R: DeskRequest>(&self, request: &R) -> R::Answer {
        self.broker.desk(&self.peer, request).await.unwrap()
    }

    async fn show(&self, id: &str) -> ShownTransaction {
        self.ask(&ShowTransaction { id: id.into() }).await
    }

    async fn act(&self, action: &str, id: &str, reason: &str) -> Result<ActedOnTransaction, (i32, String)> {
        let (action, id, reason) = (action.into(), id.into(), reason.into());
        self.broker.desk(&self.peer, &ActOnTransaction { action, by: Some("ann".into()), id, reason }).await
    }

    async fn audit(&self) -> Vec<AuditEntry> {
        self.ask(&ReadAudit::default()).await.entries
    }

    fn check(&self) {
        while self.broker.core.transactions.check(&*self.broker.core) == Next::Now {}
    }

    fn visible(&self, topic: &str) -> Vec<String> {
        let store = &self.broker.core.store;
        let queue = store.queue(topic, 0);
        let body = |record: &tenonmq_protocol::message::RecordView<'_>| String::from_utf8_lossy(record.body()).into();
        queue.entries(0).filter_map(|at| store.peek(&at.entry, body)).collect()
    }
}

fn keys(page: &TransactionPage) -> Vec<&str> {
    page.transactions.iter().filter_map(|one| one.unique_key.as_deref()).collect()
}

#[tokio::test]
async fn a_stuck_transaction_is_found_and_settled_in_two_commands_with_the_audit_to_show() {
    let shop = Shop::open();
    shop.half("orders", "paid", "42").await;
    shop.broker.advance(3600 * SECOND);
    shop.check();
    let page = shop.ask(&ListTransactions { older_than: Some(600_000), ..Default::default() }).await;
    assert_eq!((page.pending, page.next, page.transactions.len()), (1, None, 1));
    let stuck = &page.transactions[0];
    assert_eq!((&*stuck.group, &*stuck.topic, stuck.keys.as_deref()), ("orders", "paid", Some("42 order")));
    assert_eq!((stuck.age, stuck.checks, stuck.producers, &*stuck.stage), (3_600_000, 0, 0, "no-producer"));
    assert_eq!((stuck.due_since.is_some(), stuck.next_check), (true, None));
    let id = stuck.unique_key.as_deref().unwrap();
    let done = shop.act("commit", id, "paid in the till, see ticket 7").await.unwrap();
    assert_eq!((&*done.result, done.half_offset), ("committed", 0));
    assert_eq!(shop.visible("paid"), ["42"]);
    let audit = shop.audit().await;
    let [line] = &audit[..] else { panic!("{audit:?}") };
    assert_eq!((&*line.action, &*line.result, &*line.reason), ("commit", "done", "paid in the till, see ticket 7"));
    assert!(line.by.starts_with("ann ("), "{}", line.by);
    assert_eq!((&*line.unique_key, &*line.group, &*line.topic), ("FD-42", "orders", "paid"));
    let shown = shop.show(id).await;
    assert_eq!((&*shown.state, shown.pending, &shown.audit), ("committed", None, &audit));
}

#[tokio::test]
async fn a_reason_is_required_and_so_are_an_action_and_a_transaction_that_exist() {
    let shop = Shop::open();
    shop.half("orders", "paid", "42").await;
    for action in ["check", "commit", "rollback", "resume"] {
        let (code, remark) = shop.act(action, "0", " ").await.unwrap_err();
        assert_eq!(code, INVALID);
        assert!(remark.contains("the field reason is empty"), "{remark}");
    }
    let (code, remark) = shop.act("delete", "0", "why").await.unwrap_err();
    assert!(code == INVALID && remark.contains("the field action is [delete]"), "{remark}");
    for (id, words) in [("7", "the half queue holds 0 to 0"), ("FD-43", "no transaction with the id FD-43"), ("", "id")]
    {
        let (code, remark) = shop.act("commit", id, "why").await.unwrap_err();
        assert!(code == NOT_FOUND && remark.contains(words), "{remark}");
    }
    let request = ListTransactions { stage: Some("lost".into()), ..Default::default() };
    assert_eq!(shop.broker.desk(&shop.peer, &request).await.unwrap_err().0, INVALID);
    assert_eq!((shop.audit().await.len(), shop.broker.core.transactions.pending()), (0, 1));
}

#[tokio::test]
async fn a_long_list_comes_in_pages_that_miss_none_and_repeat_none() {
    let shop = Shop::open();
    for number in 0..7 {
        shop.half("orders", "paid", &number.to_string()).await;
    }
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = shop.ask(&ListTransactions { after, limit: Some(3), ..Default::default() }).await;
        assert!(page.transactions.len() <= 3);
        found.extend(page.transactions.iter().map(|one| one.half_offset));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, (0..7).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_list_is_narrowed_by_group_topic_key_age_and_stage() {
    let shop = Shop::open();
    shop.half("orders", "paid", "1").await;
    shop.half("refunds", "paid", "2").await;
    shop.broker.advance(60 * SECOND);
    shop.half("orders", "shipped", "3").await;
    shop.check();
    let all = ListTransactions::default;
    assert_eq!(keys(&shop.ask(&ListTransactions { group: Some("orders".into()), ..all() }).await), ["FD-1", "FD-3"]);
    assert_eq!(keys(&shop.ask(&ListTransactions { topic: Some("paid".into()), ..all() }).await), ["FD-1", "FD-2"]);
    assert_eq!(keys(&shop.ask(&ListTransactions { key: Some("2".into()), ..all() }).await), ["FD-2"]);
    assert_eq!(keys(&shop.ask(&ListTransactions { key: Some("FD-3".into()), ..all() }).await), ["FD-3"]);
    assert_eq!(keys(&shop.ask(&ListTransactions { older_than: Some(60_000), ..all() }).await), ["FD-1", "FD-2"]);
    assert_eq!(keys(&shop.ask(&ListTransactions { stage: Some("waiting".into()), ..all() }).await), ["FD-3"]);
    let both = ListTransactions { stage: Some("no-producer".into()), group: Some("refunds".into()), ..all() };
    assert_eq!(keys(&shop.ask(&both).await), ["FD-2"]);
}

#[tokio::test]
async fn a_decided_transaction_cannot_be_decided_the_other_way_and_who_tried_is_on_record() {
    let shop = Shop::open();
    shop.half("orders", "paid", "42").await;
    shop.act("rollback", "0", "the order was cancelled").await.unwrap();
    let again = shop.act("rollback", "FD-42", "again").await.unwrap();
    assert_eq!(again.result, "was rolled back already");
    let (code, remark) = shop.act("commit", "FD-42", "no, it was not").await.unwrap_err();
    assert_eq!((code, &*remark), (ILLEGAL, "the transaction is rolled back already: it cannot be committed"));
    assert_eq!(shop.act("check", "FD-42", "why").await.unwrap_err().0, ILLEGAL);
    assert_eq!(shop.act("resume", "FD-42", "why").await.unwrap_err().0, ILLEGAL);
    assert!(shop.visible("paid").is_empty());
    let results: Vec<_> = shop.audit().await.into_iter().map(|line| (line.action, line.result)).collect();
    assert_eq!(results[0], ("rollback".into(), "done".into()));
    assert_eq!(results[2], ("commit".into(), format!("refused: {remark}")));
    assert_eq!(results.len(), 5);
    let shop = Shop { broker: shop.broker.restarted(), ..shop };
    assert_eq!(shop.act("commit", "0", "after a restart").await.unwrap_err().0, ILLEGAL);
}

#[tokio::test]
async fn an_exhausted_transaction_is_listed_and_resumed_and_then_settled() {
    let shop = Shop::with(&[("transactionCheckMax", "1")]);
    shop.producer_of("orders").await;
    shop.half("orders", "paid", "42").await;
    shop.broker.advance(6 * SECOND);
    shop.check();
    shop.broker.advance(30 * SECOND);
    shop.check();
    assert_eq!(shop.ask(&ListTransactions::default()).await.pending, 0);
    let exhausted = || async { shop.ask(&ListExhausted::default()).await.transactions.remove(0) };
    let parked = exhausted().await;
    assert_eq!((&*parked.state, parked.checks, &*parked.group), ("exhausted", 1, "orders"));
    assert_eq!(shop.show(&parked.id).await.state, "exhausted");
    let (code, remark) = shop.act("commit", "FD-42", "why").await.unwrap_err();
    assert!(code == ILLEGAL && remark.contains("resume it first"), "{remark}");
    let resumed = shop.act("resume", "FD-42", "the till is back").await.unwrap();
    assert_eq!((resumed.half_offset, exhausted().await.state), (1, "undecided".into()));
    let again = shop.act("resume", &parked.id, "twice").await.unwrap();
    assert_eq!((again.half_offset, &*again.result), (1, "is undecided already"));
    assert_eq!(shop.broker.core.transactions.pending(), 1);
    shop.act("commit", "FD-42", "it was paid").await.unwrap();
    assert_eq!((shop.visible("paid"), exhausted().await.state), (vec!["42".to_owned()], "committed".into()));
    let resumes: Vec<_> = shop.audit().await.into_iter().filter(|line| line.action == "resume").collect();
    assert!(resumes.iter().all(|line| line.half_queue_offset == 1), "{resumes:?}");
    assert_eq!(shop.act("resume", &parked.id, "once more").await.unwrap_err().0, ILLEGAL);
    assert_eq!(shop.visible("paid").len(), 1);
}

#[tokio::test]
async fn each_check_is_shown_with_its_time_who_was_asked_and_the_answer() {
    let shop = Shop::open();
    shop.producer_of("orders").await;
    let log_offset = shop.half("orders", "paid", "42").await;
    let done = shop.act("check", "FD-42", "the customer waits").await.unwrap();
    assert_eq!(done.result, "is asked about now");
    shop.check();
    let shown = shop.show("0").await;
    assert_eq!((&*shown.state, shown.pending.as_ref().unwrap().stage.as_str()), ("undecided", "asked"));
    assert_eq!((shown.checks[0].number, &shown.checks[0].answer), (1, &None));
    assert!(shown.checks[0].whom.contains("till-7"));
    assert_eq!((shown.producers.len(), &*shown.producers[0].client_id), (1, "till-7"));
    shop.broker.core.transactions.unknown(0, log_offset, true);
    assert_eq!(shop.show("0").await.checks[0].answer.as_deref(), Some("unknown"));
    shop.broker.advance(30 * SECOND);
    shop.check();
    assert_eq!(shop.verdict(0, log_offset, 8, true).await, 0);
    let shown = shop.show("FD-42").await;
    let answers: Vec<_> = shown.checks.iter().map(|check| (check.number, check.answer.as_deref())).collect();
    assert_eq!(answers, [(1, Some("unknown")), (2, Some("commit"))]);
    assert_eq!((&*shown.state, &*shown.audit[0].reason), ("committed", "the customer waits"));
}

#[tokio::test]
async fn a_producer_that_contradicts_itself_is_refused_and_seen() {
    let shop = Shop::open();
    let log_offset = shop.half("orders", "paid", "42").await;
    assert_eq!(shop.verdict(0, log_offset, 8, false).await, 0);
    for _ in 0..3 {
        assert_eq!(shop.verdict(0, log_offset, 12, false).await, ILLEGAL);
    }
    let shown = shop.show("FD-42").await;
    assert_eq!(shown.contradictions.len(), 3);
    assert_eq!((&*shown.contradictions[0].wanted, &*shown.contradictions[0].decided), ("rollback", "committed"));
    let audit = shop.audit().await;
    assert_eq!((audit.len(), &*audit[0].by, &*audit[0].action), (1, "producer", "rollback"));
    assert_eq!(audit[0].result, "refused: the transaction is committed already");
}

#[tokio::test]
async fn two_undecided_messages_with_one_key_are_told_apart_by_their_offsets() {
    let shop = Shop::open();
    shop.half("orders", "paid", "42").await;
    shop.half("orders", "paid", "42").await;
    let (code, remark) = shop.act("commit", "FD-42", "why").await.unwrap_err();
    assert!(code == ILLEGAL && remark.contains("[1, 0]"), "{remark}");
    shop.act("rollback", "0", "sent twice").await.unwrap();
    shop.act("commit", "FD-42", "the one that is left").await.unwrap();
    assert_eq!(shop.visible("paid"), ["42"]);
}

#[tokio::test]
async fn a_transaction_that_outlived_its_log_file_is_shown_with_its_first_time_and_settled_under_its_first_place() {
    let shop = Shop::open();
    let stored = shop.broker.core.clock.now_ms();
    shop.half("orders", "paid", "42").await;
    shop.broker.advance(100 * 3600 * SECOND);
    let body = vec![7; 100_000];
    (0..25).for_each(|_| _ = shop.broker.store("shipped", 0, &body));
    shop.broker.expire_log();
    assert_eq!(shop.broker.core.store.watermarks().min, 0, "its file stays");
    assert!(!shop.broker.core.transactions.carry(&*shop.broker.core));
    shop.broker.advance(20 * SECOND);
    shop.broker.expire_log();
    assert!(shop.broker.core.store.watermarks().min > 0, "until it is carried forward");
    let broker = &shop.broker;
    let page = broker.desk(&shop.peer, &ListTransactions::default()).await.unwrap();
    let listed: Vec<_> = page.transactions.iter().map(|one| (one.half_offset, one.carried_from, one.stored)).collect();
    assert_eq!(listed, [(1, Some(0), stored)]);
    for id in ["0", "1", "FD-42"] {
        let shown = broker.desk(&shop.peer, &ShowTransaction { id: id.into() }).await.unwrap();
        assert_eq!((shown.half_offset, shown.stored, shown.state.as_str()), (1, stored, "undecided"), "{id}");
        assert_eq!(shown.pending.unwrap().carried_from, Some(0));
    }
    let settle = ActOnTransaction {
        action: "commit".into(),
        id: "0".into(),
        reason: "the order was paid".into(),
        ..ActOnTransaction::default()
    };
    let done = broker.desk(&shop.peer, &settle).await.unwrap();
    assert_eq!((done.half_offset, done.result.as_str()), (1, "committed"));
    assert_eq!(broker.core.transactions.pending(), 0);
}
