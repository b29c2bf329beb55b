//! The rows of the table: what is done, by whom, and what is promised of it.

use std::error::Error;

use crate::{record::System, work::Work};

/// One row.
#[derive(Debug)]
pub(crate) struct Row {
    /// Names it on the command line and in results.
    pub(crate) name: &'static str,
    /// As people read it.
    pub(crate) title: &'static str,
    pub(crate) work: Work,
    /// Measured one after the other in each round.
    pub(crate) systems: &'static [System],
    /// What both brokers are configured with, in Apache's keys.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    /// The figure that the row is about.
    pub(crate) measure: Measure,
    pub(crate) targets: &'static [Target],
}

/// A figure of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The server's CPU time for each message.
    Cpu,
    Rate,
    /// Latency that one of a thousand exceeds.
    P999,
    /// Time from the start of the process to its first answer.
    Ready,
}

/// What is promised of the row's figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// At most so many times what the null server has.
    OfNull(f64),
    /// At most one part of so many of what Apache has.
    PartOfApache(f64),
    /// Less than NATS JetStream has.
    BelowNats,
    /// At least this share of the rate that the baseline has.
    OfBaselineRate(f64),
    /// At most this.
    AtMost(f64),
}

const BROKERS: &[System] = &[System::Ours, System::Apache];
const BROKERS_AND_NULL: &[System] = &[System::Null, System::Ours, System::Apache];
const BROKERS_AND_BASELINE: &[System] = &[System::Ours, System::Apache, System::Baseline];
const ALL: &[System] = &[System::Null, System::Ours, System::Apache, System::Nats];

/// Name of the row whose rate the next but one needs.
pub(crate) const SEND: &str = "send-8x32";

/// Every row, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    Row {
        targets: &[Target::OfNull(1.1)],
        ..cpu("send-32x1", "send 1 KiB, 32 connections × 1 in flight", SEND_32X1, BROKERS_AND_NULL)
    },
    Row {
        targets: &[Target::OfNull(1.6), Target::PartOfApache(8.0), Target::BelowNats],
        ..cpu(SEND, "send 1 KiB, 8 × 32 in flight", &["send"], ALL)
    },
    Row {
        targets: &[Target::PartOfApache(10.0)],
        ..cpu(
            "send-batch",
            "send 128 B in batches of 32",
            &["send", "--batch", "32", "--size", "128"],
            BROKERS_AND_NULL,
        )
    },
    Row {
        targets: &[Target::OfNull(2.2), Target::PartOfApache(7.0)],
        ..cpu("transaction", "transaction, 8 × 32", &["transaction"], BROKERS_AND_NULL)
    },
    Row {
        targets: &[Target::OfNull(1.5), Target::PartOfApache(6.0)],
        ..cpu("offset", "offset commit, 8 × 32", &["offset"], BROKERS_AND_NULL)
    },
    Row {
        targets: &[Target::PartOfApache(6.0)],
        ..cpu("retry", "send-back to retry, 8 × 32", &["send-back"], BROKERS)
    },
    Row {
        targets: &[Target::PartOfApache(6.0)],
        ..cpu("dead-letter", "send-back to DLQ, 8 × 32", &["send-back", "--dead-letters"], BROKERS)
    },
    Row {
        targets: &[Target::PartOfApache(6.0), Target::OfBaselineRate(0.6)],
        ..cpu("pull", "pull from page cache, 32 a batch; baseline `sendfile`", &["pull"], BROKERS_AND_BASELINE)
    },
    Row {
        settings: &[("flushDiskType", "SYNC_FLUSH")],
        measure: Measure::Rate,
        targets: &[Target::OfBaselineRate(0.9)],
        ..cpu("sync-flush", "synchronous flush, 8 × 32; baseline `fdatasync`", &["send"], BROKERS_AND_BASELINE)
    },
    Row {
        work: Work::AtHalfRate,
        measure: Measure::P999,
        targets: &[Target::PartOfApache(5.0)],
        ..cpu("half-rate", "p99.9 latency of sends at half of Apache's maximum rate", &[], BROKERS)
    },
    Row {
        work: Work::Ready { killed: false },
        measure: Measure::Ready,
        targets: &[Target::AtMost(50.0)],
        ..cpu("ready-empty", "ready on an empty directory", &[], &[System::Ours])
    },
    Row {
        work: Work::Ready { killed: true },
        measure: Measure::Ready,
        targets: &[Target::AtMost(1000.0)],
        ..cpu("ready-killed", "ready after `kill -9` with 10 GiB", &[], &[System::Ours])
    },
    cpu("pop", "pop, 32 a request, each acknowledged alone", &["pop"], BROKERS),
    cpu("pop-batch", "pop, 32 a request, acknowledged together", &["pop", "--batch-ack"], BROKERS),
    java("java-send", "Java client: send 1 KiB, 64 threads", "Producers", &["--threads", "64"]),
    java(
        "java-transaction",
        "Java client: transactions of 1 KiB, 32 threads",
        "TransactionProducers",
        &["--threads", "32"],
    ),
    java("java-consume", "Java client: push consumer of a backlog of 1 KiB", "PushConsumers", &["--backlog", "300000"]),
];

const SEND_32X1: &[&str] = &["send", "--connections", "32", "--in-flight", "1"];

const fn cpu(
    name: &'static str,
    title: &'static str,
    load: &'static [&'static str],
    systems: &'static [System],
) -> Row {
    Row { name, title, work: Work::Load(load), systems, settings: &[], measure: Measure::Cpu, targets: &[] }
}

const fn java(name: &'static str, title: &'static str, class: &'static str, arguments: &'static [&'static str]) -> Row {
    Row { work: Work::Java { class, arguments }, ..cpu(name, title, &[], BROKERS) }
}

/// The rows meant by names of the command line.
pub(crate) fn named(names: &[String]) -> Result<Vec<&'static Row>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for name in names {
        let before = rows.len();
        rows.extend(ROWS.iter().filter(|row| match name.as_str() {
            "all" => !row.is_java(),
            "java" => row.is_java(),
            name => row.name == name,
        }));
        if rows.len() == before {
            let known: Vec<_> = ROWS.iter().map(|row| row.name).collect();
            return Err(format!("no row {name}; there are all, java, {}", known.join(", ")).into());
        }
    }
    Ok(rows)
}

impl Row {
    pub(crate) fn is_java(&self) -> bool {
        matches!(self.work, Work::Java { .. })
    }

    pub(crate) fn has(&self, system: System) -> bool {
        self.systems.contains(&system)
    }
}
