//! Steps and their compensations.

use std::time::Duration;

use tenonmq_outbox::{
    Status,
    coordination::{Phase, Plan, Stage},
    fault::Point,
};

use super::{
    bench::{Bench, SECOND, TestDatabase},
    coordination::{SERVICES, Town},
};

const MINUTE: Duration = Duration::from_secs(60);

fn plan(global: &str) -> Plan {
    let plan = Plan::saga(global, "3 pieces").within(5 * MINUTE);
    SERVICES.into_iter().fold(plan, |plan, name| plan.branch(name, name))
}

/// Which commands were sent, in their order.
fn commands<D: TestDatabase>(bench: &Bench<D>) -> Vec<String> {
    let messages = bench.broker.messages();
    let commands = messages.iter().filter(|message| SERVICES.contains(&message.topic()));
    commands.map(|message| message.business_id().to_owned()).collect()
}

pub async fn steps_are_done_one_after_the_other<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    town.begin(&plan("g")).await.unwrap();
    assert_eq!(town.find("g").await.branches.map_stages(), [Stage::Asked, Stage::Waiting, Stage::Waiting]);
    town.settle().await;
    assert_eq!(town.agreed("g", "").await, Phase::Confirmed);
    assert_eq!(commands(bench), ["g/order/try/1", "g/stock/try/2", "g/account/try/3"]);
}

pub async fn what_was_done_is_compensated_in_reverse<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    town.puppet.refuse("g/account");
    town.begin(&plan("g")).await.unwrap();
    town.settle().await;
    assert_eq!(town.agreed("g", "").await, Phase::Cancelled);
    assert_eq!(commands(bench)[3..], ["g/stock/cancel/4", "g/order/cancel/5"]);
    let found = town.find("g").await;
    assert_eq!(found.reason.as_deref(), Some("account refused: none left"));
    assert_eq!(found.branches.map_stages(), [Stage::Ended, Stage::Ended, Stage::Refused]);
}

/// It may have been done, and its answer be on its way.
pub async fn a_step_that_is_too_late_is_compensated_as_well<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    let saga = |global: &str| {
        Plan::saga(global, "3 pieces")
            .branch("order", "order")
            .branch_within("stock", "stock", SECOND)
            .branch("account", "account")
    };
    for is_done in [true, false] {
        let global = format!("g-{is_done}");
        town.begin(&saga(&global)).await.unwrap();
        for _ in 0..2 {
            for message in town.sent().await.unwrap() {
                town.deliver(&message).await.unwrap();
            }
        }
        let step = town.sent().await.unwrap().remove(0);
        if is_done {
            town.deliver(&step).await.unwrap();
        }
        bench.clock.step(999);
        assert_eq!(town.coordinator().pass().await.unwrap(), 0, "a millisecond early");
        bench.clock.step(1);
        assert_eq!(town.coordinator().pass().await.unwrap(), 1);
        town.settle().await;
        town.deliver(&step).await.unwrap();
        town.settle().await;
        assert_eq!(town.agreed(&global, "").await, Phase::Cancelled);
        assert_eq!(town.effects(&global, "stock").await, if is_done { [1, 0, 1] } else { [0, 0, 0] });
        assert_eq!(town.effects(&global, "account").await, [0, 0, 0]);
    }
}

pub async fn a_compensation_that_fails_for_good_is_run_again_by_hand<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    town.puppet.refuse("g/account");
    town.puppet.fail("g/stock/cancel", 1_000);
    town.begin(&plan("g")).await.unwrap();
    for _ in 0..5 {
        town.settle().await;
        town.retry().await.unwrap();
        bench.clock.advance(MINUTE);
        town.coordinator().pass().await.unwrap();
    }
    let row = town.find("g").await.tried;
    assert_eq!((row.status, row.attempts), (Status::Exhausted, 3));
    assert_eq!(row.last_error.as_deref(), Some("no answer to cancel from stock after 3 commands"));
    assert_eq!(town.effects("g", "order").await, [1, 0, 0], "what was done before it waits");

    town.puppet.fail("g/stock/cancel", 0);
    town.coordinator().rerun(row.row).await.unwrap();
    town.coordinator().pass().await.unwrap();
    town.settle().await;
    assert_eq!(town.agreed("g", "").await, Phase::Cancelled);
}

/// The next version of the service plans other steps.
pub async fn a_saga_keeps_the_steps_with_which_it_was_begun<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    town.begin(&plan("g")).await.unwrap();
    let next = |global: &str| Plan::saga(global, "3 pieces").branch("courier", "stock").branch("order", "order");
    town.begin(&next("h")).await.unwrap();
    assert!(town.begin(&next("g")).await.unwrap_err().to_string().contains("belongs to another"));
    town.settle().await;
    assert_eq!(town.agreed("g", "").await, Phase::Confirmed);
    assert_eq!(town.agreed("h", "").await, Phase::Confirmed);
    assert_eq!(town.find("g").await.branches.len(), 3);
}

pub async fn steps_agree_in_whatever_order_messages_come<D: TestDatabase>(bench: &Bench<D>) {
    let mut town = Town::over(bench);
    for seed in 100..112 {
        town.shuffle(|global| plan(global).within(40 * SECOND), seed).await;
    }
}

pub async fn steps_agree_whichever_point_a_crash_hits<D: TestDatabase>(bench: &Bench<D>) {
    for &point in Point::OF_OUTBOX_AND_INBOX.iter().chain(Point::OF_COORDINATION) {
        Town::crash(bench, plan, point, 1).await;
    }
    for &point in Point::OF_COORDINATION {
        Town::crash(bench, plan, point, 2).await;
    }
}

trait Stages {
    fn map_stages(&self) -> Vec<Stage>;
}

impl Stages for Vec<tenonmq_outbox::coordination::BranchState> {
    fn map_stages(&self) -> Vec<Stage> {
        self.iter().map(|branch| branch.stage).collect()
    }
}
