//! Plays random histories against a model that knows the fate of each message, and cuts the log at any byte.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{
    record::{self, Event},
    replay::Replay,
};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Pop { gaps: Vec<u8>, invisible: i64 },
    Ack { pick: usize },
    AckAll { pick: usize },
    Change { pick: usize, invisible: i64 },
    Pass { ms: i64 },
    Reset { back: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gaps = prop_oneof![
        3 => (1..33_usize).prop_map(|count| vec![0; count]),
        2 => prop::collection::vec(0..4_u8, 1..33),
    ];
    let step = prop_oneof![
        5 => (gaps, 1..80_i64).prop_map(|(gaps, invisible)| Step::Pop { gaps, invisible }),
        8 => any::<usize>().prop_map(|pick| Step::Ack { pick }),
        2 => any::<usize>().prop_map(|pick| Step::AckAll { pick }),
        3 => (any::<usize>(), 0..80_i64).prop_map(|(pick, invisible)| Step::Change { pick, invisible }),
        5 => (0..40_i64).prop_map(|ms| Step::Pass { ms }),
        1 => (-3..40_i64).prop_map(|back| Step::Reset { back }),
    ];
    prop::collection::vec(step, 1..80)
}

/// A leased message of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    key: LeaseKey,
    deadline: i64,
}

struct World {
    leases: Leases,
    model: BTreeMap<i64, Held>,
    next: i64,
    now: i64,
    log: Vec<u8>,
    /// What was true when the log had this length.
    history: Vec<(usize, Leases)>,
}

impl World {
    fn new() -> Self {
        let mut log = Vec::new();
        let begin = Event::Queue { group: "g".into(), topic: "t".into(), queue_id: 0, next: 0, leases: 0, order: None };
        record::encode(1, &begin, &mut log);
        let leases = Leases::starting_at(0);
        let history = vec![(log.len(), leases.clone())];
        Self { leases, model: BTreeMap::new(), next: 0, now: 1_000, log, history }
    }

    fn change(&mut self, change: Change) {
        record::encode_change(1, &change, &mut self.log);
        self.leases.apply(change);
        self.history.push((self.log.len(), self.leases.clone()));
    }

    fn pick(&self, pick: usize) -> Option<(i64, Held)> {
        let len = self.model.len().max(1);
        self.model.iter().nth(pick % len).map(|(offset, held)| (*offset, *held))
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Pop { gaps, invisible } => self.pop(&gaps, invisible),
            Step::Ack { pick } => {
                if let Some((offset, held)) = self.pick(pick) {
                    let index = self.leases.pending_index(held.key, offset).expect("leased");
                    self.change(Change::Acked { key: held.key, bits: 1 << index });
                    self.model.remove(&offset);
                }
            }
            Step::AckAll { pick } => {
                if let Some((_, held)) = self.pick(pick) {
                    self.change(Change::Acked { key: held.key, bits: u32::MAX });
                    self.model.retain(|_, other| other.key != held.key);
                }
            }
            Step::Change { pick, invisible } => self.prolong(pick, invisible),
            Step::Pass { ms } => self.pass(ms),
            Step::Reset { back } => {
                let next = (self.next - back).max(0);
                self.change(Change::Reset { next });
                self.model.retain(|offset, _| *offset < next);
                self.next = next;
            }
        }
    }

    fn pop(&mut self, gaps: &[u8], invisible: i64) {
        let start = self.next;
        let mut offsets = Vec::new();
        let mut at = start;
        for gap in gaps {
            at += i64::from(*gap);
            offsets.push(at);
            at += 1;
        }
        let key = LeaseKey { start, pop_time: self.now };
        self.change(Change::Leased { key, lease: Lease::of(start, &offsets, invisible, 3, 77), next: at });
        self.model.retain(|_, held| held.key != key);
        let held = Held { key, deadline: self.now + invisible };
        self.model.extend(offsets.into_iter().map(|offset| (offset, held)));
        self.next = at;
    }

    fn prolong(&mut self, pick: usize, invisible: i64) {
        let Some((offset, held)) = self.pick(pick) else { return };
        let index = self.leases.pending_index(held.key, offset).expect("leased");
        let pop_time = self.leases.free_pop_time(offset, self.now);
        self.change(Change::Moved { key: held.key, index, pop_time, invisible, physical: 0 });
        let key = LeaseKey { start: offset, pop_time };
        self.model.insert(offset, Held { key, deadline: pop_time + invisible });
    }

    fn pass(&mut self, ms: i64) {
        self.now += ms;
        while let Some(key) = self.leases.first_due(self.now) {
            let lease = self.leases.get(key).expect("open");
            let index = lease.pending.trailing_zeros();
            let offset = lease.offset(key.start, index);
            let held = self.model.remove(&offset).expect("what is returned was leased");
            assert!(held.deadline <= self.now && held.key == key, "not before its time");
            self.change(Change::Returned { key, index, copy_end: 0 });
        }
        assert!(self.model.values().all(|held| held.deadline > self.now), "nothing stays behind its time");
    }

    fn check(&self) {
        let lowest = self.model.keys().next().copied().unwrap_or(self.next);
        assert_eq!(self.leases.floor(), lowest.min(self.next));
        assert_eq!(self.leases.next(), self.next);
        assert_eq!(self.leases.pending(), self.model.len());
        let mut open = BTreeMap::new();
        for (key, lease) in self.leases.iter() {
            let deadline = deadline(key, lease);
            open.extend(lease.pending_offsets(key.start).map(|offset| (offset, Held { key, deadline })));
        }
        assert_eq!(open, self.model);
        assert_eq!(self.leases.earliest(), self.model.values().map(|held| held.deadline).min());
    }

    /// A crash leaves the log at any length: what is read is what was true at the last whole record.
    fn check_cut(&self, at: usize) {
        let cut = at % (self.log.len() + 1);
        let mut replay = Replay::new(u64::MAX);
        replay.read(&self.log[..cut]);
        let found = replay.finish().remove(&1).map(|kept| kept.leases);
        let expected = self.history.iter().rev().find(|(len, _)| *len <= cut).map(|(_, leases)| leases.clone());
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn leases_agree_with_a_simple_model_and_with_their_log_cut_anywhere(
        steps in steps(),
        cuts in prop::collection::vec(any::<usize>(), 8),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check();
        }
        cuts.into_iter().for_each(|cut| world.check_cut(cut));
        world.check_cut(world.log.len());
    }

    #[test]
    fn no_bytes_make_the_reader_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        Replay::new(0).read(&bytes);
    }
}

#[test]
fn a_lease_that_is_put_off_is_due_then_and_not_before() {
    let mut leases = Leases::starting_at(0);
    let key = LeaseKey { start: 0, pop_time: 10 };
    leases.apply(Change::Leased { key, lease: Lease::of(0, &[0], 5, 0, 0), next: 1 });
    leases.postpone(key, 100);
    assert_eq!((leases.first_due(99), leases.first_due(100)), (None, Some(key)));
    leases.postpone(key, 200);
    assert_eq!((leases.first_due(199), leases.earliest()), (None, Some(200)));
    leases.apply(Change::Acked { key, bits: 1 });
    assert_eq!((leases.earliest(), leases.len()), (None, 0));
}
