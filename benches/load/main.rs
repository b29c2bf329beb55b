//! A load generator for remoting brokers: ours, Apache's, and a null server that stores nothing.
//!
//! ```text
//! load send        --broker 127.0.0.1:10911 --connections 8 --in-flight 32 --seconds 10 [--pid PID]
//! load transaction --broker 127.0.0.1:10911 --connections 8 --in-flight 32
//! load pull        --broker 127.0.0.1:10911 --connections 8
//! load null        --listen 127.0.0.1:7911       answers every request with success: the floor
//! ```
//!
//! Each connection is one thread that keeps `in-flight` requests outstanding: it reads what has arrived, and answers the
//! replies of one read with as many new requests in one write. With `--pid` the server's CPU time per operation and its
//! private memory are measured from `/proc`.

mod meter;
mod null;
mod peer;
mod report;
mod workload;

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand};
use hdrhistogram::Histogram;

use meter::ServerMeter;
use report::Report;
use workload::{Kind, Settings, Tally};

/// Load for remoting brokers, and the null server they are compared with.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Send messages.
    Send(Load),
    /// Send half messages and commit each.
    Transaction(Load),
    /// Pull what is stored, again and again. Fills the queues first.
    Pull(Load),
    /// Answer every request with success and store nothing.
    Null {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:7911")]
        listen: SocketAddr,
    },
}

/// What the load looks like.
#[derive(Args, Clone)]
struct Load {
    /// The broker.
    #[arg(long, default_value = "127.0.0.1:10911")]
    broker: SocketAddr,
    /// Connections, each with a thread.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Requests outstanding on each connection.
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    /// Body bytes of each message.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Messages asked for in one pull.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Topic; it must exist. Every broker has the default one.
    #[arg(long, default_value = "BenchmarkTest")]
    topic: String,
    /// Seconds before measuring.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// Seconds of measuring.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Process of the server, to measure its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().mode {
        Mode::Send(load) => run(Kind::Send, &load),
        Mode::Transaction(load) => run(Kind::Transaction, &load),
        Mode::Pull(load) => run(Kind::Pull, &load),
        Mode::Null { listen } => null::serve(listen).map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the threads should be doing; one value for all.
#[derive(Default)]
pub(crate) struct Phase(AtomicU8);

impl Phase {
    const MEASURE: u8 = 1;
    const STOP: u8 = 2;

    pub(crate) fn measures(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::MEASURE
    }

    pub(crate) fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::STOP
    }
}

fn run(kind: Kind, load: &Load) -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings {
        broker: load.broker,
        in_flight: load.in_flight.max(1),
        size: load.size.max(1),
        batch: load.batch.max(1),
        topic: load.topic.clone(),
    };
    workload::prepare(kind, &settings, load.connections)?;
    let phase = Arc::new(Phase::default());
    let threads: Vec<_> = (0..load.connections)
        .map(|index| {
            let (settings, phase) = (settings.clone(), Arc::clone(&phase));
            thread::spawn(move || workload::run(kind, &settings, index, &phase))
        })
        .collect();
    thread::sleep(Duration::from_secs(load.warm_up));
    let meter = load.pid.map(ServerMeter::start).transpose()?;
    let started = Instant::now();
    phase.0.store(Phase::MEASURE, Ordering::Relaxed);
    thread::sleep(Duration::from_secs(load.seconds));
    phase.0.store(Phase::STOP, Ordering::Relaxed);
    let elapsed = started.elapsed();
    let server = meter.map(|meter| meter.stop()).transpose()?;
    let mut total = Tally { operations: 0, failures: 0, latency: Histogram::new_with_bounds(1, 60_000_000, 3)? };
    for thread in threads {
        let tally = thread.join().map_err(|_| "a connection's thread panicked")??;
        total.operations += tally.operations;
        total.failures += tally.failures;
        total.latency.add(&tally.latency)?;
    }
    print!("{}", Report { kind, connections: load.connections, settings: &settings, elapsed, total: &total, server });
    if total.failures > 0 || total.operations == 0 {
        return Err(format!("{} of {} operations failed", total.failures, total.operations + total.failures).into());
    }
    Ok(())
}
