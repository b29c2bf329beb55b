//! Runs the script of `disk_faults` with a disk that fails at any call.

use std::path::{Path, PathBuf};

use clap::Parser;
use tenonmq_tests::disk_faults::{Run, Strike, Trouble, fill, run};

/// Which runs. Without anything, every call is tried with every kind of trouble, in both flush modes: that is `--all`.
#[derive(Parser)]
struct Args {
    /// Every call.
    #[arg(long, conflicts_with = "stride")]
    all: bool,
    /// Every n-th call only.
    #[arg(long, default_value_t = 1)]
    stride: u64,
    /// The first call that is tried.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// This call only.
    #[arg(long)]
    at: Option<u64>,
    /// Instead of all that: fills up the file system that this folder lies on, of 1 GiB at most.
    #[arg(long)]
    full: Option<PathBuf>,
}

fn main() {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if let Some(folder) = &args.full {
        std::process::exit(fill_up(folder));
    }
    if args.at.is_none() {
        std::panic::set_hook(Box::new(|_| {})); // it is told with the run
    }
    let (mut runs, mut broken) = (0, 0);
    let mut judge = |at: Run| {
        runs += 1;
        match run(at) {
            Ok(outcome) => Some(outcome),
            Err(error) => {
                broken += 1;
                println!("BROKEN {error}");
                None
            }
        }
    };
    for is_sync in [false, true] {
        let Some(whole) = judge(Run { strike: None, is_sync }) else { continue };
        println!("{} calls, {} acknowledged, {} refused", whole.calls, whole.acknowledged, whole.refused);
        let (from, until) = args.at.map_or((args.from, whole.calls), |at| (at, at + 1));
        for at in (from..until).step_by(usize::try_from(args.stride.max(1)).unwrap_or(usize::MAX)) {
            for trouble in Trouble::ALL {
                judge(Run { strike: Some(Strike { at, trouble }), is_sync });
            }
        }
    }
    println!("{runs} runs, {broken} broken");
    std::process::exit(i32::from(broken > 0));
}

fn fill_up(folder: &Path) -> i32 {
    for is_sync in [false, true] {
        match fill(folder, is_sync) {
            Ok(full) => println!("{full:#?}"),
            Err(error) => {
                println!("BROKEN on a full disk: {error}");
                return 1;
            }
        }
    }
    0
}
