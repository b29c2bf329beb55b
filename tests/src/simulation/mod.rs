//! Thousands of lives of a broker's transactions, each made from one number.
//!
//! The engine and the store are the real ones; clock, disk, network, producers, operators and the end of processes and
//! machines are simulated. A run is a loop of random moves, a quiet end in which everything is settled, and a ledger that
//! is shown every record that reaches the log. The invariants are those of `docs/ARCHITECTURE.md`, "Life of a
//! transaction".
//!
//! ```text
//! dice ─► moves ─► world ─► broker: Transactions over Store
//!            │       │         │ every record
//!         network  disk     ledger ─► violation
//! ```
//!
//! Nothing runs beside the loop, so a seed always does the same thing: [`run`] it again with a history to see what.

mod broker;
mod crash;
pub(crate) mod dice;
pub(crate) mod disk;
mod judge;
mod ledger;
mod moves;
mod mutation;
mod network;
mod restart;
mod world;

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

pub use self::{ledger::Violation, mutation::Mutation};
use self::{moves::Mood, world::World};

/// Moves of one run: so many, and up to as many again.
const MOVES: usize = 60;

/// A run that broke a promise.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What it was made from.
    pub seed: u64,
    /// The mistake that was switched on, if any.
    pub mutation: Option<Mutation>,
    /// The promise.
    pub violation: Violation,
    /// What happened, one line each.
    pub history: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.history {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {}: violated: {}", self.seed, self.violation.invariant)?;
        writeln!(f, "  {}", self.violation.seen)?;
        write!(f, "again: cargo run -p tenonmq-tests --bin simulation -- --seed {} --trace", self.seed)?;
        match self.mutation {
            Some(mutation) => write!(f, " --mutation {}", mutation.name()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// A number made of everything that happened.
    pub digest: u64,
    /// Half messages that are in the log at the end, or were.
    pub halves: usize,
    /// Starts of the broker.
    pub starts: u32,
    /// What happened, if that was asked for.
    pub history: Vec<String>,
}

/// One run.
///
/// # Errors
/// A broken promise, with everything that led to it.
pub fn run(seed: u64, mutation: Option<Mutation>, traced: bool) -> Result<Outcome, Box<Failure>> {
    let folder = tempfile::tempdir_in(memory()).expect("a directory");
    let mut world = World::new(seed, folder.path(), mutation, traced);
    let violation = match live(&mut world) {
        Ok(()) => {
            return Ok(Outcome {
                digest: world.digest,
                halves: world.ledger.halves.len(),
                starts: world.ledger.run,
                history: world.history.take().unwrap_or_default(),
            });
        }
        Err(violation) => violation,
    };
    if traced {
        let history = world.history.take().unwrap_or_default();
        return Err(Box::new(Failure { seed, mutation, violation, history }));
    }
    drop(world);
    match run(seed, mutation, true) {
        Err(failure) => Err(failure),
        Ok(_) => Err(Box::new(Failure { seed, mutation, violation, history: vec!["not repeatable".to_owned()] })),
    }
}

fn live(world: &mut World) -> Result<(), Violation> {
    world.mutate_surroundings();
    world.start(0, ledger::Allowed::Nothing)?;
    let mood = Mood::of(world);
    for _ in 0..MOVES + world.dice.below(MOVES) {
        world.step(&mood)?;
    }
    world.conclude()
}

/// Runs over all `seeds`, on as many threads as the machine has cores. The failure with the lowest seed, if any, and the
/// sums of half messages and starts.
///
/// # Errors
/// A broken promise.
pub fn run_all(seeds: Range<u64>, mutation: Option<Mutation>) -> Result<(usize, u64), Box<Failure>> {
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let work = || {
        let (mut halves, mut starts) = (0, 0);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end.load(Ordering::Relaxed) {
                return Ok((halves, starts));
            }
            match run(seed, mutation, false) {
                Ok(outcome) => {
                    halves += outcome.halves;
                    starts += u64::from(outcome.starts);
                }
                Err(failure) => {
                    end.fetch_min(seed, Ordering::Relaxed);
                    return Err(failure);
                }
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|worker| worker.join().expect("a run does not panic")).collect()
    });
    let mut sums = (0, 0);
    let mut failures = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok((halves, starts)) => sums = (sums.0 + halves, sums.1 + starts),
            Err(failure) => failures.push(failure),
        }
    }
    failures.into_iter().min_by_key(|failure| failure.seed).map_or(Ok(sums), Err)
}

/// Where files cost no disk.
fn memory() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}
