//! Publishing and relaying.

use tenonmq_outbox::{Dialect, Status};

use super::bench::{Bench, event};

pub async fn a_message_is_there_if_and_only_if_the_transaction_commits<D: Dialect>(bench: &Bench<D>) {
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
