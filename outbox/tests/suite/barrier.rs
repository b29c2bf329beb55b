//! Each command of a branch takes effect once, whatever order they come in.

use tenonmq_outbox::{
    Error, Incoming, Received,
    coordination::{Action, Barrier, BranchError, BranchId, Command, Entry, Kind, Vote},
};

use super::{
    bench::{Bench, SECOND, START_MS, TestDatabase},
    coordination::{Puppet, Town, command},
};

/// Carries a command out in a transaction of its own, which is committed whatever comes.
async fn handle<D: TestDatabase>(
    bench: &Bench<D>,
    puppet: &Puppet,
    message: &Incoming,
) -> Result<Vote, BranchError<String>> {
    let command = Command::read(message)?;
    let mut transaction = bench.pool.begin().await.map_err(Error::from)?;
    let vote = Barrier::of(&bench.outbox()).handle(&mut transaction, &command, puppet).await;
    transaction.commit().await.map_err(Error::from)?;
    vote
}

fn tcc(global: &str, action: Action) -> Incoming {
    command(Kind::Tcc, global, action, 1)
}

pub async fn a_cancel_without_a_try_is_acknowledged_and_a_try_after_it_has_no_effect<D: TestDatabase>(
    bench: &Bench<D>,
) {
    let town = Town::over(bench);
    for kind in [Kind::Tcc, Kind::Saga] {
        let global = kind.as_str();
        for _ in 0..2 {
            let vote = handle(bench, &town.puppet, &command(kind, global, Action::Cancel, 1)).await.unwrap();
            assert_eq!(vote, Vote::Done);
            let vote = handle(bench, &town.puppet, &command(kind, global, Action::Try, 1)).await.unwrap();
            assert!(matches!(&vote, Vote::Refused(reason) if reason.contains("cancelled before")), "{vote:?}");
        }
        assert_eq!(town.effects(global, "stock").await, [0, 0, 0]);
    }
}

pub async fn each_command_takes_effect_once_however_often_it_comes<D: TestDatabase>(bench: &Bench<D>) {
    let town = Town::over(bench);
    for (global, end, effects) in [("a", Action::Confirm, [1, 1, 0]), ("b", Action::Cancel, [1, 0, 1])] {
        for action in [Action::Try, Action::Try, end, end, Action::Try, end] {
            assert_eq!(handle(bench, &town.puppet, &tcc(global, action)).await.unwrap(), Vote::Done);
        }
        assert_eq!(town.effects(global, "stock").await, effects);
    }
}

pub async fn a_refused_try_leaves_nothing_and_is_refused_again<D: TestDatabase>(bench: &Bench<D>) {
    let town = Town::over(bench);
    town.puppet.refuse("g/stock");
    for action in [Action::Try, Action::Try, Action::Cancel, Action::Try] {
        let expected = if action == Action::Try { Vote::Refused("none left".into()) } else { Vote::Done };
        assert_eq!(handle(bench, &town.puppet, &tcc("g", action)).await.unwrap(), expected);
    }
    assert_eq!(town.effects("g", "stock").await, [0, 0, 0]);
}

pub async fn what_contradicts_a_decision_is_refused_with_the_row<D: TestDatabase>(bench: &Bench<D>) {
    let town = Town::over(bench);
    for (global, before, then) in [
        ("a", vec![Action::Try, Action::Confirm], Action::Cancel),
        ("b", vec![Action::Try, Action::Cancel], Action::Confirm),
        ("c", vec![Action::Cancel], Action::Confirm),
        ("d", vec![], Action::Confirm),
    ] {
        for action in &before {
            handle(bench, &town.puppet, &tcc(global, *action)).await.unwrap();
        }
        let effects = town.effects(global, "stock").await;
        let error = handle(bench, &town.puppet, &tcc(global, then)).await.unwrap_err();
        assert!(
            matches!(&error, BranchError::Barrier(Error::Refused { row, .. }) if (*row > 0) != before.is_empty()),
            "{global}: {error}"
        );
        assert_eq!(town.effects(global, "stock").await, effects);
    }
}

pub async fn commands_that_come_at_once_wait_for_each_other<D: TestDatabase>(bench: &Bench<D>) {
    let town = Town::over(bench);
    for round in 0..12 {
        let global = format!("g{round}");
        let run = |action| {
            let (town, message) = (&town, command(Kind::Tcc, &global, action, 1));
            async move {
                // a deadlock among several waiters is the database's to break; the broker would send the command again
                for _ in 0..20 {
                    if let Ok(received) = town.inbox(&format!("{action:?}")).receive(&message, &town.serving()).await
                        && matches!(received, Received::Now | Received::Before)
                    {
                        return;
                    }
                    bench.clock.advance(SECOND * 60);
                }
                panic!("no end to it")
            }
        };
        tokio::join!(run(Action::Try), run(Action::Cancel), run(Action::Try), run(Action::Cancel));
        let [tried, confirmed, cancelled] = town.effects(&global, "stock").await;
        assert_eq!((tried, confirmed), (cancelled, 0), "{round}");
        assert!(tried <= 1, "{round}");
    }
}

pub async fn a_participant_that_fails_leaves_nothing_even_if_its_transaction_is_committed<D: TestDatabase>(
    bench: &Bench<D>,
) {
    let town = Town::over(bench);
    for action in [Action::Try, Action::Confirm] {
        town.puppet.fail(&format!("g/stock/{}", action.as_str()), 1);
        let error = handle(bench, &town.puppet, &tcc("g", action)).await.unwrap_err();
        assert!(matches!(&error, BranchError::Participant(cause) if cause.contains("not now")), "{error}");
        assert_eq!(bench.times(&format!("g/stock/{}", action.as_str())).await, 0);
        assert_eq!(handle(bench, &town.puppet, &tcc("g", action)).await.unwrap(), Vote::Done);
    }
    assert_eq!(town.effects("g", "stock").await, [1, 1, 0]);
}

pub async fn a_caller_that_runs_the_effects_itself_is_told_when<D: TestDatabase>(bench: &Bench<D>) {
    let barrier = Barrier::of(&bench.outbox());
    let id = BranchId { kind: Kind::Tcc, global: "g".into(), branch: "stock".into() };
    let mut transaction = bench.pool.begin().await.unwrap();
    assert_eq!(barrier.enter(&mut transaction, &id, Action::Try).await.unwrap(), Entry::First);
    transaction.rollback().await.unwrap();
    let mut transaction = bench.pool.begin().await.unwrap();
    assert_eq!(barrier.enter(&mut transaction, &id, Action::Try).await.unwrap(), Entry::First, "nothing was kept");
    barrier.refuse(&mut transaction, &id, "none left").await.unwrap();
    assert_eq!(
        barrier.enter(&mut transaction, &id, Action::Try).await.unwrap(),
        Entry::Before(Vote::Refused("none left".into()))
    );
    assert!(matches!(barrier.refuse(&mut transaction, &id, "again").await, Err(Error::Refused { .. })));
    assert_eq!(barrier.enter(&mut transaction, &id, Action::Cancel).await.unwrap(), Entry::Nothing);
    transaction.commit().await.unwrap();
}

pub async fn cleaning_leaves_branches_that_await_their_decision<D: TestDatabase>(bench: &Bench<D>) {
    let town = Town::over(bench);
    for (global, actions) in [
        ("tried", vec![Action::Try]),
        ("confirmed", vec![Action::Try, Action::Confirm]),
        ("void", vec![Action::Cancel]),
    ] {
        for action in actions {
            handle(bench, &town.puppet, &tcc(global, action)).await.unwrap();
        }
    }
    let barrier = Barrier::of(&bench.outbox());
    assert_eq!(barrier.clean(START_MS).await.unwrap(), 0, "too young");
    assert_eq!(barrier.clean(START_MS + 1).await.unwrap(), 2);
    assert_eq!(handle(bench, &town.puppet, &tcc("tried", Action::Confirm)).await.unwrap(), Vote::Done);
    assert_eq!(town.effects("tried", "stock").await, [1, 1, 0]);
}

pub async fn a_command_that_nobody_can_read_is_refused_with_the_header<D: TestDatabase>(bench: &Bench<D>) {
    let town = Town::over(bench);
    let stranger = Incoming::new("stock", "order-1/paid", "{}");
    let error = Command::read(&stranger).unwrap_err().to_string();
    assert!(error.contains("order-1/paid") && error.contains("coordination_kind"), "{error}");
    let received = town.inbox("stock").receive(&stranger, &town.serving()).await.unwrap();
    assert!(matches!(received, Received::Failed(_)), "{received:?}");
    let row = town.inbox("stock").find("order-1/paid").await.unwrap().unwrap();
    assert!(row.last_error.unwrap().contains("coordination_kind"));
}
