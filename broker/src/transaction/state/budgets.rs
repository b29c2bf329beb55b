//! How fast groups are asked, and whether each has its turn.

use std::collections::BTreeMap;

use super::*;

const NOW: i64 = 1_800_000_000_000;
/// Pending messages of a group after a long night.
const STORM: i64 = 200_000;

fn rules(per_second: u32) -> Rules {
    let all = CheckPolicy { per_second, ..CheckPolicy::DEFAULT };
    Rules { all, groups: None, give_up_ms: i64::MAX, reserved_ms: i64::MAX }
}

/// What a process knows that has just started: all of it fell due while it was down.
fn add(state: &mut State, group: &str, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        state.insert(&Half {
            offset,
            log_offset: offset.unsigned_abs() * 100,
            stored_at: NOW - 60_000,
            first_check_at: NOW - 54_000,
            group,
            topic: "paid",
            checks: 0,
            asked_at: None,
            copy_of: None,
            back_off: None,
        });
    }
}

/// Lets time pass until `end`; producers answer at once that they do not know. When which message was asked about.
fn asked(state: &mut State, rules: &Rules, from: i64, end: i64) -> Vec<(i64, i64)> {
    let (mut now, mut asked) = (from, Vec::new());
    while now < end {
        let mut commands = Vec::new();
        let next = state.step(now, rules, |_| true, &mut commands);
        for command in commands {
            let Command::Ask { offset, .. } = command else { panic!("nothing is given up: {command:?}") };
            asked.push((now, offset));
            state.was_asked(offset, now, "10.0.0.7:4711".into());
            state.unknown(offset, || None);
        }
        match next {
            Next::Now => {}
            Next::At(at) => now = at.max(now + 1),
            Next::Idle => break,
        }
    }
    asked
}

#[test]
fn a_restart_with_very_many_pending_is_no_storm() {
    let mut state = State::new(SafeOffsets::default(), Limits::default());
    add(&mut state, "storm", 0..STORM);
    let asked = asked(&mut state, &rules(500), NOW, NOW + 20_000);
    let (seconds, burst) = (20, 50);
    assert!((500 * seconds..=500 * seconds + burst + 1).contains(&asked.len()), "{}", asked.len());
    let mut in_tenth: BTreeMap<i64, usize> = BTreeMap::new();
    asked.iter().for_each(|(at, _)| *in_tenth.entry((at - NOW) / 100).or_default() += 1);
    assert_eq!(in_tenth.len(), 200, "in every tenth of a second");
    let first = in_tenth.remove(&0).unwrap();
    assert!(first <= 2 * burst + 1, "{first} at once");
    assert!(in_tenth.values().all(|count| (45..=55).contains(count)), "evenly: {in_tenth:?}");
}

#[test]
fn a_group_with_very_many_does_not_starve_a_group_with_one() {
    let mut state = State::new(SafeOffsets::default(), Limits::default());
    add(&mut state, "storm", 0..STORM);
    add(&mut state, "quiet", STORM..STORM + 1);
    let asked = asked(&mut state, &rules(1000), NOW, NOW + 1_000);
    let quiet = asked.iter().find(|(_, offset)| *offset == STORM).map(|(at, _)| *at);
    assert_eq!(quiet, Some(NOW), "in the same millisecond as the first ones of the other group");
    assert!(asked.len() <= 1 + 1000 + 101);
}

#[test]
fn groups_have_their_turns_one_after_the_other_whatever_they_have_pending() {
    let mut state = State::new(SafeOffsets::default(), Limits { in_flight: 64, ..Limits::default() });
    let names = ["a", "b", "c", "d"];
    let mut from = 0;
    for (group, count) in names.iter().zip([40_000, 4_000, 1_000, 800]) {
        add(&mut state, group, from..from + count);
        from += count;
    }
    let mut turns: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut done = 0;
    while done < 2_400 {
        let mut commands = Vec::new();
        state.step(NOW, &rules(0), |_| true, &mut commands);
        for command in commands {
            let Command::Ask { offset, group, .. } = command else { continue };
            if turns.len() == names.len() || state.due.iter().all(|(due, _)| *due > NOW) {
                *turns.entry(group).or_default() += 1;
                done += 1;
            } else {
                turns.entry(group).or_default();
            }
            state.unknown(offset, || None);
        }
    }
    let (least, most) = (turns.values().min(), turns.values().max());
    assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 16), "{turns:?}");
}

#[test]
fn a_group_of_its_own_has_its_own_budget_number_of_checks_and_back_off() {
    let slow = CheckPolicy { per_second: 1, max_checks: 2, back_off_percent: 200, ..CheckPolicy::DEFAULT };
    let groups = Some(Arc::new(GroupPolicies::from([("slow".to_owned(), slow)])));
    let rules = Rules { groups, ..rules(1000) };
    let mut state = State::new(SafeOffsets::default(), Limits::default());
    add(&mut state, "slow", 0..10);
    add(&mut state, "other", 10..20);
    let asked = asked(&mut state, &rules, NOW, NOW + 5_000);
    let slow: Vec<_> = asked.iter().filter(|(_, offset)| *offset < 10).map(|(at, _)| at - NOW).collect();
    assert_eq!(slow, [0, 900, 1_900, 2_900, 3_900, 4_900]);
    assert_eq!(asked.len() - slow.len(), 10);
    assert_eq!(state.find(0).map(|found| found.due_at), Some(NOW + 30_000));
}

#[test]
fn a_group_may_have_so_many_unanswered_checks_and_no_more() {
    let few = CheckPolicy { unanswered: 3, ..CheckPolicy::DEFAULT };
    let rules = Rules { all: few, ..rules(0) };
    let mut state = State::new(SafeOffsets::default(), Limits::default());
    add(&mut state, "orders", 0..10);
    let mut commands = Vec::new();
    state.step(NOW, &rules, |_| true, &mut commands);
    assert_eq!((commands.len(), state.in_flight()), (3, 3));
    assert!(state.unknown(0, || None));
    commands.clear();
    state.step(NOW, &rules, |_| true, &mut commands);
    assert_eq!(commands.len(), 1);
}

#[test]
fn a_message_can_wish_for_a_back_off_of_its_own() {
    let mut state = State::new(SafeOffsets::default(), Limits::default());
    for (offset, back_off) in [(0, None), (1, Some(100)), (2, Some(150)), (3, Some(300)), (4, Some(800))] {
        state.insert(&Half {
            offset,
            log_offset: 100,
            stored_at: NOW,
            first_check_at: NOW,
            group: "orders",
            topic: "paid",
            checks: 2,
            asked_at: None,
            copy_of: None,
            back_off,
        });
    }
    let all = CheckPolicy { back_off_percent: 200, ..CheckPolicy::DEFAULT };
    let rules = Rules { all, ..rules(0) };
    asked(&mut state, &rules, NOW, NOW + 1);
    let waits: Vec<_> = state.unresolved(None).map(|found| (found.due_at - NOW) / 1000).collect();
    assert_eq!(waits, [120, 30, 67, 270, 1_920], "the third check was sent");
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_checks() {
    let mut state = State::new(SafeOffsets::default(), Limits::default());
    add(&mut state, "orders", 0..1_000);
    assert!(!asked(&mut state, &rules(10), NOW, NOW + 10).is_empty());
    add(&mut state, "orders", 1_000..1_001);
    let back = NOW - 40_000;
    assert!(!asked(&mut state, &rules(10), back, back + 2_000).is_empty());
}
