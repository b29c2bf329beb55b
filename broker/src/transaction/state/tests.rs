use super::*;

const MINUTE: i64 = 60_000;
/// Without a budget.
const RULES: Rules = Rules {
    all: CheckPolicy { per_second: 0, ..CheckPolicy::DEFAULT },
    groups: None,
    give_up_ms: 72 * 60 * MINUTE,
    reserved_ms: i64::MAX,
};

struct Checker {
    state: State,
    online: Vec<&'static str>,
}

impl Checker {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self { state: State::new(SafeOffsets::default(), limits), online: vec!["orders"] }
    }

    fn half(&mut self, offset: i64, stored_at: i64) -> bool {
        self.half_of("orders", offset, stored_at)
    }

    fn half_of(&mut self, group: &str, offset: i64, stored_at: i64) -> bool {
        self.state.insert(&half_of(group, offset, stored_at))
    }

    /// Everything to be done at `now`: (offset, attempt) of checks, offsets parked (and settled).
    fn at(&mut self, now: i64) -> (Vec<(i64, u16)>, Vec<i64>) {
        let (mut asked, mut parked) = (Vec::new(), Vec::new());
        loop {
            let mut commands = Vec::new();
            let online = &self.online;
            let next = self.state.step(now, &RULES, |group| online.contains(&group), &mut commands);
            for command in commands {
                match command {
                    Command::Ask { offset, attempt, .. } => asked.push((offset, attempt)),
                    Command::Park { claim, .. } => {
                        parked.push(claim.offset);
                        self.state.settle(&claim, None);
                    }
                }
            }
            if next != Next::Now {
                return (asked, parked);
            }
        }
    }

    fn asked_at(&mut self, now: i64) -> Vec<(i64, u16)> {
        self.at(now).0
    }

    fn end(&mut self, offset: i64, verdict: Verdict) -> Decision {
        let decision = self.state.decide(offset, verdict, || None);
        if let Decision::First(claim) = &decision {
            self.state.settle(claim, None);
        }
        decision
    }
}

fn half_of(group: &str, offset: i64, stored_at: i64) -> Half<'_> {
    Half {
        offset,
        log_offset: 1000 + offset as u64 * 300,
        stored_at,
        first_check_at: stored_at + 6_000,
        group,
        topic: "paid",
        checks: 0,
        asked_at: None,
        copy_of: None,
        back_off: None,
    }
}

#[test]
fn a_message_that_is_reported_twice_is_one_message() {
    let mut checker = Checker::new();
    checker.half(0, 1_000);
    checker.half(0, 1_000);
    assert_eq!(checker.asked_at(7_000), [(0, 1)]);
    assert!(matches!(checker.end(0, Verdict::Committed), Decision::First(_)));
    checker.half(0, 1_000);
    assert_eq!((checker.state.len(), checker.at(60 * MINUTE)), (0, (vec![], vec![])));
    assert!(matches!(checker.end(0, Verdict::Committed), Decision::Repeat));
    assert_eq!(checker.state.topic_counts().collect::<Vec<_>>(), [("paid", 0)]);
}

#[test]
fn the_first_check_is_due_exactly_when_the_immunity_ends() {
    let mut checker = Checker::new();
    checker.half(0, 1_000);
    assert_eq!(checker.asked_at(6_999), []);
    assert_eq!(checker.asked_at(7_000), [(0, 1)]);
}

#[test]
fn thread_544_two_messages_of_the_same_millisecond_are_both_checked() {
    let mut checker = Checker::new();
    checker.half(0, 1_000);
    checker.half(1, 1_000);
    assert_eq!(checker.asked_at(7_000), [(0, 1), (1, 1)]);
}

#[test]
fn thread_615_8311_9320_a_long_immunity_uses_up_no_check() {
    let mut checker = Checker::new();
    let first_check_at = 1_000 + 60 * MINUTE; // longer than 15 intervals of 30 s
    checker.state.insert(&Half { first_check_at, ..half_of("orders", 0, 1_000) });
    for now in (1_000..first_check_at).step_by(30_000) {
        assert_eq!(checker.at(now), (vec![], vec![]));
    }
    assert_eq!(checker.asked_at(first_check_at), [(0, 1)]);
}

#[test]
fn an_undecided_message_is_checked_as_often_as_allowed_and_then_parked() {
    let mut checker = Checker::new();
    checker.half(0, 0);
    let mut now = 6_000;
    for attempt in 1..=15 {
        assert_eq!(checker.at(now - 1), (vec![], vec![]));
        assert_eq!(checker.at(now), (vec![(0, attempt)], vec![]));
        now += 30_000;
    }
    assert_eq!(checker.at(now - 1), (vec![], vec![]));
    assert_eq!(checker.at(now), (vec![], vec![0]));
    assert!(checker.state.is_empty());
    assert_eq!(checker.state.verdict(0), Some(Verdict::Parked));
}

#[test]
fn thread_8316_no_attempt_is_spent_while_no_producer_is_online() {
    let mut checker = Checker::new();
    checker.online.clear();
    checker.half(0, 0);
    for now in (0..60 * MINUTE).step_by(10_000) {
        assert_eq!(checker.at(now), (vec![], vec![]));
    }
    assert_eq!(checker.state.find(0).map(|found| (found.stage, found.checks)), Some((Stage::NoProducer, 0)));
    checker.online.push("orders");
    assert!(checker.state.producer_online("orders"));
    assert_eq!(checker.asked_at(60 * MINUTE), [(0, 1)]);
}

#[test]
fn a_producer_that_nobody_reported_is_found_within_the_recheck_time() {
    let mut checker = Checker::new();
    checker.online.clear();
    checker.half(0, 0);
    assert_eq!(checker.asked_at(6_000), []);
    checker.online.push("orders");
    assert_eq!(checker.asked_at(6_000 + Limits::default().offline_recheck_ms), [(0, 1)]);
}

#[test]
fn thread_1694_a_producer_that_takes_no_message_costs_no_attempt() {
    let mut checker = Checker::new();
    checker.half(0, 0);
    assert_eq!(checker.asked_at(6_000), [(0, 1)]);
    checker.state.not_asked(0, 6_000, &RULES);
    assert_eq!(checker.state.in_flight(), 0);
    assert_eq!(checker.asked_at(6_500), []);
    assert_eq!(checker.asked_at(7_000), [(0, 1)]);
}

#[test]
fn thread_1517_a_decided_message_is_never_checked() {
    let mut checker = Checker::new();
    checker.half(0, 0);
    checker.half(1, 0);
    checker.half(2, 0);
    assert!(matches!(checker.end(0, Verdict::Committed), Decision::First(_)));
    assert!(matches!(checker.end(1, Verdict::RolledBack), Decision::First(_)));
    for now in (0..10 * MINUTE).step_by(1_000) {
        assert!(checker.asked_at(now).iter().all(|(offset, _)| *offset == 2));
    }
}

#[test]
fn thread_5574_8158_the_first_decision_wins_and_repeats_are_told_from_contradictions() {
    let mut checker = Checker::new();
    checker.half(0, 0);
    assert!(matches!(checker.end(0, Verdict::Committed), Decision::First(_)));
    assert!(matches!(checker.end(0, Verdict::Committed), Decision::Repeat));
    assert!(matches!(checker.end(0, Verdict::RolledBack), Decision::Contradiction(Verdict::Committed)));
}

#[test]
fn thread_2694_a_commit_after_the_check_said_rollback_is_refused() {
    let mut checker = Checker::new();
    checker.half(0, 0);
    checker.asked_at(6_000);
    assert!(matches!(checker.end(0, Verdict::RolledBack), Decision::First(_)));
    assert!(matches!(checker.end(0, Verdict::Committed), Decision::Contradiction(Verdict::RolledBack)));
}

#[test]
fn a_commit_after_the_message_was_parked_is_refused() {
    let mut checker = Checker::new();
    checker.half(0, 0);
    let mut now = 6_000;
    while checker.at(now).1.is_empty() {
        now += 30_000;
    }
    assert!(matches!(checker.end(0, Verdict::Committed), Decision::Contradiction(Verdict::Parked)));
}

#[test]
fn two_decisions_at_once_are_one_decision() {
    let mut checker = Checker::new();
    checker.half(0, 0);
    let Decision::First(claim) = checker.state.decide(0, Verdict::Committed, || None) else { panic!("not first") };
    assert!(matches!(checker.end(0, Verdict::Committed), Decision::Repeat));
    assert!(matches!(checker.end(0, Verdict::RolledBack), Decision::Contradiction(Verdict::Committed)));
    assert_eq!(checker.state.safe_offsets(0).half, 0, "a decision on its way holds the saved offset back");
    checker.state.settle(&claim, None);
    assert_eq!(checker.state.safe_offsets(0).half, 1);
}

#[test]
fn a_decision_that_could_not_be_stored_leaves_the_message_undecided() {
    let mut checker = Checker::new();
    checker.half(0, 0);
    checker.asked_at(6_000);
    let Decision::First(claim) = checker.state.decide(0, Verdict::Committed, || None) else { panic!("not first") };
    checker.state.give_back(claim, 7_000);
    assert_eq!(checker.state.safe_offsets(0).half, 0);
    assert_eq!(checker.state.find(0).map(|found| found.last_answer), Some(Answer::Failed));
    assert_eq!(checker.asked_at(36_000), [(0, 2)]);
    assert!(matches!(checker.end(0, Verdict::RolledBack), Decision::First(_)));
}

#[test]
fn a_decision_on_what_was_decided_before_the_restart_is_left_to_the_log() {
    let mut state = State::new(SafeOffsets { half: 100, op: 7 }, Limits::default());
    assert!(matches!(state.decide(40, Verdict::Committed, || None), Decision::Forgotten));
}

#[test]
fn a_decision_that_names_an_older_copy_decides_the_newest() {
    let mut checker = Checker::new();
    checker.state.insert(&Half { copy_of: Some("FD01"), checks: 2, ..half_of("orders", 9, 0) });
    let decision = checker.state.decide(3, Verdict::Committed, || Some("FD01"));
    let Decision::First(claim) = decision else { panic!("{decision:?}") };
    assert_eq!((claim.offset, claim.named, claim.checks), (9, 3, 2));
    checker.state.settle(&claim, Some("FD01"));
    assert!(matches!(checker.state.decide(9, Verdict::Committed, || Some("FD01")), Decision::Repeat));
    assert!(checker.state.copies.is_empty());
}

#[test]
fn a_storm_of_one_group_does_not_delay_another() {
    let mut checker = Checker::new();
    checker.online = vec!["storm", "quiet"];
    (0..100_000).for_each(|offset| _ = checker.half_of("storm", offset, 0));
    checker.half_of("quiet", 100_000, 0);
    let mut commands = Vec::new();
    let mut steps = 0;
    while !commands.iter().any(|command| matches!(command, Command::Ask { offset: 100_000, .. })) {
        commands.clear();
        checker.state.step(6_000, &RULES, |_| true, &mut commands);
        steps += 1;
        assert!(steps < 500, "the quiet group waits behind the storm");
    }
    let storm = checker.state.groups.id("storm").and_then(|id| checker.state.groups.get(id));
    assert!(storm.is_some_and(|storm| storm.state.in_flight <= Limits::default().in_flight_per_group));
}

#[test]
fn checks_in_flight_are_bounded_and_an_answer_lets_the_next_one_go() {
    let limits = Limits { in_flight_per_group: 3, ..Limits::default() };
    let mut checker = Checker::with(limits);
    (0..10).for_each(|offset| _ = checker.half(offset, 0));
    assert_eq!(checker.asked_at(6_000), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(checker.asked_at(6_001), []);
    assert!(checker.state.unknown(1, || None), "the checker has work again");
    assert_eq!(checker.asked_at(6_002), [(3, 1)]);
    checker.end(0, Verdict::Committed);
    assert_eq!(checker.asked_at(6_003), [(4, 1)]);
    let lapsed = 6_000 + limits.answer_timeout_ms;
    assert_eq!(checker.asked_at(lapsed), [(5, 1)], "question 2 lapsed, those of 3 and 4 are open");
}

#[test]
fn an_unknown_answer_is_remembered_and_the_next_check_keeps_its_time() {
    let mut checker = Checker::new();
    checker.half(0, 0);
    checker.asked_at(6_000);
    checker.state.was_asked(0, 6_000, "10.0.0.7:4711".into());
    checker.state.unknown(0, || None);
    let found = checker.state.find(0).map(|found| (found.last_answer, found.due_at, found.asked_at, found.stage));
    assert_eq!(found, Some((Answer::Unknown, 36_000, Some(6_000), Stage::Waiting)));
    assert_eq!(checker.asked_at(35_999), []);
    assert_eq!(checker.asked_at(36_000), [(0, 2)]);
}

#[test]
fn a_message_older_than_operators_want_is_parked_even_if_nobody_could_be_asked() {
    let mut checker = Checker::new();
    checker.online.clear();
    checker.half(0, 0);
    assert_eq!(checker.at(RULES.give_up_ms), (vec![], vec![]));
    assert_eq!(checker.at(RULES.give_up_ms + 1), (vec![], vec![0]));
}

#[test]
fn a_send_wakes_the_checker_only_when_it_sleeps_too_long() {
    let mut checker = Checker::new();
    assert_eq!(checker.state.step(0, &RULES, |_| true, &mut Vec::new()), Next::Idle);
    assert!(checker.half(0, 0), "it sleeps with no end");
    assert_eq!(checker.state.step(0, &RULES, |_| true, &mut Vec::new()), Next::At(6_000));
    assert!(!checker.half(1, 10), "it wakes before that anyway");
}

#[test]
fn an_operator_gets_one_more_check_even_after_the_last() {
    let mut checker = Checker::new();
    checker.state.insert(&Half { checks: 15, first_check_at: 90_000, ..half_of("orders", 0, 0) });
    assert!(checker.state.check_now(0, 50_000, &RULES));
    assert_eq!(checker.at(50_000), (vec![(0, 15)], vec![]));
    assert!(!checker.state.check_now(1, 50_000, &RULES));
}

#[test]
fn a_pending_message_takes_a_few_tens_of_bytes() {
    assert!(size_of::<Pending>() <= 44, "{}", size_of::<Pending>());
}

#[test]
fn counts_by_topic_and_group_follow_the_decisions() {
    let mut checker = Checker::new();
    checker.half(0, 0);
    checker.half(1, 0);
    checker.end(0, Verdict::RolledBack);
    assert_eq!(checker.state.topic_counts().collect::<Vec<_>>(), [("paid", 1)]);
    assert_eq!(checker.state.group_counts().collect::<Vec<_>>(), [("orders", 1)]);
    assert_eq!(checker.state.unresolved(None).map(|found| found.offset).collect::<Vec<_>>(), [1]);
}
