//! Publishing, and what people see of it.

use tenonmq_outbox::{Error, Status, Table};

use super::bench::{Bench, SECOND, START_MS, TestDatabase, event};

pub async fn a_message_is_there_if_and_only_if_the_transaction_commits<D: TestDatabase>(bench: &Bench<D>) {
    let outbox = bench.outbox();
    let mut rolled_back = bench.pool.begin().await.unwrap();
    outbox.publish(&mut rolled_back, &event("never")).await.unwrap();
    rolled_back.rollback().await.unwrap();
    bench.publish(&event("paid-1")).await;

    assert_eq!(bench.relay().pass().await.unwrap().sent, 1);
    assert_eq!(bench.broker.ids(), ["paid-1"]);
    let row = outbox.find("paid", "paid-1").await.unwrap().unwrap();
    assert_eq!((row.status, row.attempts), (Status::Done, 0));
    assert!(outbox.find("paid", "never").await.unwrap().is_none());
}

pub async fn all_of_a_message_arrives_as_it_was_published<D: TestDatabase>(bench: &Bench<D>) {
    let whole = event("paid-1").tag("card").header("member", "7 \"ü\"").in_order_of("order-1").deliver_at_ms(START_MS);
    bench.publish(&whole).await;
    bench.relay().pass().await.unwrap();
    assert_eq!(bench.broker.messages(), [whole]);
    let sent_as = format!("SELECT COUNT(*) FROM {} WHERE sent_as = 'M-paid-1'", bench.published());
    assert_eq!(bench.number(sent_as).await, 1);
}

pub async fn publishing_the_same_message_again_sends_it_once<D: TestDatabase>(bench: &Bench<D>) {
    let outbox = bench.outbox();
    let mut transaction = bench.pool.begin().await.unwrap();
    let first = outbox.publish(&mut transaction, &event("paid-1")).await.unwrap();
    let again = outbox.publish(&mut transaction, &event("paid-1")).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!((first.is_new, again.is_new, first.row), (true, false, again.row));
    // ids are told apart as they are written
    bench.publish(&event("PAID-1")).await;
    bench.relay().pass().await.unwrap();
    let mut ids = bench.broker.ids();
    ids.sort();
    assert_eq!(ids, ["PAID-1", "paid-1"]);
}

pub async fn one_key_for_two_messages_is_refused_with_the_row<D: TestDatabase>(bench: &Bench<D>) {
    bench.publish(&event("paid-1")).await;
    let other = tenonmq_outbox::Outgoing::new("paid", "paid-1", "something else");
    let mut transaction = bench.pool.begin().await.unwrap();
    let error = bench.outbox().publish(&mut transaction, &other).await.unwrap_err();
    let row = bench.outbox().find("paid", "paid-1").await.unwrap().unwrap().row;
    assert!(matches!(&error, Error::Collision { row: found, .. } if *found == row), "{error}");
    // the transaction is as good as before
    bench.outbox().publish(&mut transaction, &event("paid-2")).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(bench.relay().pass().await.unwrap().sent, 2);
}

pub async fn what_the_broker_would_not_take_is_refused_before_it_is_written<D: TestDatabase>(bench: &Bench<D>) {
    let outbox = bench.outbox_builder().largest_content(10).build();
    let mut transaction = bench.pool.begin().await.unwrap();
    let large = tenonmq_outbox::Outgoing::new("paid", "paid-1", vec![0; 11]);
    let error = outbox.publish(&mut transaction, &large).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { part: "content", len: 11, limit: 10, .. }), "{error}");
    transaction.commit().await.unwrap();
    assert_eq!(outbox.backlog().await.unwrap().pending, 0);
}

pub async fn cleaning_takes_what_is_done_and_old_and_nothing_else<D: TestDatabase>(bench: &Bench<D>) {
    let total = 1_203; // more than two chunks
    let mut transaction = bench.pool.begin().await.unwrap();
    for number in 0..total {
        bench.outbox().publish(&mut transaction, &event(&format!("old-{number}"))).await.unwrap();
    }
    transaction.commit().await.unwrap();
    bench.broker.fail("old-7", tenonmq_outbox::PublishError::lasting("no such topic"));
    bench.relay().pass().await.unwrap();
    bench.clock.advance(SECOND);
    let before_ms = START_MS + 1_000;
    bench.publish(&event("young")).await;
    bench.relay().pass().await.unwrap();

    assert_eq!(bench.outbox().clean(before_ms).await.unwrap(), total - 1);
    assert_eq!(bench.outbox().clean(before_ms).await.unwrap(), 0);
    let left = bench.number(format!("SELECT COUNT(*) FROM {}", bench.published())).await;
    assert_eq!(left, 2, "the exhausted one and the young one");
    let exhausted = bench.outbox().list(Status::Exhausted, 0, 10).await.unwrap();
    assert_eq!(exhausted.len(), 1);
    assert_eq!(exhausted[0].business_key, "old-7");
}

pub async fn archiving_moves_rows_instead_of_deleting_them<D: TestDatabase>(bench: &Bench<D>) {
    for id in ["a", "b"] {
        bench.publish(&event(id).header("member", "7")).await;
    }
    bench.relay().pass().await.unwrap();
    bench.clock.advance(SECOND);
    assert_eq!(bench.outbox().archive(START_MS + 1).await.unwrap(), 2);
    let archive = bench.schema.name(Table::Archive);
    let kept = format!("SELECT COUNT(*) FROM {archive} WHERE status = 'done' AND sent_as IN ('M-a', 'M-b')");
    assert_eq!(bench.number(kept).await, 2);
    assert_eq!(bench.number(format!("SELECT COUNT(*) FROM {}", bench.published())).await, 0);
}

pub async fn migrating_again_changes_nothing<D: TestDatabase>(bench: &Bench<D>) {
    bench.publish(&event("paid-1")).await;
    let (one, other) = tokio::join!(bench.schema.migrate(&bench.pool), bench.schema.migrate(&bench.pool));
    assert_eq!((one.unwrap().len(), other.unwrap().len()), (0, 0));
    assert_eq!(bench.outbox().backlog().await.unwrap().pending, 1);
}

pub async fn the_exported_script_makes_the_same_tables<D: TestDatabase>(bench: &Bench<D>) {
    let prefix = format!("s{:012x}_", rand::random::<u64>() >> 16);
    let schema = tenonmq_outbox::Schema::default().prefix(&prefix).unwrap();
    bench.run(schema.sql_script::<D>()).await;
    assert!(schema.migrate(&bench.pool).await.unwrap().is_empty(), "the script remembers its steps");
    let outbox = tenonmq_outbox::Outbox::builder(bench.pool.clone()).schema(schema).build();
    let mut transaction = bench.pool.begin().await.unwrap();
    outbox.publish(&mut transaction, &event("paid-1")).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(outbox.relay(bench.broker.clone()).pass().await.unwrap().sent, 1);
}
