//! Offsets as requests move them, against a plain map: after every step, and after a kill behind any step, each queue
//! stands where the map says, and no queue went anywhere but forward without an entry.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tenonmq_protocol::{
    Command, RequestCode,
    body::offset_desk::{ListMoves, OffsetMove, ResetGroup, UndoMove},
    header::{PullFlags, PullMessage, offset::UpdateOffset},
};

use crate::remoting::testing::{Peer, TestBroker};

const GROUPS: [&str; 2] = ["billing", "audit"];
const QUEUES: i32 = 2;
/// Messages in each queue.
const MESSAGES: i64 = 10;

#[derive(Debug, Clone)]
enum Step {
    Commit { group: usize, queue_id: i32, offset: i64 },
    Pull { group: usize, queue_id: i32, offset: i64 },
    Reset { group: usize, queue_id: Option<i32>, to: Goal },
    Undo,
    Clone { from: usize },
    Delete { group: usize },
    Kill,
}

#[derive(Debug, Clone, Copy)]
enum Goal {
    Offset(i64),
    Min,
    Max,
}

fn step() -> impl Strategy<Value = Step> {
    let (group, queue, offset) = (0..GROUPS.len(), 0..QUEUES, 0..=MESSAGES);
    let at = (group.clone(), queue.clone(), offset.clone());
    let goal = prop_oneof![2 => offset.prop_map(Goal::Offset), 1 => Just(Goal::Min), 1 => Just(Goal::Max)];
    prop_oneof![
        6 => at.clone().prop_map(|(group, queue_id, offset)| Step::Commit { group, queue_id, offset }),
        4 => at.prop_map(|(group, queue_id, offset)| Step::Pull { group, queue_id, offset }),
        3 => (group.clone(), proptest::option::of(queue), goal)
            .prop_map(|(group, queue_id, to)| Step::Reset { group, queue_id, to }),
        2 => Just(Step::Undo),
        1 => group.clone().prop_map(|from| Step::Clone { from }),
        1 => group.prop_map(|group| Step::Delete { group }),
        2 => Just(Step::Kill),
    ]
}

/// Where a group stands in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Place {
    offset: Option<i64>,
    /// An operator's offset that the next pull takes.
    is_marked: bool,
}

/// A group and one of its queues.
type Key = (usize, i32);
type Model = BTreeMap<Key, Place>;

/// Number of a move, and where the queues stood before.
type Move = (u64, Vec<(Key, Place)>);

struct World {
    broker: TestBroker,
    model: Model,
    /// Moves that were answered, newest last, and what they changed.
    moves: Vec<Move>,
}

impl World {
    fn new() -> Self {
        let broker = TestBroker::new();
        broker.topic("orders", QUEUES);
        (0..QUEUES).for_each(|id| (0..MESSAGES).for_each(|_| _ = broker.store("orders", id, b"x")));
        let model = (0..GROUPS.len()).flat_map(|group| (0..QUEUES).map(move |id| ((group, id), Place::default())));
        let world = Self { broker, model: model.collect(), moves: Vec::new() };
        world.groups();
        world
    }

    fn groups(&self) {
        GROUPS.iter().for_each(|group| _ = self.broker.core.groups.find_or_create(group).unwrap());
    }

    fn found(&self) -> Model {
        let place = |(group, id): &Key| Place {
            offset: self.broker.core.offsets.get(GROUPS[*group], "orders", *id),
            is_marked: self.broker.core.offsets.has_reset(GROUPS[*group], "orders", *id),
        };
        self.model.keys().map(|key| (*key, place(key))).collect()
    }

    async fn history(&self) -> Vec<OffsetMove> {
        let all = ListMoves { limit: Some(1000), ..ListMoves::default() };
        self.broker.core.offset_history.write_gathered(1);
        self.broker.desk(&Peer::new(9), &all).await.unwrap().moves
    }

    async fn order(&self, code: RequestCode, fields: &[(&str, &str)]) {
        let order = fields.iter().fold(Command::request(code), |order, (name, value)| order.with_field(*name, value));
        assert_eq!(self.broker.call(&Peer::new(9), order).await.code, 0);
    }

    /// Does a step, with the map as well.
    async fn play(&mut self, step: &Step) {
        let peer = Peer::new(1);
        match *step {
            Step::Commit { group, queue_id, offset } => {
                let commit = UpdateOffset {
                    consumer_group: GROUPS[group],
                    topic: "orders",
                    queue_id,
                    commit_offset: offset,
                    broker_name: None,
                };
                assert_eq!(self.broker.ask(&peer, &commit).await.code, 0);
                self.committed((group, queue_id), offset);
            }
            Step::Pull { group, queue_id, offset } => {
                let pull = PullMessage {
                    consumer_group: GROUPS[group],
                    topic: "orders",
                    queue_id,
                    queue_offset: offset,
                    commit_offset: offset,
                    max_count: 1,
                    sys_flag: PullFlags::COMMIT | PullFlags::SUBSCRIPTION,
                    subscription: Some("*"),
                    ..PullMessage::default()
                };
                let answer = self.broker.ask(&peer, &pull).await;
                let place = self.model[&(group, queue_id)];
                if place.is_marked {
                    let led_to = place.offset.map(|offset| offset.to_string());
                    assert_eq!((answer.code, answer.field("nextBeginOffset")), (21, led_to.as_deref()));
                }
                self.committed((group, queue_id), offset);
                self.model.get_mut(&(group, queue_id)).unwrap().is_marked = false;
            }
            Step::Reset { group, queue_id, to } => self.reset(group, queue_id, to).await,
            Step::Undo => self.undo().await,
            Step::Clone { from } => {
                let (source, target) = (GROUPS[from], GROUPS[1 - from]);
                let fields = [("srcGroup", source), ("destGroup", target), ("topic", "orders"), ("offline", "true")];
                self.order(RequestCode::CLONE_GROUP_OFFSET, &fields).await;
                for id in 0..QUEUES {
                    if let Some(offset) = self.stored(from, id) {
                        self.model.get_mut(&(1 - from, id)).unwrap().offset = Some(offset);
                    }
                }
                self.follow_marks();
            }
            Step::Delete { group } => {
                let fields = [("groupName", GROUPS[group]), ("cleanOffset", "true")];
                self.order(RequestCode::DELETE_SUBSCRIPTIONGROUP, &fields).await;
                (0..QUEUES).for_each(|id| _ = self.model.insert((group, id), Place::default()));
                self.groups();
            }
            Step::Kill => {}
        }
    }

    fn stored(&self, group: usize, id: i32) -> Option<i64> {
        self.broker
            .core
            .offsets
            .of_topic(GROUPS[group], "orders")
            .iter()
            .find(|one| one.0 == id && one.1 >= 0)
            .map(|one| one.1)
    }

    /// A clone leaves marks alone: while one is there, it is what counts.
    fn follow_marks(&mut self) {
        for ((group, id), place) in &mut self.model {
            if place.is_marked {
                place.offset = self.broker.core.offsets.get(GROUPS[*group], "orders", *id);
            }
        }
    }

    fn committed(&mut self, key: Key, offset: i64) {
        let place = self.model.get_mut(&key).unwrap();
        if !place.is_marked {
            place.offset = Some(offset);
        }
    }

    async fn reset(&mut self, group: usize, queue_id: Option<i32>, to: Goal) {
        let (name, value, target) = match to {
            Goal::Offset(offset) => ("offset", Some(offset), offset),
            Goal::Min => ("min", None, 0),
            Goal::Max => ("max", None, MESSAGES),
        };
        let asked = ResetGroup {
            group: GROUPS[group].into(),
            queue_id,
            reason: "a test".into(),
            to: name.into(),
            topic: "orders".into(),
            value,
        };
        let done = self.broker.desk(&Peer::new(9), &asked).await.unwrap();
        let ids = queue_id.map_or((0..QUEUES).collect(), |id| vec![id]);
        let before: Vec<_> = ids.into_iter().map(|id| ((group, id), self.model[&(group, id)])).collect();
        let distance = |sign: i64| {
            let from = before.iter().filter_map(|(_, place)| place.offset);
            from.map(|from| (sign * (target - from)).max(0)).sum::<i64>()
        };
        assert_eq!((done.moved.repeats, done.moved.skips), (distance(-1), distance(1)));
        for (key, _) in &before {
            self.model.insert(*key, Place { offset: Some(target), is_marked: true });
        }
        self.moves.push((done.id, before));
    }

    /// The last reset is taken back, by force if need be.
    async fn undo(&mut self) {
        let Some((id, before)) = self.moves.pop() else { return };
        let undo = UndoMove { force: true, id, reason: String::new() };
        self.broker.desk(&Peer::new(9), &undo).await.unwrap();
        for (key, place) in before {
            self.model.insert(key, Place { offset: place.offset, is_marked: place.offset.is_some() });
        }
    }
}

/// Every queue that is not where it was, or further on, is named by an entry that was not there before.
fn unexplained(before: &Model, after: &Model, fresh: &[OffsetMove]) -> Option<Key> {
    let went_back = |key: &&Key| {
        let (from, to) = (before[*key].offset, after[*key].offset);
        from.is_some_and(|from| to.is_none_or(|to| to < from))
    };
    let names = |key: &Key| {
        let is_it = |entry: &&OffsetMove| entry.group == GROUPS[key.0];
        fresh.iter().filter(is_it).any(|entry| entry.queues.iter().any(|queue| queue.queue_id == key.1))
    };
    after.keys().filter(went_back).find(|key| !names(key)).copied()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_offset_goes_anywhere_but_forward_without_an_entry_wherever_the_broker_is_killed(
        steps in proptest::collection::vec(step(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in &steps {
                let (before, known) = (world.found(), world.history().await.first().map_or(0, |entry| entry.id));
                world.play(step).await;
                if matches!(step, Step::Kill) {
                    let World { broker, model, moves } = world;
                    world = World { broker: broker.crashed(), model, moves };
                    world.groups();
                }
                let found = world.found();
                assert_eq!(found, world.model, "after {step:?}");
                let mut fresh = world.history().await;
                fresh.retain(|entry| entry.id > known);
                assert_eq!(unexplained(&before, &found, &fresh), None, "after {step:?}: {fresh:?}");
            }
        });
    }
}
