//! Try, confirm and cancel over several services.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tenonmq_outbox::{
    Error, Status, SystemClock,
    coordination::{Coordinator, Phase, Plan, Stage},
    fault::Point,
    monitoring::Part,
};

use super::{
    bench::{Bench, SECOND, START_MS, TestDatabase},
    coordination::{ANSWERS, SERVICES, Town},
};

const MINUTE: Duration = Duration::from_secs(60);

fn plan(global: &str) -> Plan {
    let plan = Plan::tcc(global, "3 pieces").within(5 * MINUTE);
    SERVICES.into_iter().fold(plan, |plan, name| plan.branch(name, name))
}

pub async fn what_all_branches_can_do_is_confirmed_in_all<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    assert!(town.begin(&plan("g")).await.unwrap());
    let asked = town.find("g").await;
    assert_eq!((asked.phase, asked.tried.next_attempt_ms), (Phase::Trying, START_MS + 300_000));
    assert!(asked.branches.iter().all(|branch| branch.stage == Stage::Asked));
    town.settle().await;
    assert_eq!(town.agreed("g", "").await, Phase::Confirmed);
    assert_eq!(bench.broker.messages().len(), 12, "two commands and two answers each");
}

pub async fn one_refusal_cancels_all_and_is_the_reason<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    town.puppet.refuse("g/account");
    town.begin(&plan("g")).await.unwrap();
    town.settle().await;
    assert_eq!(town.agreed("g", "").await, Phase::Cancelled);
    let found = town.find("g").await;
    assert_eq!(found.reason.as_deref(), Some("account refused: none left"));
    assert_eq!(town.effects("g", "stock").await, [1, 0, 1]);
    assert_eq!(town.effects("g", "account").await, [0, 0, 0]);
}

pub async fn what_is_rolled_back_was_never_begun<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    let mut transaction = bench.pool.begin().await.unwrap();
    town.coordinator().begin(&mut transaction, &plan("g")).await.unwrap();
    transaction.rollback().await.unwrap();
    assert!(town.sent().await.unwrap().is_empty());
    assert!(town.coordinator().find("g").await.unwrap().is_none());
}

pub async fn the_deadline_decides_at_its_millisecond<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    town.begin(&plan("g").branch_within("slow", "slow", SECOND)).await.unwrap();
    for message in town.sent().await.unwrap().iter().filter(|message| message.topic() != "slow") {
        town.deliver(message).await.unwrap();
    }
    for answer in town.sent().await.unwrap() {
        town.deliver(&answer).await.unwrap();
    }
    bench.clock.step(999);
    assert_eq!((town.coordinator().pass().await.unwrap(), town.find("g").await.phase), (0, Phase::Trying));
    bench.clock.step(1);
    let (one, other) = (town.coordinator(), town.coordinator());
    let (one, other) = tokio::join!(one.pass(), other.pass());
    assert_eq!(one.unwrap() + other.unwrap(), 1);
    let found = town.find("g").await;
    assert_eq!(found.reason.as_deref(), Some("slow did not answer within 1000 ms"));
    town.settle().await;
    assert_eq!(town.agreed("g", "").await, Phase::Cancelled);
}

pub async fn a_late_success_changes_nothing<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    town.begin(&plan("g")).await.unwrap();
    for command in town.sent().await.unwrap() {
        town.deliver(&command).await.unwrap();
    }
    let answers = town.sent().await.unwrap();
    assert_eq!(answers.len(), 3);
    bench.clock.advance(5 * MINUTE);
    town.coordinator().pass().await.unwrap();
    for answer in &answers {
        town.deliver(answer).await.unwrap();
    }
    assert_eq!(town.find("g").await.phase, Phase::Cancelling);
    town.settle().await;
    assert_eq!(town.agreed("g", "").await, Phase::Cancelled);
}

pub async fn commands_are_repeated_to_the_millisecond_until_people_must_decide<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    let alerts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&alerts);
    let coordinator = town.coordinator_builder().on_exhausted(move |_| _ = counted.fetch_add(1, Ordering::SeqCst));
    let coordinator = coordinator.build();
    town.puppet.refuse("g/account");
    town.begin(&plan("g")).await.unwrap();
    let decide = async |town: &mut Town<'_, D>| {
        for _ in 0..2 {
            for message in town.sent().await.unwrap() {
                town.deliver(&message).await.unwrap();
            }
        }
    };
    decide(&mut town).await;
    // the network loses every cancel from here on
    let mut lost: Vec<_> = town.sent().await.unwrap().iter().map(|sent| sent.business_id().to_owned()).collect();
    for _ in 0..2 {
        bench.clock.step(59_999);
        assert_eq!(coordinator.pass().await.unwrap(), 0, "a millisecond early");
        bench.clock.step(1);
        assert_eq!(coordinator.pass().await.unwrap(), 1);
        lost.extend(town.sent().await.unwrap().iter().map(|sent| sent.business_id().to_owned()));
    }
    assert_eq!((lost.len(), lost.iter().collect::<BTreeSet<_>>().len()), (6, 6), "order and stock, each time anew");
    assert_eq!(town.find("g").await.tried.status, Status::Pending, "the last one has its minute too");
    for _ in 0..3 {
        bench.clock.advance(MINUTE);
        coordinator.pass().await.unwrap();
    }
    let row = town.find("g").await.tried;
    assert_eq!((row.status, row.attempts, alerts.load(Ordering::SeqCst)), (Status::Exhausted, 3, 1));
    assert_eq!(row.last_error.as_deref(), Some("no answer to cancel from order, stock after 3 commands"));
    assert_eq!(coordinator.list(Status::Exhausted, 0, 9).await.unwrap(), std::slice::from_ref(&row));

    coordinator.rerun(row.row).await.unwrap();
    coordinator.pass().await.unwrap();
    town.settle().await;
    assert_eq!(town.agreed("g", "").await, Phase::Cancelled);
    assert!(matches!(coordinator.rerun(row.row).await, Err(Error::Refused { reason: "it is done", .. })));
}

pub async fn an_answer_that_comes_when_all_hope_is_lost_counts<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    town.begin(&plan("g")).await.unwrap();
    for _ in 0..2 {
        for message in town.sent().await.unwrap() {
            town.deliver(&message).await.unwrap();
        }
    }
    let confirms = town.sent().await.unwrap();
    for _ in 0..3 {
        bench.clock.advance(MINUTE);
        town.coordinator().pass().await.unwrap();
        town.sent().await.unwrap();
    }
    assert_eq!(town.find("g").await.tried.status, Status::Exhausted);
    town.deliver(&confirms[0]).await.unwrap();
    town.settle().await;
    let row = town.find("g").await.tried;
    assert!(row.status == Status::Exhausted && row.last_error.is_some(), "{row:?}");
    for confirm in &confirms[1..] {
        town.deliver(confirm).await.unwrap();
    }
    town.settle().await;
    assert_eq!(town.agreed("g", "").await, Phase::Confirmed);
}

pub async fn what_is_begun_twice_happens_once_and_a_name_has_one_plan<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    assert!(town.begin(&plan("g")).await.unwrap());
    assert!(!town.begin(&plan("g")).await.unwrap());
    let row = town.find("g").await.tried.row;
    for other in [Plan::tcc("g", "3 pieces").branch("order", "order"), Plan::saga("g", "3 pieces").branch("order", "x")]
    {
        let error = town.begin(&other).await.unwrap_err();
        assert!(matches!(&error, Error::Collision { row: found, .. } if *found == row), "{error}");
    }
    town.settle().await;
    assert_eq!(town.agreed("g", "").await, Phase::Confirmed);
}

pub async fn a_plan_that_cannot_be_carried_out_is_refused_before_it_is_written<D: TestDatabase>(bench: &Bench<D>) {
    let town = Town::over(bench);
    let one = |name: &str| Plan::tcc("g", "x").branch(name, "stock");
    for (wrong, told) in [
        (Plan::tcc("", "x").branch("a", "stock"), "global id is empty"),
        (Plan::tcc("g".repeat(151), "x").branch("a", "stock"), "151 bytes of 150"),
        (Plan::tcc("g", "x"), "0 branches"),
        (one("a b"), "blank"),
        (one("a/b"), "slash"),
        (one("a").branch("a", "account"), "two branches"),
        (Plan::saga("g", "x").branch("a", "stock").branch("b", "no topic"), "no topic"),
        (Plan::tcc("g", "").branch("a", "stock"), "body is empty"),
    ] {
        let error = town.begin(&wrong).await.expect_err(told).to_string();
        assert!(error.contains(told), "{error}");
    }
    let longest = Plan::tcc("g".repeat(150), "x").branch("b".repeat(50), "stock");
    assert!(town.begin(&longest).await.unwrap(), "command and answer still have keys");
    assert_eq!(town.coordinator().backlog().await.unwrap().pending, 1);
}

pub async fn a_row_that_nobody_can_read_holds_no_other_up_and_says_why<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    for global in ["broken", "fine", "newer"] {
        town.begin(&plan(global)).await.unwrap();
    }
    let table = bench.schema.name(tenonmq_outbox::Table::Global);
    bench.run(format!("UPDATE {table} SET branches = '[' WHERE global_id = 'broken'")).await;
    bench.run(format!("UPDATE {table} SET kind = 'dance' WHERE global_id = 'newer'")).await;
    bench.clock.advance(5 * MINUTE);
    town.coordinator().pass().await.unwrap();
    town.settle().await;
    assert_eq!(town.agreed("fine", "").await, Phase::Cancelled);
    let exhausted = town.coordinator().list(Status::Exhausted, 0, 9).await.unwrap();
    let causes: Vec<&str> = exhausted.iter().filter_map(|row| row.last_error.as_deref()).collect();
    assert!(causes[0].contains("column branches") && causes[1].contains("\"dance\" is no kind"), "{causes:?}");
    assert!(matches!(town.coordinator().find("broken").await, Err(Error::Row { .. })));

    town.coordinator().give_up(exhausted[0].row, "a test").await.unwrap();
    bench.run(format!("UPDATE {table} SET kind = 'tcc' WHERE global_id = 'newer'")).await;
    town.coordinator().rerun(exhausted[1].row).await.unwrap();
    town.coordinator().pass().await.unwrap();
    town.settle().await;
    assert_eq!(town.agreed("newer", "").await, Phase::Cancelled);
}

pub async fn coordinators_side_by_side_decide_once<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    for round in 0..5 {
        let global = format!("g{round}");
        town.begin(&plan(&global)).await.unwrap();
        for command in town.sent().await.unwrap() {
            town.deliver(&command).await.unwrap();
        }
        let answers = town.sent().await.unwrap();
        bench.clock.advance(5 * MINUTE);
        // the answers and the deadline come at the same moment
        let deliver = |at: usize| {
            let (town, answer) = (&town, &answers[at]);
            async move { while town.deliver(answer).await.is_err() {} }
        };
        let pass = || async { while town.coordinator().pass().await.is_err() {} };
        tokio::join!(deliver(0), deliver(1), pass(), deliver(2), pass(), deliver(2));
        // what a deadlock broke is tried again
        bench.clock.advance(MINUTE);
        town.retry().await.unwrap();
        town.settle().await;
        town.coordinator().pass().await.unwrap();
        town.settle().await;
        town.agreed(&global, &global).await;
    }
}

pub async fn a_running_coordinator_cancels_what_is_late<D: TestDatabase>(bench: &Bench<D>) {
    let outbox = bench.outbox_builder().clock(SystemClock).build();
    let coordinator = Coordinator::builder(outbox.clone(), ANSWERS).period(Duration::from_secs(3_600)).build();
    let running = coordinator.start();
    let mut transaction = bench.pool.begin().await.unwrap();
    let plan = Plan::tcc("g", "x").branch("a", "stock").within(Duration::from_millis(20));
    coordinator.begin(&mut transaction, &plan).await.unwrap();
    transaction.commit().await.unwrap();
    while coordinator.find("g").await.unwrap().unwrap().phase != Phase::Cancelling {
        tokio::task::yield_now().await;
    }
    running.shutdown().await;
}

pub async fn an_end_that_cannot_be_written_is_heard_again<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    town.puppet.fail("g/end/confirmed", 1);
    town.begin(&plan("g")).await.unwrap();
    town.settle().await;
    assert_eq!(town.find("g").await.phase, Phase::Confirming, "the end is not written either");
    bench.clock.step(59_999); // a millisecond before the command is repeated
    town.retry().await.unwrap();
    assert_eq!(town.find("g").await.phase, Phase::Confirming);
    bench.clock.step(1);
    town.retry().await.unwrap();
    assert_eq!(town.agreed("g", "").await, Phase::Confirmed);
}

pub async fn what_ended_is_counted_and_cleaned_away<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    town.begin(&plan("done")).await.unwrap();
    town.settle().await;
    town.begin(&plan("open")).await.unwrap();
    let reading = town.coordinator().read().await.unwrap();
    assert_eq!((reading.part.as_str(), reading.backlog.pending, reading.backlog.exhausted), ("coordinator", 1, 0));
    assert_eq!(town.coordinator().clean(START_MS + 1).await.unwrap(), 1);
    assert!(town.coordinator().find("done").await.unwrap().is_none());
    town.settle().await;
    assert_eq!(town.agreed("open", "").await, Phase::Confirmed);
}

pub async fn branches_agree_in_whatever_order_messages_come<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    for seed in 0..12 {
        town.shuffle(|global| plan(global).within(40 * SECOND), seed).await;
    }
}

pub async fn branches_agree_whichever_point_a_crash_hits<D: TestDatabase>(bench: &Bench<D>) {
    for &point in Point::OF_OUTBOX_AND_INBOX.iter().chain(Point::OF_COORDINATION) {
        Town::crash(bench, plan, point, 1).await;
    }
    for &point in Point::OF_COORDINATION {
        Town::crash(bench, plan, point, 2).await;
    }
}
