//! States that a broker's costs must not depend on: many topics, connections, groups, undecided messages, timers, and a
//! long log.
//!
//! What lies in the store stays there when this ends. Connections and groups are there while it holds them: `--hold`
//! says how long, and the load to be measured beside them is another process.

mod clients;
mod log;
mod topics;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;
use tenonmq_benches::ServerMeter;

use crate::{
    cli::Load,
    report,
    workload::{Kind, Settings, now_ms, pending, queue_of, timer},
};

/// How far in the future timers are due, at first; they are due over the hour that follows.
const TIMERS_DUE_IN: Duration = Duration::from_secs(4 * 3600);

/// What there shall be.
#[derive(Args, Clone, Default)]
pub(crate) struct State {
    /// Topics, with a message in each of their queues. They are created by UPDATE_AND_CREATE_TOPIC_LIST.
    #[arg(long, default_value_t = 0)]
    topics: usize,
    /// Queues of each of these topics.
    #[arg(long, default_value_t = 8)]
    queues: usize,
    /// Create the topics and send nothing to them: no queue has a file then.
    #[arg(long)]
    empty_topics: bool,
    /// Half messages of a producer group that nobody belongs to.
    #[arg(long, default_value_t = 0)]
    pending: u64,
    /// Timed messages, due in four to five hours.
    #[arg(long, default_value_t = 0)]
    timers: u64,
    /// Connections of producers, a hundred in a group, that do nothing but say that they are alive every 30 seconds.
    #[arg(long, default_value_t = 0)]
    idle_connections: usize,
    /// Consumer groups, each with one member on a connection of its own, subscribed to `--topic`.
    #[arg(long, default_value_t = 0)]
    groups: usize,
    /// Seconds to keep connections and groups.
    #[arg(long, default_value_t = 0)]
    hold: u64,
    /// GiB of commit log to be written to `--store`, a directory without a broker and without a log. The bodies are zeros
    /// that take no blocks on disk.
    #[arg(long, default_value_t = 0, requires = "store")]
    log_gib: u64,
    /// Data directory for `--log-gib`.
    #[arg(long)]
    store: Option<PathBuf>,
}

/// Brings the state about, says what it costs the server in memory, and holds what must be held.
pub(crate) fn run(load: &Load, state: &State) -> io::Result<()> {
    let started = Instant::now();
    if let (Some(store), true) = (&state.store, state.log_gib > 0) {
        log::write(store, state.log_gib)?;
    }
    let settings = load.settings(Kind::Send);
    let look = |pid: u32| ServerMeter::start(pid)?.stop().map(|server| server.private_bytes);
    let before = load.pid.map(look).transpose()?;
    topics::create(&settings, state.topics, state.queues)?;
    if state.topics > 0 && !state.empty_topics {
        topics::send_to_each(&settings, state.topics, state.queues)?;
    }
    if state.pending > 0 {
        pending::send(&settings, state.pending)?;
    }
    if state.timers > 0 {
        send_timers(&settings, state.timers)?;
    }
    clients::raise_limit(state.idle_connections + state.groups)?;
    let clients = clients::Clients::connect(&settings, state.idle_connections, state.groups)?;
    let after = load.pid.map(look).transpose()?;
    let figures = json!({
        "workload": "fill",
        "parameters": {
            "topics": state.topics, "queues": state.queues, "empty_topics": state.empty_topics,
            "pending": state.pending, "timers": state.timers, "idle_connections": state.idle_connections,
            "groups": state.groups, "log_gib": state.log_gib,
        },
        "seconds": started.elapsed().as_secs_f64(),
        "private_bytes_before": before,
        "private_bytes": after,
    });
    let mebibytes =
        |bytes: Option<u64>| bytes.map_or("?".to_owned(), |bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 20)));
    let text = format!(
        "Fill: ready after {:.1} s; private memory {} MiB, {} before\n",
        started.elapsed().as_secs_f64(),
        mebibytes(after),
        mebibytes(before)
    );
    report::print(load.json, &text, figures);
    io::stdout().flush()?;
    clients.hold(Duration::from_secs(state.hold))
}

fn send_timers(settings: &Settings, timers: u64) -> io::Result<()> {
    let queues: Vec<i32> = (0..settings.connections).map(queue_of).collect();
    let plan = timer::Plan { timers, rate: (timers / 3600).max(1), lead: TIMERS_DUE_IN };
    timer::send(settings, &queues, plan, now_ms() + TIMERS_DUE_IN.as_millis() as i64)?;
    // What reads them behind the answer has read them.
    thread::sleep(Duration::from_secs(2));
    Ok(())
}
