//! The figures of one run, as text.

use std::{fmt, time::Duration};

use tenonmq_benches::ServerUse;

use crate::workload::{Kind, Settings, Tally};

/// What is printed at the end.
pub(crate) struct Report<'a> {
    pub(crate) kind: Kind,
    pub(crate) connections: usize,
    pub(crate) settings: &'a Settings,
    pub(crate) elapsed: Duration,
    pub(crate) total: &'a Tally,
    pub(crate) server: Option<ServerUse>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, connections, settings, elapsed, total, server } = self;
        let rate = total.operations as f64 / elapsed.as_secs_f64();
        writeln!(f, "{kind:?}: {connections} connections x {} in flight, {} bytes", settings.in_flight, settings.size)?;
        writeln!(f, "  rate      {rate:>12.0} {}/s ({} failed)", kind.unit(), total.failures)?;
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
        if let Some(server) = server {
            let each = server.cpu.as_secs_f64() * 1e6 / total.operations.max(1) as f64;
            writeln!(f, "  server    {each:>12.2} µs CPU per {}", kind.unit().trim_end_matches('s'))?;
            writeln!(f, "            {:>12.1} MiB private memory", server.private_bytes as f64 / f64::from(1 << 20))?;
        }
        Ok(())
    }
}
