//! The table with its journal against a plain map, with a kill between any two writes.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use proptest::prelude::*;
use tenonmq_storage::{
    ConfigFile,
    fs::{FaultyFs, FileSystem, Op as DiskOp},
};

use super::{
    journal::{FOLDER, Fuse},
    save::FILE_NAME,
    table::Offsets,
};

const GROUPS: [&str; 2] = ["billing", "shipping"];
const TOPICS: [&str; 2] = ["paid", "sent"];
const QUEUES: i32 = 3;
/// Offsets of different queues never overlap, so that a value in the wrong place is seen.
const APART: i64 = 1_000_000;

type Key = (usize, usize, i32);
/// Offset and reset mark.
type State = (Option<i64>, Option<i64>);
type Model = BTreeMap<Key, State>;

/// A table over a directory that a test can break.
struct World {
    root: tempfile::TempDir,
    fs: Arc<FaultyFs>,
    fuse: Fuse,
    offsets: Offsets,
}

fn open(root: &Path, fs: &Arc<FaultyFs>, fuse: &Fuse) -> Offsets {
    let disk: Arc<dyn FileSystem> = fs.clone();
    let settings = crate::remoting::testing::config(&[]).load().offsets.clone();
    let file = ConfigFile::new(Arc::clone(&disk), root, FILE_NAME);
    Offsets::open_with(file, &settings, &disk, root.join("tenonmq").join(FOLDER), fuse.clone()).unwrap()
}

fn keys() -> impl Iterator<Item = Key> {
    (0..GROUPS.len()).flat_map(|g| (0..TOPICS.len()).flat_map(move |t| (0..QUEUES).map(move |q| (g, t, q))))
}

fn index(key: Key) -> i64 {
    keys().position(|other| other == key).unwrap() as i64
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (fs, fuse) = (Arc::new(FaultyFs::lazy()), Fuse::default());
        let offsets = open(root.path(), &fs, &fuse);
        Self { root, fs, fuse, offsets }
    }

    /// What was killed starts again.
    fn reopened(self) -> Self {
        self.reopened_after(|_| ())
    }

    fn reopened_after(self, change: impl FnOnce(&Path)) -> Self {
        let Self { root, fs, offsets, .. } = self;
        drop(offsets);
        change(root.path());
        let fuse = Fuse::default();
        let offsets = open(root.path(), &fs, &fuse);
        Self { root, fs, fuse, offsets }
    }

    fn state(&self) -> Model {
        let state = |(g, t, q): Key| {
            let mark = self.offsets.has_reset(GROUPS[g], TOPICS[t], q);
            let mark = mark.then(|| self.offsets.get(GROUPS[g], TOPICS[t], q).unwrap());
            (self.offsets.stored_at(GROUPS[g], TOPICS[t], q), mark)
        };
        keys().map(|key| (key, state(key))).collect()
    }

    fn files(&self) -> Vec<String> {
        let folder = self.root.path().join("tenonmq").join(FOLDER);
        self.fs.list(&folder).unwrap().into_iter().map(|entry| entry.name).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Key, i64),
    Set(Key, i64),
    Reset(Key, i64),
    Take(Key),
    RemoveGroup(usize),
    RemoveTopic(usize),
    Remove(usize, usize),
    Copy(usize),
    Save,
}

fn key() -> impl Strategy<Value = Key> {
    (0..GROUPS.len(), 0..TOPICS.len(), 0..QUEUES)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (key(), 0..1000i64).prop_map(|(key, n)| Step::Commit(key, n)),
        2 => (key(), 0..1000i64).prop_map(|(key, n)| Step::Set(key, n)),
        2 => (key(), 0..1000i64).prop_map(|(key, n)| Step::Reset(key, n)),
        2 => key().prop_map(Step::Take),
        1 => (0..GROUPS.len()).prop_map(Step::RemoveGroup),
        1 => (0..TOPICS.len()).prop_map(Step::RemoveTopic),
        1 => (0..GROUPS.len(), 0..TOPICS.len()).prop_map(|(g, t)| Step::Remove(g, t)),
        1 => (0..TOPICS.len()).prop_map(Step::Copy),
        2 => Just(Step::Save),
    ]
}

fn offset(key: Key, n: i64) -> i64 {
    index(key) * APART + n
}

/// Does a step; the table with its locks is the code under test.
fn play(offsets: &Offsets, step: &Step) {
    match *step {
        Step::Commit(key @ (g, t, q), n) => {
            offsets.commit(GROUPS[g], TOPICS[t], q, offset(key, n));
        }
        Step::Set(key @ (g, t, q), n) => {
            offsets.set(GROUPS[g], TOPICS[t], q, offset(key, n));
        }
        Step::Reset(key @ (g, t, q), n) => {
            offsets.reset(GROUPS[g], TOPICS[t], q, offset(key, n));
        }
        Step::Take((g, t, q)) => {
            offsets.take_reset(GROUPS[g], TOPICS[t], q);
        }
        Step::RemoveGroup(g) => offsets.remove_group(GROUPS[g]),
        Step::RemoveTopic(t) => offsets.remove_topic(TOPICS[t]),
        Step::Remove(g, t) => offsets.remove(GROUPS[g], TOPICS[t]),
        Step::Copy(t) => offsets.copy(GROUPS[0], GROUPS[1], TOPICS[t]),
        Step::Save => offsets.save(1).unwrap(),
    }
}

/// The same with the plain map.
fn expect(model: &mut Model, step: &Step) {
    match *step {
        Step::Commit(key, n) => {
            let state = model.get_mut(&key).unwrap();
            if state.1.is_none() {
                state.0 = Some(offset(key, n));
            }
        }
        Step::Set(key, n) => model.get_mut(&key).unwrap().0 = Some(offset(key, n)),
        Step::Reset(key, n) => *model.get_mut(&key).unwrap() = (Some(offset(key, n)), Some(offset(key, n))),
        Step::Take(key) => {
            let state = model.get_mut(&key).unwrap();
            if let Some(mark) = state.1.take() {
                state.0 = Some(mark);
            }
        }
        Step::RemoveGroup(g) => model.iter_mut().filter(|(key, _)| key.0 == g).for_each(|(_, state)| {
            *state = (None, None);
        }),
        Step::RemoveTopic(t) => model.iter_mut().filter(|(key, _)| key.1 == t).for_each(|(_, state)| {
            *state = (None, None);
        }),
        Step::Remove(g, t) => model.iter_mut().filter(|(key, _)| (key.0, key.1) == (g, t)).for_each(|(_, state)| {
            *state = (None, None);
        }),
        Step::Copy(t) => (0..QUEUES).for_each(|q| {
            if let Some(found) = model[&(0, t, q)].0 {
                model.get_mut(&(1, t, q)).unwrap().0 = Some(found);
            }
        }),
        Step::Save => {}
    }
}

/// A value is its own queue's, or was copied from the other group's.
fn belongs(key: Key, offset: i64) -> bool {
    let of = |g| index((g, key.1, key.2)) == offset / APART;
    of(key.0) || of(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_kill_between_any_two_writes_loses_no_offset_that_was_answered(
        steps in proptest::collection::vec((step(), proptest::option::weighted(0.25, 0..40u64)), 1..60)
    ) {
        let mut world = World::new();
        let mut model = world.state();
        for (step, kill_after) in steps {
            let before = model.clone();
            if let Some(writes) = kill_after {
                world.fuse.light(writes);
            }
            play(&world.offsets, &step);
            expect(&mut model, &step);
            if kill_after.is_none() {
                prop_assert_eq!(&world.state(), &model);
                continue;
            }
            let was_cut_short = world.fuse.is_burnt();
            world = world.reopened();
            let found = world.state();
            for (key, state) in &found {
                let (old, new) = (before[key], model[key]);
                let offset_fits = state.0 == new.0 || was_cut_short && state.0 == old.0;
                let mark_fits = state.1 == new.1 || was_cut_short && state.1 == old.1;
                prop_assert!(offset_fits && mark_fits, "{:?} of {:?}: {:?}, not {:?} or {:?}", step, key, state, old, new);
            }
            model = found;
        }
    }

    #[test]
    fn a_damaged_journal_never_gives_a_queue_the_offset_of_another(
        steps in proptest::collection::vec(step(), 1..60),
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        cut in any::<bool>(),
        zeros in any::<bool>(),
    ) {
        let world = World::new();
        for step in &steps {
            play(&world.offsets, step);
        }
        let files = world.files();
        let world = world.reopened_after(|root| {
            let path = root.join("tenonmq").join(FOLDER).join(&files[which.index(files.len())]);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at.index(4096);
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at..at + 24].iter_mut().for_each(|byte| *byte = if zeros { 0 } else { !*byte });
            }
            std::fs::write(&path, bytes).unwrap();
        });
        for (key, state) in world.state() {
            prop_assert!(state.0.is_none_or(|offset| belongs(key, offset)), "{:?}: {:?}", key, state);
        }
    }
}

#[test]
fn offsets_and_marks_survive_a_kill_before_the_first_saving() {
    let world = World::new();
    world.offsets.commit("billing", "paid", 0, 7);
    world.offsets.commit("billing", "paid", 0, 8);
    world.offsets.reset("billing", "paid", 1, 3);
    let world = world.reopened();
    assert_eq!(world.offsets.get("billing", "paid", 0), Some(8));
    assert!(world.offsets.has_reset("billing", "paid", 1));
    let world = world.reopened();
    assert_eq!(world.offsets.get("billing", "paid", 0), Some(8), "also when it is killed again at once");
    assert_eq!(world.offsets.take_reset("billing", "paid", 1), Some(3));
    let world = world.reopened();
    assert!(!world.offsets.has_reset("billing", "paid", 1));
}

#[test]
fn a_deleted_group_does_not_come_back_and_its_slots_serve_others() {
    let world = World::new();
    for _ in 0..3 {
        (0..3).for_each(|q| _ = world.offsets.commit("billing", "paid", q, 500));
        world.offsets.save(1).unwrap();
        world.offsets.remove_group("billing");
        (0..3).for_each(|q| _ = world.offsets.commit("shipping", "sent", q, 5));
        world.offsets.remove_topic("sent");
    }
    world.offsets.commit("shipping", "paid", 0, 1);
    let world = world.reopened();
    assert_eq!(world.offsets.snapshot().len(), 1);
    assert_eq!(world.offsets.get("shipping", "paid", 0), Some(1));
}

#[test]
fn thread_1440_what_another_broker_wrote_in_between_counts_and_not_the_journal() {
    let world = World::new();
    world.offsets.commit("billing", "paid", 0, 10);
    world.offsets.save(1).unwrap();
    world.offsets.commit("billing", "paid", 0, 12);
    world.offsets.commit("billing", "paid", 1, 3);
    let world = world.reopened_after(|root| {
        let path = root.join("config").join(FILE_NAME);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("10", "30")).unwrap();
    });
    assert_eq!(world.offsets.get("billing", "paid", 0), Some(30));
    assert_eq!(world.offsets.get("billing", "paid", 1), None, "what that broker did not know, it delivered again");
    world.offsets.commit("billing", "paid", 0, 31);
    let world = world.reopened();
    assert_eq!(world.offsets.get("billing", "paid", 0), Some(31));
}

#[test]
fn an_offset_file_that_was_removed_is_a_new_beginning() {
    let world = World::new();
    world.offsets.commit("billing", "paid", 0, 10);
    world.offsets.save(1).unwrap();
    world.offsets.commit("billing", "paid", 0, 12);
    let world = world.reopened_after(|root| std::fs::remove_dir_all(root.join("config")).unwrap());
    assert_eq!(world.offsets.snapshot(), []);
}

#[test]
fn savings_that_fail_do_not_part_the_journal_from_the_file() {
    let world = World::new();
    world.offsets.commit("billing", "paid", 0, 1);
    world.offsets.save(1).unwrap();
    for offset in 2..12 {
        world.offsets.commit("billing", "paid", 0, offset);
        world.fs.fail(if offset % 2 == 0 { DiskOp::Write } else { DiskOp::Rename }, std::io::ErrorKind::StorageFull);
        world.offsets.save(1).unwrap_err();
        [DiskOp::Write, DiskOp::Rename].into_iter().for_each(|op| world.fs.heal(op));
    }
    let world = world.reopened();
    assert_eq!(world.offsets.get("billing", "paid", 0), Some(11));
}

#[test]
fn a_full_disk_stops_no_commit_and_the_next_saving_makes_good() {
    let world = World::new();
    world.fs.fail(DiskOp::Preallocate, std::io::ErrorKind::StorageFull);
    world.offsets.commit("billing", "paid", 0, 1);
    assert_eq!(world.offsets.get("billing", "paid", 0), Some(1));
    world.fs.heal(DiskOp::Preallocate);
    world.offsets.save(1).unwrap();
    world.offsets.commit("billing", "paid", 0, 2);
    let world = world.reopened();
    assert_eq!(world.offsets.get("billing", "paid", 0), Some(2));
}

#[test]
fn the_journal_does_not_grow_with_groups_that_come_and_go() {
    let world = World::new();
    for n in 0..3000 {
        let group = format!("group-{n}");
        world.offsets.commit(&group, "paid", 0, 1);
        world.offsets.remove_group(&group);
        if n % 100 == 0 {
            world.offsets.save(1).unwrap();
        }
    }
    assert_eq!(world.files().len(), 2, "one epoch, one file of each kind: {:?}", world.files());
}

#[test]
fn many_starts_without_a_saving_leave_few_epochs() {
    let mut world = World::new();
    for offset in 0..20 {
        world.offsets.commit("billing", "paid", 0, offset);
        world = world.reopened();
        assert_eq!(world.offsets.get("billing", "paid", 0), Some(offset));
        assert!(world.files().len() <= 12, "{:?}", world.files());
    }
}

#[test]
fn commits_of_many_threads_are_kept_in_the_order_in_which_they_count() {
    let world = World::new();
    std::thread::scope(|scope| {
        for thread in 0..4i64 {
            let offsets = &world.offsets;
            scope.spawn(move || {
                for n in 0..2000 {
                    offsets.commit("billing", "paid", 0, thread * 10_000 + n);
                    offsets.commit("billing", "paid", thread as i32, thread * 10_000 + n);
                    if thread == 3 && n % 500 == 0 {
                        offsets.save(n).unwrap();
                    }
                }
            });
        }
    });
    let told = world.offsets.snapshot();
    assert_eq!(world.reopened().offsets.snapshot(), told);
}
