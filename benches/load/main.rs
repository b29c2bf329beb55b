//! A load generator for remoting brokers: ours, Apache's, and a null server that stores nothing.
//!
//! ```text
//! load send        --broker 127.0.0.1:10911 --connections 8 --in-flight 32 --seconds 10 [--pid PID]
//! load transaction --broker 127.0.0.1:10911 --connections 8 --in-flight 32
//! load pull        --broker 127.0.0.1:10911 --connections 8
//! load offset      --broker 127.0.0.1:10911 --connections 8 --in-flight 32
//! load send-back   --broker 127.0.0.1:10911 --connections 8 --in-flight 32 [--dead-letters | --delay-level N]
//! load pop         --broker 127.0.0.1:10911 --connections 8 [--batch-ack]
//! load timer       --broker 127.0.0.1:10911 --topic T --timers 1000000 --rate 50000 --lead 60
//! load pending     --broker 127.0.0.1:10911 --count 1000000 [--pid PID]
//! load null        --listen 127.0.0.1:7911       answers every request with success: the floor
//! ```
//!
//! | workload | one operation |
//! |---|---|
//! | `send` | one message stored and answered |
//! | `transaction` | a half message, then its commit, both answered |
//! | `pull` | one message of a pull of `--batch` |
//! | `offset` | one UPDATE_CONSUMER_OFFSET, answered |
//! | `send-back` | one CONSUMER_SEND_MSG_BACK of a stored message: to the retry topic, after a delay that outlasts the run (level 9, 5 minutes of the default levels), or at once to the dead letters |
//! | `pop` | one message popped (`--batch`, at most 32, in one request) and acknowledged, by a request of its own or with `--batch-ack` all by one; every connection pops a queue of its own |
//! | `timer` | one message with TIMER_DELIVER_MS, sent at least `--lead` seconds before the first is due; lateness is the store timestamp of the delivered copy minus the time asked for. Private memory is read before the first send and while all are pending |
//! | `pending` | one half message of a producer group that nobody belongs to. Run `send` and `transaction` before and after it: what they cost must not depend on it. With `--pid` private memory is read before and after, then the idle server's CPU time and what it writes |
//!
//! Each connection is one thread that keeps `in-flight` requests outstanding: it reads what has arrived, and answers the
//! replies of one read with as many new requests in one write. With `--pid` the server's CPU time per operation and its
//! private memory are measured from `/proc`.

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

use report::Report;
use tenonmq_benches::ServerMeter;
use workload::{Kind, Settings, Tally, pending, timer};

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
    /// Commit offsets of a consumer group.
    Offset(Load),
    /// Send stored messages back, as a consumer does that failed to process them.
    SendBack {
        #[command(flatten)]
        load: Load,
        /// Send to the dead letters instead of the retry topic.
        #[arg(long)]
        dead_letters: bool,
        /// Level of the delay before the retry.
        #[arg(long, default_value_t = 9)]
        delay_level: u8,
    },
    /// Pop and acknowledge what is stored. Fills the queues first.
    Pop {
        #[command(flatten)]
        load: Load,
        /// Acknowledge all that one pop took by one request.
        #[arg(long)]
        batch_ack: bool,
    },
    /// Let many timed messages wait, and measure how late they come.
    Timer {
        #[command(flatten)]
        load: Load,
        /// Messages.
        #[arg(long, default_value_t = 1_000_000)]
        timers: u64,
        /// How many are due in a second.
        #[arg(long, default_value_t = 50_000)]
        rate: u64,
        /// Seconds from the first send to the first due time; all must be sent by then.
        #[arg(long, default_value_t = 60)]
        lead: u64,
    },
    /// Leave half messages undecided, and look at the server while nobody can be asked about them.
    Pending {
        #[command(flatten)]
        load: Load,
        /// Half messages.
        #[arg(long, default_value_t = 1_000_000)]
        count: u64,
        /// Seconds from the last send to the look at the idle server.
        #[arg(long, default_value_t = 20)]
        settle: u64,
        /// Seconds that the idle server is looked at.
        #[arg(long, default_value_t = 30)]
        idle: u64,
    },
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
    /// Name of the broker, which handles of popped messages carry.
    #[arg(long, default_value = "broker-a")]
    broker_name: String,
    /// Process of the server, to measure its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().mode {
        Mode::Send(load) => run(Kind::Send, &load, load.settings()),
        Mode::Transaction(load) => run(Kind::Transaction, &load, load.settings()),
        Mode::Pull(load) => run(Kind::Pull, &load, load.settings()),
        Mode::Offset(load) => run(Kind::Offset, &load, load.settings()),
        Mode::SendBack { load, dead_letters, delay_level } => {
            let delay_level = if dead_letters { -1 } else { i32::from(delay_level) };
            run(Kind::SendBack, &load, Settings { delay_level, ..load.settings() })
        }
        Mode::Pop { load, batch_ack } => run(Kind::Pop, &load, Settings { batch_ack, ..load.settings() }),
        Mode::Timer { load, timers, rate, lead } => {
            time(&load, timer::Plan { timers, rate: rate.max(1), lead: Duration::from_secs(lead) })
        }
        Mode::Pending { load, count, settle, idle } => {
            let plan =
                pending::Plan { count, settle: Duration::from_secs(settle), idle: Duration::from_secs(idle.max(1)) };
            pending::run(&load.settings(), load.connections.max(1), plan, load.pid).map_err(Into::into).map(|outcome| {
                print!("{outcome}");
            })
        }
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

impl Load {
    fn settings(&self) -> Settings {
        Settings {
            broker: self.broker,
            in_flight: self.in_flight.max(1),
            size: self.size.max(1),
            batch: self.batch.max(1),
            topic: self.topic.clone(),
            broker_name: self.broker_name.clone(),
            delay_level: 0,
            batch_ack: false,
        }
    }
}

fn time(load: &Load, plan: timer::Plan) -> Result<(), Box<dyn std::error::Error>> {
    let outcome = timer::run(&load.settings(), load.connections.max(1), plan, load.pid)?;
    print!("{outcome}");
    if outcome.is_complete() { Ok(()) } else { Err("not every message came exactly once".into()) }
}

fn run(kind: Kind, load: &Load, settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
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
