//! What goes into the history, and out of it again.

use tenonmq_protocol::{
    Command, RequestCode,
    body::offset_desk::{ListMoves, OffsetMove, OffsetStep, ResetGroup, UndoMove},
    header::offset::UpdateOffset,
};

use crate::remoting::testing::{Peer, TestBroker};

fn orders() -> (TestBroker, Peer) {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 2);
    (0..10).for_each(|_| _ = broker.store("orders", 0, b"x"));
    broker.core.groups.find_or_create("billing").unwrap();
    broker.core.offsets.commit("billing", "orders", 0, 7);
    (broker, peer)
}

async fn commit(broker: &TestBroker, peer: &Peer, commit_offset: i64) {
    let header =
        UpdateOffset { consumer_group: "billing", topic: "orders", queue_id: 0, commit_offset, broker_name: None };
    assert_eq!(broker.ask(peer, &header).await.code, 0);
}

async fn command(broker: &TestBroker, peer: &Peer, code: RequestCode, fields: &[(&str, &str)]) {
    let command = fields.iter().fold(Command::request(code), |command, (name, value)| command.with_field(*name, value));
    assert_eq!(broker.call(peer, command).await.code, 0);
}

async fn history(broker: &TestBroker) -> Vec<OffsetMove> {
    broker.desk(&Peer::new(99), &ListMoves::default()).await.unwrap().moves
}

async fn undo(broker: &TestBroker, id: u64, force: bool) -> Result<OffsetMove, (i32, String)> {
    broker.desk(&Peer::new(99), &UndoMove { force, id, reason: "oops".into() }).await
}

fn stands(broker: &TestBroker) -> Option<i64> {
    broker.core.offsets.get("billing", "orders", 0)
}

fn step(from: Option<i64>, to: Option<i64>) -> OffsetStep {
    OffsetStep { from, queue_id: 0, to }
}

/// #2705, #2181, #3210, #7790, #1440: offsets fell to 0 or to old values, and nobody could say when, why or from where.
#[tokio::test]
async fn thread_2705_an_offset_that_goes_backward_leaves_an_entry_and_can_be_brought_back() {
    let (broker, peer) = orders();
    commit(&broker, &peer, 9).await;
    assert_eq!(history(&broker).await, [], "forward is no news");
    commit(&broker, &peer, 0).await;
    let found = history(&broker).await;
    assert_eq!((&*found[0].action, &*found[0].by, found[0].times), ("commit", "127.0.0.1:0", 1));
    assert_eq!(found[0].queues, [step(Some(9), Some(0))]);

    let undone = undo(&broker, found[0].id, false).await.unwrap();
    assert_eq!((undone.undoes, undone.queues), (Some(found[0].id), vec![step(Some(0), Some(9))]));
    assert_eq!(stands(&broker), Some(9));
}

#[tokio::test]
async fn a_client_that_keeps_committing_backward_is_one_entry_at_once_and_one_for_the_rest() {
    let (broker, peer) = orders();
    for offset in (0..7).rev() {
        commit(&broker, &peer, offset).await;
    }
    assert_eq!(history(&broker).await.len(), 1);
    broker.core.offset_history.write_gathered(broker.core.clock.now_ms());
    let found = history(&broker).await;
    assert_eq!((found.len(), found[0].times), (2, 6));
    assert_eq!(found[0].queues, [step(Some(6), Some(0))]);
    assert_eq!(broker.core.offset_history.backward_commits(), 7);
}

#[tokio::test]
async fn a_reset_with_a_reason_is_recorded_and_undone_unless_the_group_has_moved_on() {
    let (broker, peer) = orders();
    let reset = ResetGroup {
        group: "billing".into(),
        queue_id: Some(0),
        reason: "bad release".into(),
        to: "min".into(),
        topic: "orders".into(),
        value: None,
    };
    let done = broker.desk(&peer, &reset).await.unwrap();
    assert_eq!((done.moved.repeats, stands(&broker)), (7, Some(0)));
    assert!(broker.core.offsets.has_reset("billing", "orders", 0));
    let found = history(&broker).await;
    assert_eq!(
        (found[0].id, &*found[0].reason, &found[0].queues[0]),
        (done.id, "bad release", &step(Some(7), Some(0)))
    );

    undo(&broker, done.id, false).await.unwrap();
    assert_eq!(stands(&broker), Some(7));
    let again = undo(&broker, done.id, false).await.unwrap_err();
    assert_eq!(again, (604, format!("entry {} was taken back by entry {}", done.id, done.id + 1)));

    let done = broker.desk(&peer, &reset).await.unwrap();
    broker.core.offsets.take_reset("billing", "orders", 0);
    commit(&broker, &peer, 3).await;
    let refused = undo(&broker, done.id, false).await.unwrap_err();
    let remark = format!("queue 0 stands at 3, not 0 as after entry {}; force overrides", done.id);
    assert_eq!(refused, (604, remark));
    undo(&broker, done.id, true).await.unwrap();
    assert_eq!(stands(&broker), Some(7));
}

#[tokio::test]
async fn a_reset_of_a_group_without_offsets_is_undone_to_none() {
    let (broker, peer) = orders();
    let reset = ResetGroup {
        group: "billing".into(),
        queue_id: Some(1),
        to: "max".into(),
        topic: "orders".into(),
        ..ResetGroup::default()
    };
    let done = broker.desk(&peer, &reset).await.unwrap();
    undo(&broker, done.id, false).await.unwrap();
    assert_eq!(broker.core.offsets.get("billing", "orders", 1), None);
}

#[tokio::test]
async fn mqadmins_resets_clones_and_deletions_are_recorded_and_can_be_undone() {
    let (broker, peer) = orders();
    let (group, topic) = (("group", "billing"), ("topic", "orders"));
    let reset = [group, topic, ("timestamp", "-1"), ("isForce", "true"), ("queueId", "0"), ("offset", "2")];
    command(&broker, &peer, RequestCode::INVOKE_BROKER_TO_RESET_OFFSET, &reset).await;
    let clone = [("srcGroup", "billing"), ("destGroup", "copy"), topic, ("offline", "true")];
    command(&broker, &peer, RequestCode::CLONE_GROUP_OFFSET, &clone).await;
    let delete = [("groupName", "billing"), ("cleanOffset", "true")];
    command(&broker, &peer, RequestCode::DELETE_SUBSCRIPTIONGROUP, &delete).await;
    assert_eq!(stands(&broker), None);

    let found = history(&broker).await;
    let told: Vec<_> = found.iter().map(|entry| (&*entry.action, &*entry.group, &entry.queues[0])).collect();
    let expected = [
        ("delete-group", "billing", &step(Some(2), None)),
        ("clone", "copy", &step(None, Some(2))),
        ("reset", "billing", &step(Some(7), Some(2))),
    ];
    assert_eq!(told, expected);

    undo(&broker, found[0].id, false).await.unwrap();
    assert_eq!(stands(&broker), Some(2), "a deletion can be undone too");
    undo(&broker, found[1].id, false).await.unwrap();
    assert_eq!(broker.core.offsets.get("copy", "orders", 0), None);
    undo(&broker, found[2].id, false).await.unwrap();
    assert_eq!(stands(&broker), Some(7));
}

#[tokio::test]
async fn the_history_is_filtered_paged_and_outlives_a_kill() {
    let (broker, peer) = orders();
    for offset in [5, 3, 1] {
        commit(&broker, &peer, offset).await;
        broker.core.offset_history.write_gathered(1);
    }
    let broker = broker.crashed();
    let peer = Peer::new(2);
    let asked = ListMoves { limit: Some(2), group: Some("billing".into()), ..ListMoves::default() };
    let page = broker.desk(&peer, &asked).await.unwrap().moves;
    assert_eq!(page.iter().map(|entry| entry.id).collect::<Vec<_>>(), [3, 2]);
    let page = broker.desk(&peer, &ListMoves { before: Some(2), ..asked }).await.unwrap().moves;
    assert_eq!(page.iter().map(|entry| entry.id).collect::<Vec<_>>(), [1]);
    let none = ListMoves { topic: Some("other".into()), ..ListMoves::default() };
    assert_eq!(broker.desk(&peer, &none).await.unwrap().moves, []);
}

#[tokio::test]
async fn what_cannot_be_undone_is_refused_with_its_reason() {
    let (broker, peer) = orders();
    assert_eq!(undo(&broker, 7, true).await, Err((22, "id: the history has no entry 7".into())));
    let delete = [("topic", "orders")];
    command(&broker, &peer, RequestCode::DELETE_TOPIC_IN_BROKER, &delete).await;
    let id = history(&broker).await[0].id;
    let remark = format!("id: the topic orders of entry {id} does not exist any more");
    assert_eq!(undo(&broker, id, true).await, Err((17, remark)));
    broker.topic("orders", 2);
    let remark = format!("queue 0 ends at 0, before the 7 of entry {id}");
    assert_eq!(undo(&broker, id, false).await, Err((604, remark)));
}
