//! Plays random histories against a model that scans everything and is easily seen to be right.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    all: CheckPolicy {
        interval_ms: 30,
        max_checks: 3,
        per_second: 0,
        back_off_percent: 150,
        jitter_percent: 10,
        ..CheckPolicy::DEFAULT
    },
    groups: None,
    give_up_ms: 500,
    reserved_ms: i64::MAX,
};
const GROUPS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Half { group: usize, immunity: i64 },
    End { pick: usize, commit: bool, fails: bool },
    Unknown { pick: usize },
    Pass { ms: i64 },
    Online { group: usize, online: bool },
    Unreachable,
    Carry { fails: bool },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..3_usize, 5..80_i64).prop_map(|(group, immunity)| Step::Half { group, immunity }),
        4 => (any::<usize>(), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(pick, commit, fails)| Step::End { pick, commit, fails }),
        1 => any::<usize>().prop_map(|pick| Step::Unknown { pick }),
        6 => (1..40_i64).prop_map(|ms| Step::Pass { ms }),
        1 => (0..3_usize, any::<bool>()).prop_map(|(group, online)| Step::Online { group, online }),
        1 => Just(Step::Unreachable),
        1 => prop::bool::weighted(0.2).prop_map(|fails| Step::Carry { fails }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Debug, Clone)]
struct Message {
    stored_at: i64,
    due: i64,
    group: usize,
    checks: u16,
    fate: Option<Verdict>,
    /// Whether this process has seen the decision.
    remembered: bool,
    /// Where it went.
    moved_to: Option<i64>,
}

impl Message {
    fn is_undecided(&self) -> bool {
        self.fate.is_none() && self.moved_to.is_none()
    }
}

struct World {
    state: State,
    model: BTreeMap<i64, Message>,
    online: [bool; 3],
    now: i64,
}

impl World {
    fn new() -> Self {
        let limits = Limits { offline_recheck_ms: 1, busy_retry_ms: 1, ..Limits::default() };
        let state = State::new(SafeOffsets::default(), limits);
        Self { state, model: BTreeMap::new(), online: [true; 3], now: 1_000 }
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Half { group, immunity } => self.half(group, immunity),
            Step::End { pick, commit, fails } => self.end(pick, commit, fails),
            Step::Unknown { pick } => drop(self.state.unknown(pick as i64 % (self.model.len() as i64 + 1), || None)),
            Step::Pass { ms } => {
                for _ in 0..ms {
                    self.now += 1;
                    self.check(false);
                }
            }
            Step::Online { group, online } => {
                self.now += 1; // a pause for busy producers is over: it would end with a new producer, too
                self.online[group] = online;
                if online {
                    self.state.producer_online(GROUPS[group]);
                }
                self.check(false);
            }
            Step::Unreachable => {
                self.now += 1;
                self.check(true);
            }
            Step::Carry { fails } => self.carry(fails),
            Step::Restart => self.restart(),
        }
        self.compare();
    }

    fn half(&mut self, group: usize, immunity: i64) {
        let offset = self.model.len() as i64;
        let message = Message {
            stored_at: self.now,
            due: self.now + immunity,
            group,
            checks: 0,
            fate: None,
            remembered: true,
            moved_to: None,
        };
        insert(&mut self.state, offset, &message);
        self.model.insert(offset, message);
    }

    fn end(&mut self, pick: usize, commit: bool, fails: bool) {
        let verdict = if commit { Verdict::Committed } else { Verdict::RolledBack };
        let offset = pick as i64 % (self.model.len() as i64 + 1);
        let decision = self.state.decide(offset, verdict, || None);
        let place = self.place(offset);
        let Some(message) = self.model.get_mut(&place) else {
            assert!(matches!(decision, Decision::Forgotten));
            return;
        };
        match (decision, message.fate) {
            (Decision::First(claim), None) if fails => {
                self.state.give_back(claim, self.now + 1);
                message.due = message.due.max(self.now + 1);
            }
            (Decision::First(claim), None) => {
                self.state.settle(&claim, None);
                message.fate = Some(verdict);
            }
            (Decision::Repeat, Some(fate)) => assert_eq!(fate, verdict),
            (Decision::Contradiction(before), Some(fate)) => {
                assert_eq!(before, fate);
                assert_ne!(before, verdict);
            }
            (Decision::Forgotten, Some(_)) => assert!(!message.remembered || offset != place),
            (decision, fate) => panic!("{decision:?} of a message that is {fate:?}"),
        }
    }

    /// Where the message is that had this place.
    fn place(&self, mut offset: i64) -> i64 {
        while let Some(next) = self.model.get(&offset).and_then(|message| message.moved_to) {
            offset = next;
        }
        offset
    }

    /// The oldest undecided message moves to the end of the queue; `fails`: it would have, but the disk is full.
    fn carry(&mut self, fails: bool) {
        let moved = self.model.values().filter(|message| message.moved_to.is_some()).count();
        if moved == 7 {
            return; // of a message that moves more often not every place is known
        }
        let oldest = self.model.iter().find(|(_, message)| message.is_undecided()).map(|(offset, _)| *offset);
        let Some(moving) = self.state.depart(u64::MAX) else { return assert_eq!(oldest, None) };
        assert_eq!(Some(moving.offset), oldest);
        assert!(matches!(self.state.decide(moving.offset, Verdict::Committed, || None), Decision::Moving));
        assert!(self.state.safe_offsets(0).half <= moving.offset);
        if fails {
            return self.state.stay(moving.offset);
        }
        let to = self.model.len() as i64;
        self.state.arrive(moving.offset, (to, to as u64 * 100), None);
        let Some(before) = self.model.get_mut(&moving.offset) else { return };
        assert_eq!((moving.stored_at, moving.checks), (before.stored_at, before.checks));
        let after = before.clone();
        before.moved_to = Some(to);
        self.model.insert(to, after);
    }

    /// Runs the checker; what it does must be what a scan over the model says. `unreachable`: nobody takes a question.
    fn check(&mut self, unreachable: bool) {
        let mut expected = BTreeMap::new();
        for (offset, message) in &self.model {
            if message.is_undecided() && message.due <= self.now {
                let expired = self.now > message.stored_at + RULES.give_up_ms;
                if expired || u32::from(message.checks) >= RULES.all.max_checks {
                    expected.insert(*offset, None);
                } else if self.online[message.group] {
                    expected.insert(*offset, Some(message.checks + 1));
                }
            }
        }
        let mut done = BTreeMap::new();
        let mut not_asked = Vec::new();
        loop {
            let mut commands = Vec::new();
            let online = self.online;
            let find = |name: &str| GROUPS.iter().position(|group| *group == name).is_some_and(|group| online[group]);
            let next = self.state.step(self.now, &RULES, find, &mut commands);
            for command in commands {
                match command {
                    Command::Ask { offset, attempt, .. } => {
                        assert!(done.insert(offset, Some(attempt)).is_none());
                        not_asked.push(offset);
                    }
                    Command::Park { claim, .. } => {
                        assert!(done.insert(claim.offset, None).is_none());
                        self.state.settle(&claim, None);
                    }
                }
            }
            if next != Next::Now {
                break;
            }
        }
        assert_eq!(done, expected, "at {}", self.now);
        for (offset, attempt) in done {
            let Some(message) = self.model.get_mut(&offset) else { continue };
            match attempt {
                Some(_) if unreachable => message.due = self.now + 1, // the group pauses
                Some(attempt) => {
                    message.checks = attempt;
                    message.due = self.now + RULES.all.wait_ms(attempt, None, offset);
                }
                None => message.fate = Some(Verdict::Parked),
            }
        }
        if unreachable {
            not_asked.iter().for_each(|offset| self.state.not_asked(*offset, self.now, &RULES));
        }
    }

    /// A new process knows the undecided messages, their checks and due times, and of decided ones that they are.
    fn restart(&mut self) {
        let floor = self.state.safe_offsets(0);
        let undecided = self.model.iter().find(|(_, message)| message.is_undecided()).map(|(offset, _)| *offset);
        assert_eq!(floor.half, undecided.unwrap_or(self.model.len() as i64));
        self.state = State::new(floor, self.state.limits);
        for (offset, message) in &mut self.model {
            if message.is_undecided() {
                insert(&mut self.state, *offset, message);
            }
            message.remembered = message.is_undecided();
        }
        for (offset, _) in self.model.iter().filter(|(_, message)| message.is_undecided()) {
            let before = self.model.keys().filter(|before| *before < offset && self.place(**before) == *offset);
            self.state.note_places(*offset, before.copied().collect());
        }
        self.state.know_all_below(self.model.len() as i64);
    }

    fn compare(&self) {
        let pending: Vec<i64> = self.state.unresolved(None).map(|found| found.offset).collect();
        let undecided: Vec<i64> =
            self.model.iter().filter(|(_, message)| message.is_undecided()).map(|(offset, _)| *offset).collect();
        assert_eq!(pending, undecided);
        for found in self.state.unresolved(None) {
            assert_eq!(found.checks, self.model[&found.offset].checks);
        }
        let open = self.state.pending.values().filter(|entry| entry.flags & OPEN != 0).count();
        assert_eq!(self.state.in_flight, open);
        let ready: usize = self.state.groups.iter().map(|group| group.state.ready.len()).sum();
        assert_eq!(ready, self.state.pending.values().filter(|entry| entry.flags & READY != 0).count());
        assert_eq!(self.state.due.len() + ready, self.state.pending.len());
        assert!(self.state.aging.len() <= ready);
    }
}

fn insert(state: &mut State, offset: i64, message: &Message) {
    state.insert(&Half {
        offset,
        log_offset: offset as u64 * 100,
        stored_at: message.stored_at,
        first_check_at: message.due,
        group: GROUPS[message.group],
        topic: "paid",
        checks: message.checks,
        asked_at: None,
        copy_of: None,
        back_off: None,
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_state_does_what_a_scan_over_every_message_would_do(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.play(step));
    }
}
