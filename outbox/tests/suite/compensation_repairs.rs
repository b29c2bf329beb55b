//! Repairs of messages: sent again, made up, or told back as a failure.

use tenonmq_outbox::{
    Clock, Outgoing, PublishError, Received, Schedule, Status,
    compensation::{Acknowledgements, BoxError, FailureEvent, MakeUp, Repair, Resend, Unacknowledged},
};

use super::{
    bench::{Bench, START_MS, TestDatabase, arrived, event},
    compensation::{AGE, MINUTE, builder},
};

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
