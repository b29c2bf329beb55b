//! The figures of one run, as text or as a line of JSON.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tenonmq_benches::ServerUse;

use crate::workload::{Kind, Settings, Tally};

/// What is printed at the end.
pub(crate) struct Report<'a> {
    pub(crate) kind: Kind,
    pub(crate) settings: &'a Settings,
    /// Operations due in a second, in an open loop.
    pub(crate) rate: Option<u64>,
    pub(crate) elapsed: Duration,
    pub(crate) total: &'a Tally,
    pub(crate) server: Option<ServerUse>,
}

/// Prints one of the two.
pub(crate) fn print(json: bool, text: &impl fmt::Display, value: Value) {
    if json { println!("{value}") } else { print!("{text}") }
}

/// Quantiles of a histogram of microseconds.
pub(crate) fn latencies(of: &Histogram<u64>) -> Value {
    let at = |quantile| of.value_at_quantile(quantile);
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": of.max(), "count": of.len() })
}

impl Report<'_> {
    fn per_second(&self) -> f64 {
        self.total.operations as f64 / self.elapsed.as_secs_f64()
    }

    fn cpu_us(&self, server: ServerUse) -> f64 {
        server.cpu.as_secs_f64() * 1e6 / self.total.operations.max(1) as f64
    }

    /// All of it. What was not measured is null; latencies are in microseconds.
    pub(crate) fn json(&self) -> Value {
        let Self { kind, settings, rate, elapsed, total, server } = self;
        json!({
            "workload": kind.name(),
            "parameters": {
                "connections": settings.connections, "in_flight": settings.in_flight, "size": settings.size,
                "batch": settings.batch, "rate": rate, "delay_level": settings.delay_level,
                "batch_ack": settings.batch_ack, "topic": settings.topic, "broker": settings.broker.to_string(),
            },
            "unit": kind.unit(),
            "seconds": elapsed.as_secs_f64(),
            "operations": total.operations,
            "failures": total.failures,
            "unanswered": total.unanswered,
            "rate": self.per_second(),
            "latency_us": latencies(&total.latency),
            "cpu_us_each": server.map(|server| self.cpu_us(server)),
            "cpu_seconds": server.map(|server| server.cpu.as_secs_f64()),
            "private_bytes": server.map(|server| server.private_bytes),
        })
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, settings, total, .. } = self;
        write!(f, "{kind:?}: {} connections x ", settings.connections)?;
        match self.rate {
            Some(rate) => write!(f, "{rate}/s in all")?,
            None => write!(f, "{} in flight", settings.in_flight)?,
        }
        let together = if settings.batch > 1 { format!(", {} together", settings.batch) } else { String::new() };
        writeln!(f, ", {} bytes{together}", settings.size)?;
        let refused = format!("{} failed, {} unanswered", total.failures, total.unanswered);
        writeln!(f, "  rate      {:>12.0} {}/s ({refused})", self.per_second(), kind.unit())?;
        let at = |quantile| total.latency.value_at_quantile(quantile) as f64 / 1000.0;
        writeln!(
            f,
            "  latency   {:>12.3} ms p50  {:.3} p90  {:.3} p99  {:.3} p99.9  {:.3} max",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            total.latency.max() as f64 / 1000.0
        )?;
        if let Some(server) = self.server {
            let each = self.cpu_us(server);
            writeln!(f, "  server    {each:>12.2} µs CPU per {}", kind.unit().trim_end_matches('s'))?;
            writeln!(f, "            {:>12.1} MiB private memory", server.private_bytes as f64 / f64::from(1 << 20))?;
        }
        Ok(())
    }
}
