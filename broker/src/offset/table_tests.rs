use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[test]
fn the_last_commit_wins_even_when_it_goes_backward() {
    let offsets = Offsets::default();
    assert_eq!(offsets.commit("billing", "orders", 0, 10), Commit::Stored);
    assert_eq!(offsets.commit("billing", "orders", 0, 10), Commit::Stored);
    assert_eq!(offsets.commit("billing", "orders", 0, 4), Commit::Backward { from: 10 });
    assert_eq!(offsets.get("billing", "orders", 0), Some(4));
}

#[test]
fn a_queue_that_nobody_committed_has_no_offset() {
    let offsets = Offsets::default();
    offsets.commit("billing", "orders", 0, 10);
    assert_eq!(offsets.get("billing", "orders", 1), None);
    assert_eq!(offsets.get("billing", "refunds", 0), None);
    assert_eq!(offsets.get("audit", "orders", 0), None);
}

#[test]
fn a_negative_offset_counts_as_none_when_asked_for() {
    let offsets = Offsets::default();
    offsets.commit("billing", "orders", 0, -1);
    assert_eq!(offsets.get("billing", "orders", 0), None);
}

#[test]
fn queue_ids_may_come_in_any_order_and_with_gaps() {
    let offsets = Offsets::default();
    for queue_id in [7, 0, 3, 1_000_000, -1] {
        offsets.commit("billing", "orders", queue_id, i64::from(queue_id) + 10);
    }
    for queue_id in [-1, 0, 3, 7, 1_000_000] {
        assert_eq!(offsets.get("billing", "orders", queue_id), Some(i64::from(queue_id) + 10), "queue {queue_id}");
    }
    assert_eq!(offsets.get("billing", "orders", 1), None);
    assert_eq!(offsets.len(), 5);
}

#[test]
fn a_reset_answers_queries_and_silences_commits_until_a_pull_takes_it() {
    let offsets = Offsets::default();
    offsets.commit("billing", "orders", 0, 10);
    assert!(offsets.reset("billing", "orders", 0, 3));
    assert!(offsets.has_reset("billing", "orders", 0));
    assert_eq!(offsets.commit("billing", "orders", 0, 11), Commit::ResetPending);
    assert_eq!(offsets.get("billing", "orders", 0), Some(3));
    assert_eq!(offsets.take_reset("billing", "orders", 0), Some(3));
    assert_eq!(offsets.take_reset("billing", "orders", 0), None);
    assert_eq!(offsets.commit("billing", "orders", 0, 4), Commit::Stored);
    assert_eq!(offsets.get("billing", "orders", 0), Some(4));
}

#[test]
fn a_reset_works_for_a_group_without_offsets_and_refuses_negative_numbers() {
    let offsets = Offsets::default();
    assert!(!offsets.reset("billing", "orders", -1, 3));
    assert!(!offsets.reset("billing", "orders", 0, -3));
    assert!(!offsets.reset("", "orders", 0, 3));
    assert!(offsets.is_empty());
    assert!(offsets.reset("billing", "orders", 0, 3));
    assert_eq!(offsets.of_topic("billing", "orders"), [(0, 3)]);
}

#[test]
fn a_pull_offset_is_no_committed_offset() {
    let offsets = Offsets::default();
    offsets.note_pull("billing", "orders", 0, 32);
    assert_eq!(offsets.pulled("billing", "orders", 0), Some(32));
    assert_eq!(offsets.get("billing", "orders", 0), None);
    assert!(offsets.snapshot().is_empty());
    assert_eq!(offsets.changes(), 0, "nothing to save");
}

#[test]
fn removing_a_topic_or_a_group_leaves_the_others_alone() {
    let offsets = Offsets::default();
    for (group, topic) in [("billing", "orders"), ("billing", "refunds"), ("audit", "orders"), ("audit", "refunds")] {
        offsets.commit(group, topic, 0, 1);
        offsets.commit(group, topic, 1, 1);
    }
    offsets.remove_topic("orders");
    assert_eq!(offsets.topics_of("billing"), ["refunds"]);
    offsets.remove_group("billing");
    assert_eq!(offsets.groups_of("refunds"), ["audit"]);
    assert_eq!(offsets.len(), 2);
    offsets.remove("audit", "refunds");
    assert!(offsets.is_empty());
    assert!(offsets.topics_of("audit").is_empty());
}

#[test]
fn a_full_table_still_takes_commits_for_the_queues_it_knows() {
    let offsets = Offsets::with_limit(2);
    offsets.commit("billing", "orders", 0, 1);
    offsets.commit("billing", "orders", 1, 1);
    assert_eq!(offsets.commit("billing", "orders", 2, 1), Commit::Full);
    assert_eq!(offsets.commit("audit", "orders", 0, 1), Commit::Full);
    assert_eq!(offsets.commit("billing", "orders", 1, 2), Commit::Stored);
    assert!(!offsets.reset("audit", "orders", 0, 1));
    offsets.remove_group("billing");
    assert_eq!(offsets.commit("audit", "orders", 0, 1), Commit::Stored);
}

#[test]
fn a_copy_gives_the_other_group_the_same_offsets_in_that_topic_only() {
    let offsets = Offsets::default();
    offsets.commit("billing", "orders", 0, 5);
    offsets.commit("billing", "orders", 2, 6);
    offsets.commit("billing", "refunds", 0, 7);
    offsets.copy("billing", "audit", "orders");
    assert_eq!(offsets.of_topic("audit", "orders"), [(0, 5), (2, 6)]);
    assert_eq!(offsets.topics_of("audit"), ["orders"]);
}

#[derive(Debug, Clone)]
enum Step {
    Commit(usize, usize, i32, i64),
    Set(usize, usize, i32, i64),
    Reset(usize, usize, i32, i64),
    TakeReset(usize, usize, i32),
    RemoveGroup(usize),
    RemoveTopic(usize),
}

const GROUPS: [&str; 3] = ["billing", "audit", "mail"];
const TOPICS: [&str; 3] = ["orders", "refunds", "orders@x"];

fn step() -> impl Strategy<Value = Step> {
    let (group, topic, queue, offset) = (0..GROUPS.len(), 0..TOPICS.len(), 0..5_i32, 0..100_i64);
    let at = (group.clone(), topic.clone(), queue.clone(), offset);
    prop_oneof![
        6 => at.clone().prop_map(|(g, t, q, o)| Step::Commit(g, t, q, o)),
        2 => at.clone().prop_map(|(g, t, q, o)| Step::Set(g, t, q, o)),
        2 => at.prop_map(|(g, t, q, o)| Step::Reset(g, t, q, o)),
        2 => (group.clone(), topic.clone(), queue).prop_map(|(g, t, q)| Step::TakeReset(g, t, q)),
        1 => group.prop_map(Step::RemoveGroup),
        1 => topic.prop_map(Step::RemoveTopic),
    ]
}

type Key = (&'static str, &'static str, i32);

/// The rules over two plain maps.
#[derive(Default)]
struct Model {
    stored: BTreeMap<Key, i64>,
    marks: BTreeMap<Key, i64>,
}

impl Model {
    fn play(&mut self, step: &Step) -> Option<i64> {
        let key = |group: usize, topic: usize, queue: i32| (GROUPS[group], TOPICS[topic], queue);
        match *step {
            Step::Commit(g, t, q, offset) => {
                if !self.marks.contains_key(&key(g, t, q)) {
                    self.stored.insert(key(g, t, q), offset);
                }
            }
            Step::Set(g, t, q, offset) => drop(self.stored.insert(key(g, t, q), offset)),
            Step::Reset(g, t, q, offset) => {
                self.stored.insert(key(g, t, q), offset);
                self.marks.insert(key(g, t, q), offset);
            }
            Step::TakeReset(g, t, q) => {
                let mark = self.marks.remove(&key(g, t, q))?;
                self.stored.insert(key(g, t, q), mark);
                return Some(mark);
            }
            Step::RemoveGroup(g) => self.forget(|key| key.0 == GROUPS[g]),
            Step::RemoveTopic(t) => self.forget(|key| key.1 == TOPICS[t]),
        }
        None
    }

    fn forget(&mut self, gone: impl Fn(&Key) -> bool) {
        self.stored.retain(|key, _| !gone(key));
        self.marks.retain(|key, _| !gone(key));
    }
}

fn play(offsets: &Offsets, step: &Step) -> Option<i64> {
    match *step {
        Step::Commit(g, t, q, offset) => drop(offsets.commit(GROUPS[g], TOPICS[t], q, offset)),
        Step::Set(g, t, q, offset) => drop(offsets.set(GROUPS[g], TOPICS[t], q, offset)),
        Step::Reset(g, t, q, offset) => drop(offsets.reset(GROUPS[g], TOPICS[t], q, offset)),
        Step::TakeReset(g, t, q) => return offsets.take_reset(GROUPS[g], TOPICS[t], q),
        Step::RemoveGroup(g) => offsets.remove_group(GROUPS[g]),
        Step::RemoveTopic(t) => offsets.remove_topic(TOPICS[t]),
    }
    None
}

proptest! {
    #[test]
    fn whatever_happens_the_table_holds_what_two_plain_maps_would(steps in proptest::collection::vec(step(), 1..80)) {
        let offsets = Offsets::default();
        let mut model = Model::default();
        for step in &steps {
            prop_assert_eq!(play(&offsets, step), model.play(step));
        }
        for group in GROUPS {
            for topic in TOPICS {
                for queue in 0..5 {
                    let key = (group, topic, queue);
                    let expected = model.marks.get(&key).or(model.stored.get(&key)).copied();
                    prop_assert_eq!(offsets.get(group, topic, queue), expected);
                }
            }
        }
        let kept: Vec<_> = offsets.snapshot().into_iter().map(|o| (o.group, o.topic, o.queue_id, o.offset)).collect();
        let mut expected: Vec<_> =
            model.stored.iter().map(|((g, t, q), o)| (g.to_string(), t.to_string(), *q, *o)).collect();
        expected.sort();
        prop_assert_eq!(kept, expected);
        prop_assert_eq!(offsets.len(), model.stored.len());
    }
}
