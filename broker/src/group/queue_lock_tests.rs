use proptest::prelude::*;

use super::*;

const START: i64 = 1_000_000;

fn queue(id: i32) -> MessageQueue {
    MessageQueue { topic: "orders".into(), broker_name: "broker-a".into(), queue_id: id }
}

#[test]
fn a_free_queue_is_granted_and_stays_with_its_member() {
    let locks = QueueLocks::default();
    assert_eq!(locks.lock("billing", "one", vec![queue(0), queue(1)], START), [queue(0), queue(1)]);
    assert_eq!(locks.lock("billing", "two", vec![queue(1), queue(2)], START + 1), [queue(2)]);
    assert!(locks.is_locked_by("billing", "one", &queue(1), START + 1));
}

#[test]
fn groups_do_not_see_each_others_locks() {
    let locks = QueueLocks::default();
    assert_eq!(locks.lock("billing", "one", vec![queue(0)], START), [queue(0)]);
    assert_eq!(locks.lock("audit", "two", vec![queue(0)], START), [queue(0)]);
}

#[test]
fn a_lock_that_is_renewed_outlives_sixty_seconds() {
    let locks = QueueLocks::default();
    locks.lock("billing", "one", vec![queue(0)], START);
    locks.lock("billing", "one", vec![queue(0)], START + 50_000);
    assert!(locks.lock("billing", "two", vec![queue(0)], START + 100_000).is_empty());
}

#[test]
fn a_lock_falls_to_the_next_who_asks_once_sixty_seconds_have_passed() {
    let locks = QueueLocks::default();
    locks.lock("billing", "one", vec![queue(0)], START);
    assert!(locks.lock("billing", "two", vec![queue(0)], START + 60_000).is_empty());
    assert_eq!(locks.lock("billing", "two", vec![queue(0)], START + 60_001), [queue(0)]);
    assert!(!locks.is_locked_by("billing", "one", &queue(0), START + 60_001));
}

#[test]
fn only_the_owner_can_unlock() {
    let locks = QueueLocks::default();
    locks.lock("billing", "one", vec![queue(0)], START);
    locks.unlock("billing", "two", &[queue(0)]);
    assert!(locks.is_locked_by("billing", "one", &queue(0), START));
    locks.unlock("billing", "one", &[queue(0), queue(7)]);
    assert!(locks.is_empty());
    assert_eq!(locks.lock("billing", "two", vec![queue(0)], START), [queue(0)]);
}

#[test]
fn a_group_consumes_in_order_while_one_of_its_locks_is_alive() {
    let locks = QueueLocks::default();
    assert!(!locks.holds_any("billing", START));
    locks.lock("billing", "one", vec![queue(0)], START);
    assert!(locks.holds_any("billing", START + 60_000));
    assert!(!locks.holds_any("billing", START + 60_001));
}

#[test]
fn a_full_table_first_drops_expired_locks_and_then_refuses_new_ones() {
    let locks = QueueLocks::with_limit(2);
    locks.lock("billing", "one", vec![queue(0)], START);
    locks.lock("audit", "one", vec![queue(0)], START + 60_001);
    assert_eq!(locks.lock("audit", "one", vec![queue(1), queue(2)], START + 60_001), [queue(1)]);
    assert_eq!(locks.len(), 2);
    assert_eq!(locks.lock("audit", "one", vec![queue(0)], START + 60_002), [queue(0)], "renewal needs no room");
}

#[test]
fn a_deleted_group_leaves_no_lock_behind() {
    let locks = QueueLocks::default();
    locks.lock("billing", "one", vec![queue(0), queue(1)], START);
    locks.remove_group("billing");
    assert!(locks.is_empty());
    assert!(!locks.holds_any("billing", START));
}

#[derive(Debug, Clone)]
enum Step {
    Lock { group: usize, client: usize, queues: Vec<i32> },
    Unlock { group: usize, client: usize, queues: Vec<i32> },
    Pass { ms: i64 },
    DropExpired,
}

fn step() -> impl Strategy<Value = Step> {
    let queues = || proptest::collection::vec(0..4_i32, 0..4);
    prop_oneof![
        4 => (0..2_usize, 0..3_usize, queues()).prop_map(|(group, client, queues)| Step::Lock { group, client, queues }),
        2 => (0..2_usize, 0..3_usize, queues()).prop_map(|(group, client, queues)| Step::Unlock { group, client, queues }),
        2 => (1..70_000_i64).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::DropExpired),
    ]
}

/// What the rules say, without any thought for memory: (group, queue) → (client, time of the last grant).
#[derive(Default)]
struct Model(std::collections::BTreeMap<(usize, i32), (usize, i64)>);

impl Model {
    fn grants(&mut self, group: usize, client: usize, queue: i32, now_ms: i64) -> bool {
        let taken = self.0.get(&(group, queue)).is_some_and(|(owner, at)| *owner != client && now_ms - at <= 60_000);
        if !taken {
            self.0.insert((group, queue), (client, now_ms));
        }
        !taken
    }

    fn unlock(&mut self, group: usize, client: usize, queue: i32) {
        if self.0.get(&(group, queue)).is_some_and(|(owner, _)| *owner == client) {
            self.0.remove(&(group, queue));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_members_do_the_table_grants_what_the_rules_grant(steps in proptest::collection::vec(step(), 1..60)) {
        const GROUPS: [&str; 2] = ["billing", "audit"];
        const CLIENTS: [&str; 3] = ["one", "two", "three"];
        let locks = QueueLocks::default();
        let mut model = Model::default();
        let mut now_ms = START;
        for step in steps {
            match step {
                Step::Lock { group, client, queues } => {
                    let asked = queues.iter().copied().map(queue).collect();
                    let granted = locks.lock(GROUPS[group], CLIENTS[client], asked, now_ms);
                    let expected: Vec<_> = queues
                        .into_iter()
                        .filter(|id| model.grants(group, client, *id, now_ms))
                        .map(queue)
                        .collect();
                    prop_assert_eq!(granted, expected);
                }
                Step::Unlock { group, client, queues } => {
                    let given_up: Vec<_> = queues.iter().copied().map(queue).collect();
                    locks.unlock(GROUPS[group], CLIENTS[client], &given_up);
                    queues.into_iter().for_each(|id| model.unlock(group, client, id));
                }
                Step::Pass { ms } => now_ms += ms,
                Step::DropExpired => locks.drop_expired(now_ms),
            }
            for (index, group) in GROUPS.into_iter().enumerate() {
                let alive = model.0.iter().any(|((of, _), (_, at))| *of == index && now_ms - at <= 60_000);
                prop_assert_eq!(locks.holds_any(group, now_ms), alive);
            }
        }
    }
}
