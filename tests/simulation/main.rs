//! Lives of a broker's transactions, made from numbers.
//!
//! ```text
//! simulation [--seeds 10000] [--from 0]            many lives
//! simulation --seed N [--trace]                    one again
//! simulation --mutation publish-twice              does it find this mistake?
//! ```

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use tenonmq_tests::simulation::{Mutation, run, run_all};

/// Lives of a broker's transactions, made from numbers: see `docs/ARCHITECTURE.md`.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Number of lives.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Number of the first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// This life only.
    #[arg(long)]
    seed: Option<u64>,
    /// Tells what happened in it.
    #[arg(long)]
    trace: bool,
    /// A mistake that it should find.
    #[arg(long, value_enum)]
    mutation: Option<Mutation>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let started = Instant::now();
    let outcome = match cli.seed {
        Some(seed) => run(seed, cli.mutation, cli.trace).map(|outcome| {
            outcome.history.iter().for_each(|line| println!("{line}"));
            println!("seed {seed}: {} half messages, {} starts, all in order", outcome.halves, outcome.starts);
        }),
        None => run_all(cli.from..cli.from.saturating_add(cli.seeds), cli.mutation).map(|(halves, starts)| {
            let seconds = started.elapsed().as_secs_f64();
            let rate = cli.seeds as f64 / seconds;
            println!(
                "{} seeds: {halves} half messages, {starts} starts, all in order; {seconds:.1} s, {rate:.0} seeds/s",
                cli.seeds
            );
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
