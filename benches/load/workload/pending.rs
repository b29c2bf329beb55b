//! Half messages that nobody decides: what they cost while they wait for a producer that is gone.

use std::{
    fmt, fs, io, thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tenonmq_benches::{ServerMeter, ServerUse};

use super::{Sender, Settings, pipeline, queue_of};
use crate::peer::Peer;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) count: u64,
    /// From the last answer to the look at the idle server: all have fallen due by then.
    pub(crate) settle: Duration,
    /// How long the idle server is looked at.
    pub(crate) idle: Duration,
}

/// What came of it.
pub(crate) struct Outcome {
    plan: Plan,
    sent_in: Duration,
    server: Option<Server>,
}

struct Server {
    before: u64,
    pending: u64,
    idle: ServerUse,
    written: u64,
}

pub(crate) fn run(settings: &Settings, plan: Plan, pid: Option<u32>) -> io::Result<Outcome> {
    let look = |pid: u32| ServerMeter::start(pid)?.stop().map(|server| server.private_bytes);
    let before = pid.map(look).transpose()?;
    let started = Instant::now();
    send(settings, plan.count)?;
    let sent_in = started.elapsed();
    let server = match (pid, before) {
        (Some(pid), Some(before)) => {
            thread::sleep(plan.settle);
            let pending = look(pid)?;
            let (meter, written) = (ServerMeter::start(pid)?, written(pid)?);
            thread::sleep(plan.idle);
            let (idle, written) = (meter.stop()?, self::written(pid)?.saturating_sub(written));
            Some(Server { before, pending, idle, written })
        }
        _ => None,
    };
    Ok(Outcome { plan, sent_in, server })
}

/// Each connection sends its share, and closes.
pub(crate) fn send(settings: &Settings, count: u64) -> io::Result<()> {
    let connections = settings.connections;
    thread::scope(|scope| {
        let senders: Vec<_> = (0..connections)
            .map(|index| {
                scope.spawn(move || {
                    let mut peer = Peer::connect(settings.broker)?;
                    let mut sender = Sender::of_half_messages(settings, queue_of(index));
                    sender.extra_properties = "PGROUP\u{1}undecided\u{2}TRAN_MSG\u{1}true\u{2}".to_owned();
                    let share = (count.saturating_sub(index as u64)).div_ceil(connections as u64) as usize;
                    pipeline::some(
                        &mut peer,
                        settings.in_flight,
                        share,
                        |opaque, out| sender.write(opaque, out),
                        |_| Ok(()),
                    )
                })
            })
            .collect();
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().unwrap_or_else(|_| Err(io::Error::other("a sender died"))))
    })
}

/// Bytes that the server has caused to be written to disks.
fn written(pid: u32) -> io::Result<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).ok_or_else(|| io::Error::other("cannot read io"))
}

impl Outcome {
    /// The figures; those of the server are null without its process.
    pub(crate) fn json(&self) -> Value {
        let server = self.server.as_ref();
        json!({
            "workload": "pending",
            "parameters": { "count": self.plan.count, "idle_seconds": self.plan.idle.as_secs() },
            "sent_in_seconds": self.sent_in.as_secs_f64(),
            "private_bytes_before": server.map(|server| server.before),
            "private_bytes": server.map(|server| server.pending),
            "idle_cpu_seconds": server.map(|server| server.idle.cpu.as_secs_f64()),
            "idle_written_bytes": server.map(|server| server.written),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { count, idle, .. } = self.plan;
        writeln!(f, "Pending: {count} half messages of nobody, sent in {:.1} s", self.sent_in.as_secs_f64())?;
        let Some(server) = &self.server else { return Ok(()) };
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let each = server.pending.saturating_sub(server.before) as f64 / count.max(1) as f64;
        writeln!(
            f,
            "  server    {:>12.1} MiB private memory, {:.1} before: {each:.0} bytes each",
            mebibytes(server.pending),
            mebibytes(server.before)
        )?;
        let share = server.idle.cpu.as_secs_f64() / idle.as_secs_f64() * 100.0;
        writeln!(f, "  idle      {share:>12.2} % of a core, {} bytes written in {} s", server.written, idle.as_secs())
    }
}
