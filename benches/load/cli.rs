//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    baseline::fdatasync,
    fill, ready,
    workload::{Kind, Settings, pending, timer},
};

/// Load for remoting brokers, and the null server they are compared with.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

#[derive(Subcommand)]
pub(crate) enum Mode {
    /// Send messages, one or with `--batch` several in a request.
    Send {
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        pace: Pace,
    },
    /// Send half messages and commit each.
    Transaction {
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        pace: Pace,
    },
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
    /// Bring a broker, or a data directory, into a state whose cost is to be measured beside it.
    Fill {
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        state: fill::State,
    },
    /// Time from starting a server's process to its first answer, on an empty directory or after `kill -9`.
    Ready(ready::Plan),
    /// Answer every request with success and store nothing.
    Null {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:7911")]
        listen: SocketAddr,
    },
    /// What the machine itself can do at most.
    #[command(subcommand)]
    Baseline(Baseline),
}

#[derive(Subcommand)]
pub(crate) enum Baseline {
    /// Group commit without a broker: records appended to preallocated files, one `fdatasync` for all that wait.
    Fdatasync(fdatasync::Plan),
    /// A server whose answers to pulls are `sendfile` of stored records; `load pull` is its client.
    Sendfile {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:7912")]
        listen: SocketAddr,
        /// Directory for the file that is sent.
        #[arg(long, default_value = ".")]
        dir: PathBuf,
        /// Body bytes of each message in it.
        #[arg(long, default_value_t = 1024)]
        size: usize,
    },
}

/// When operations begin.
#[derive(Args, Clone, Copy)]
pub(crate) struct Pace {
    /// Operations a second, all connections together, each begun when it is due whatever is outstanding. Latencies
    /// count from the moment an operation was due. Without it a new one begins when one ends.
    #[arg(long)]
    pub(crate) rate: Option<u64>,
}

/// What the load looks like.
#[derive(Args, Clone)]
pub(crate) struct Load {
    /// The broker.
    #[arg(long, default_value = "127.0.0.1:10911")]
    pub(crate) broker: SocketAddr,
    /// Connections, each with a thread.
    #[arg(long, default_value_t = 8)]
    pub(crate) connections: usize,
    /// Requests outstanding on each connection.
    #[arg(long, default_value_t = 32)]
    pub(crate) in_flight: usize,
    /// Body bytes of each message.
    #[arg(long, default_value_t = 1024)]
    pub(crate) size: usize,
    /// Messages of one request: 1 in a send, 32 asked for in a pull or pop, if not given.
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Topic; it must exist. Every broker has the default one.
    #[arg(long, default_value = "BenchmarkTest")]
    pub(crate) topic: String,
    /// Seconds before measuring.
    #[arg(long, default_value_t = 2)]
    pub(crate) warm_up: u64,
    /// Seconds of measuring.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Name of the broker, which handles of popped messages carry.
    #[arg(long, default_value = "broker-a")]
    pub(crate) broker_name: String,
    /// Process of the server, to measure its CPU time and memory.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Load {
    pub(crate) fn settings(&self, kind: Kind) -> Settings {
        let usual_batch = if matches!(kind, Kind::Pull | Kind::Pop) { 32 } else { 1 };
        Settings {
            broker: self.broker,
            connections: self.connections.max(1),
            in_flight: self.in_flight.max(1),
            size: self.size.max(1),
            batch: self.batch.unwrap_or(usual_batch).max(1),
            topic: self.topic.clone(),
            broker_name: self.broker_name.clone(),
            delay_level: 0,
            batch_ack: false,
        }
    }
}

pub(crate) fn pending_plan(count: u64, settle: u64, idle: u64) -> pending::Plan {
    pending::Plan { count, settle: Duration::from_secs(settle), idle: Duration::from_secs(idle.max(1)) }
}

pub(crate) fn timer_plan(timers: u64, rate: u64, lead: u64) -> timer::Plan {
    timer::Plan { timers, rate: rate.max(1), lead: Duration::from_secs(lead) }
}
