//! A broker that is killed at random moments, or loses its power, and what it had answered.
//!
//! ```text
//! crash [--cycles 20] [--seed N] [--broker PATH] [--longest-load 600] [--pause 5] [--sync]
//! crash --power-cuts [--cycles 20] [--seed N] ...
//! ```
//!
//! What is done and what must hold: [`tenonmq_tests::crash`].

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use rand::Rng;
use tenonmq_tests::{
    broker_process::Failure,
    crash::{End, Plan, run},
};

/// Kills a broker again and again, and compares what is there with what it answered.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Kills after a load, each followed by a start.
    #[arg(long, default_value_t = 20)]
    cycles: u32,
    /// Choices are made from it; by default a new one.
    #[arg(long)]
    seed: Option<u64>,
    /// The broker's program; by default `tenonmq` beside this one.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// The longest load of a cycle, in milliseconds; the shortest takes 50.
    #[arg(long, default_value_t = 600)]
    longest_load: u64,
    /// Milliseconds between two messages of each sender.
    #[arg(long, default_value_t = 5)]
    pause: u64,
    /// The broker flushes synchronously.
    #[arg(long)]
    sync: bool,
    /// The power is cut: the broker runs in this process, over a disk that loses what was not synced.
    #[arg(long, conflicts_with = "broker")]
    power_cuts: bool,
    /// Where the broker's directory is made; by default where temporary files go. It stays after a failure.
    #[arg(long)]
    folder: Option<PathBuf>,
}

fn main() -> ExitCode {
    match plan(Cli::parse()).and_then(|plan| tokio::runtime::Runtime::new()?.block_on(run(&plan))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crash: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(cli: Cli) -> Result<Plan, Failure> {
    let seed = cli.seed.unwrap_or_else(|| rand::rng().random());
    println!("crash: {} cycles, seed {seed}", cli.cycles);
    let end = match cli.broker {
        _ if cli.power_cuts => End::PowerCut,
        Some(program) => End::Kill(program),
        None => End::Kill(std::env::current_exe()?.with_file_name("tenonmq")),
    };
    Ok(Plan {
        cycles: cli.cycles,
        seed,
        end,
        longest_load: cli.longest_load,
        pause: cli.pause,
        is_sync: cli.sync,
        folder: cli.folder.unwrap_or_else(std::env::temp_dir),
    })
}
