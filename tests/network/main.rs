//! Many bad peers, and more than the broker can take, with figures.
//!
//! ```text
//! network [--connections 10000] [--storms 5] [--seconds 10] [--broker PATH]
//! ```
//!
//! The broker is a process of its own. In each part a peer that behaves is served meanwhile, the broker's private memory
//! is looked at, and at the end nothing may be left of all peers: connections, held requests and memory for peers that
//! keep the broker waiting return to zero, or the run fails. `tests/tests/network.rs` is the short form.

mod broker;
mod overload;
mod peers;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use broker::BrokerProcess;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Many bad peers, and more than the broker can take, with figures.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Peers at one time.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How often half as many come and go.
    #[arg(long, default_value_t = 5)]
    storms: usize,
    /// Seconds of overload.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The broker's program; by default `tenonmq` beside this one.
    #[arg(long)]
    broker: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = tokio::runtime::Runtime::new().map_err(Failure::from).and_then(|rt| rt.block_on(run(Cli::parse())));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("network: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let program = match cli.broker {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("tenonmq"),
    };
    let broker = BrokerProcess::start(&program)?;
    peers::idle(&broker, cli.connections).await?;
    peers::storms(&broker, cli.connections / 2, cli.storms).await?;
    peers::stuck(&broker, cli.connections / 5).await?;
    overload::overload(&broker, cli.seconds).await?;
    println!("  forgotten after {:.1?}", broker.is_forgotten().await?);
    Ok(())
}
