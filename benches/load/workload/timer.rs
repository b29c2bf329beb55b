//! Messages with a time of delivery: what a million of them cost while they wait, and how late they come.
//!
//! All are sent before the first is due. Then, while they come due at a steady rate, nothing else happens. At the end the
//! delivered copies are read: their store timestamp against the time that the message itself asked for.

use std::{
    fmt, io, thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tenonmq_benches::{ServerMeter, ServerUse};
use tenonmq_protocol::{
    code::{RequestCode, ResponseCode},
    command::{CommandView, HeaderScratch},
    frame::Serialization,
    message::RecordView,
    writer::{Envelope, FrameWriter},
};

use super::{Sender, Settings, failure, invalid, is_success, now_ms, pipeline, pull, queue_of};
use crate::peer::Peer;

/// How long the last messages may be late before the run gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) timers: u64,
    /// Due in one second.
    pub(crate) rate: u64,
    /// From the first send to the first due time.
    pub(crate) lead: Duration,
}

/// What came of it.
pub(crate) struct Outcome {
    plan: Plan,
    sent_in: Duration,
    before: Option<u64>,
    pending: Option<ServerUse>,
    fired: Option<ServerUse>,
    delivered: u64,
    early: u64,
    /// Milliseconds; early ones count as zero.
    lateness: Histogram<u64>,
}

pub(crate) fn run(settings: &Settings, plan: Plan, pid: Option<u32>) -> io::Result<Outcome> {
    let queues: Vec<i32> = (0..settings.connections).map(queue_of).collect();
    let mut peer = Peer::connect(settings.broker)?;
    let mut begins = Vec::new();
    for queue in &queues {
        begins.push(max_offset(&mut peer, settings, *queue)?);
    }
    let before = pid.map(|pid| ServerMeter::start(pid)?.stop()).transpose()?.map(|server| server.private_bytes);
    let started = Instant::now();
    let first_due = now_ms() + plan.lead.as_millis() as i64;
    send(settings, &queues, plan, first_due)?;
    let sent_in = started.elapsed();
    if now_ms() >= first_due {
        return Err(io::Error::other(format!("sending took {sent_in:?}: ask for a longer --lead")));
    }
    thread::sleep(Duration::from_secs(2).min(until(first_due)));
    let pending = pid.map(|pid| ServerMeter::start(pid)?.stop()).transpose()?;
    thread::sleep(until(first_due));
    let meter = pid.map(ServerMeter::start).transpose()?;
    let delivered = await_all(&mut peer, settings, &queues, &begins, plan)?;
    let fired = meter.map(|meter| meter.stop()).transpose()?;
    let mut outcome = Outcome {
        plan,
        sent_in,
        before,
        pending,
        fired,
        delivered,
        early: 0,
        lateness: Histogram::new_with_bounds(1, 600_000, 3).map_err(io::Error::other)?,
    };
    for (queue, begin) in queues.iter().zip(begins) {
        read(&mut peer, settings, *queue, begin, &mut outcome)?;
    }
    Ok(outcome)
}

fn until(time: i64) -> Duration {
    Duration::from_millis((time - now_ms()).try_into().unwrap_or(0))
}

/// Each connection sends its share; together they are due at the rate, in the order of sending on each connection.
pub(crate) fn send(settings: &Settings, queues: &[i32], plan: Plan, first_due: i64) -> io::Result<()> {
    let count = queues.len() as u64;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                scope.spawn(move || {
                    let mut peer = Peer::connect(settings.broker)?;
                    let mut sender = Sender::new(settings, queues[index as usize]);
                    let mut number = index;
                    let share = (plan.timers - index).div_ceil(count) as usize;
                    let write = |opaque, out: &mut Vec<u8>| {
                        let due = first_due + (number * 1000 / plan.rate) as i64;
                        sender.extra_properties = format!("TIMER_DELIVER_MS\u{1}{due}\u{2}due\u{1}{due}\u{2}");
                        number += count;
                        sender.write(opaque, out);
                    };
                    pipeline::some(&mut peer, settings.in_flight, share, write, |_| Ok(()))
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a sender died"))))
    })
}

/// Waits until all are delivered, looking five times a second; how many are.
fn await_all(peer: &mut Peer, settings: &Settings, queues: &[i32], begins: &[i64], plan: Plan) -> io::Result<u64> {
    let end = Instant::now() + Duration::from_millis(plan.timers * 1000 / plan.rate) + PATIENCE;
    loop {
        let mut delivered = 0;
        for (queue, begin) in queues.iter().zip(begins) {
            delivered += (max_offset(peer, settings, *queue)? - begin).max(0) as u64;
        }
        if delivered >= plan.timers || Instant::now() > end {
            return Ok(delivered);
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn max_offset(peer: &mut Peer, settings: &Settings, queue_id: i32) -> io::Result<i64> {
    let mut offset = 0;
    let write = |opaque, out: &mut Vec<u8>| {
        let mut header = BytesMut::new();
        let envelope = Envelope::request(RequestCode::GET_MAX_OFFSET, opaque);
        let mut writer = FrameWriter::begin(&mut header, Serialization::Json, &envelope);
        writer.field("queueId", queue_id).field("bname", settings.broker_name.as_str());
        writer.field("topic", settings.topic.as_str()).field("committed", true);
        writer.finish(0);
        out.extend_from_slice(&header);
    };
    pipeline::some(peer, settings.in_flight, 1, write, |answer| {
        offset = answer.fields.number("offset").map_err(invalid)?;
        Ok(())
    })?;
    Ok(offset)
}

/// Reads a queue from `begin` to its end into the histogram.
fn read(peer: &mut Peer, settings: &Settings, queue_id: i32, begin: i64, outcome: &mut Outcome) -> io::Result<()> {
    let mut scratch = HeaderScratch::default();
    let mut next = Some(begin);
    while let Some(offset) = next.take() {
        pull::request(settings, queue_id, offset, &mut peer.output);
        peer.flush()?;
        let mut answered = false;
        while !answered {
            peer.receive(|frame, _| {
                answered = true;
                let command = CommandView::parse(frame, &mut scratch).map_err(invalid)?;
                if command.code == ResponseCode::PULL_NOT_FOUND.0 {
                    return Ok(());
                }
                if !is_success(command.code) {
                    return Err(io::Error::other(failure(frame)));
                }
                for record in RecordView::iter_all(frame.body) {
                    outcome.count(&record.map_err(invalid)?)?;
                }
                next = Some(command.fields.number("nextBeginOffset").map_err(invalid)?);
                Ok(())
            })?;
        }
    }
    Ok(())
}

impl Outcome {
    fn count(&mut self, record: &RecordView<'_>) -> io::Result<()> {
        let due: i64 = record
            .properties()
            .number("due")
            .ok_or_else(|| io::Error::other("a delivered message does not say when it was due"))?;
        let late = record.store_timestamp() - due;
        self.early += u64::from(late < 0);
        self.lateness.saturating_record(late.max(0) as u64);
        Ok(())
    }

    /// The figures; lateness is in milliseconds, what was not measured is null.
    pub(crate) fn json(&self) -> Value {
        let at = |quantile| self.lateness.value_at_quantile(quantile);
        let cpu = self.fired.map(|fired| fired.cpu.as_secs_f64());
        json!({
            "workload": "timer",
            "parameters": { "timers": self.plan.timers, "rate": self.plan.rate, "lead_seconds": self.plan.lead.as_secs() },
            "sent_in_seconds": self.sent_in.as_secs_f64(),
            "operations": self.delivered,
            "early": self.early,
            "lateness_ms": {
                "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": self.lateness.max(),
            },
            "private_bytes_before": self.before,
            "private_bytes": self.pending.map(|pending| pending.private_bytes),
            "cpu_seconds": cpu,
            "cpu_us_each": cpu.map(|cpu| cpu * 1e6 / self.delivered.max(1) as f64),
        })
    }

    /// Whether every message came, and none twice.
    pub(crate) fn is_complete(&self) -> bool {
        self.delivered == self.plan.timers && self.lateness.len() == self.plan.timers
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { timers, rate, .. } = self.plan;
        writeln!(
            f,
            "Timer: {timers} pending, then {rate} due in a second; sent in {:.1} s",
            self.sent_in.as_secs_f64()
        )?;
        writeln!(f, "  delivered {:>12} ({} early)", self.delivered, self.early)?;
        let at = |quantile| self.lateness.value_at_quantile(quantile);
        writeln!(
            f,
            "  lateness  {:>12} ms p50  {} p90  {} p99  {} p99.9  {} max",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            self.lateness.max()
        )?;
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        if let (Some(before), Some(pending)) = (self.before, self.pending) {
            let (before, pending) = (mebibytes(before), mebibytes(pending.private_bytes));
            writeln!(f, "  server    {pending:>12.1} MiB private memory with all pending, {before:.1} before")?;
        }
        if let Some(fired) = self.fired {
            let each = fired.cpu.as_secs_f64() * 1e6 / self.delivered.max(1) as f64;
            writeln!(f, "            {each:>12.2} µs CPU per delivered message")?;
        }
        Ok(())
    }
}
