//! One measured run: threads for the connections, the time that counts, and the sum of what they counted.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tenonmq_benches::ServerMeter;

use crate::{
    cli::{Load, Pace},
    report::{self, Report},
    workload::{self, Kind, Settings, Tally, Window},
};

/// Connections are made and threads started before the first operation of an open loop is due.
const HEAD_START: Duration = Duration::from_millis(300);

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

/// At a fixed rate if one is asked for, else as fast as the answers come.
pub(crate) fn run(kind: Kind, load: &Load, pace: Pace, settings: Settings) -> Result<(), Box<dyn Error>> {
    match pace.rate {
        Some(rate) => open(kind, load, rate.max(1), &settings),
        None => closed(kind, load, settings),
    }
}

/// A new operation begins when one ends.
pub(crate) fn closed(kind: Kind, load: &Load, settings: Settings) -> Result<(), Box<dyn Error>> {
    workload::prepare(kind, &settings)?;
    let phase = Arc::new(Phase::default());
    let threads: Vec<_> = (0..settings.connections)
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
    let total = sum(threads)?;
    let report = Report { kind, settings: &settings, rate: None, elapsed, total: &total, server };
    report::print(load.json, &report, report.json());
    if total.failures > 0 || total.operations == 0 {
        return Err(format!("{} of {} operations failed", total.failures, total.operations + total.failures).into());
    }
    Ok(())
}

/// Operations begin when they are due. Those that are refused are figures of the run, not its end.
fn open(kind: Kind, load: &Load, rate: u64, settings: &Settings) -> Result<(), Box<dyn Error>> {
    let start = Instant::now() + HEAD_START;
    let measured_from = start + Duration::from_secs(load.warm_up);
    let window = Window { start, measured_from, end: measured_from + Duration::from_secs(load.seconds.max(1)), rate };
    let threads: Vec<_> = (0..settings.connections)
        .map(|index| {
            let settings = settings.clone();
            thread::spawn(move || workload::run_paced(kind, &settings, index, window))
        })
        .collect();
    thread::sleep(measured_from.saturating_duration_since(Instant::now()));
    let meter = load.pid.map(ServerMeter::start).transpose()?;
    let total = sum(threads)?;
    let elapsed = measured_from.elapsed();
    let server = meter.map(|meter| meter.stop()).transpose()?;
    let report = Report { kind, settings, rate: Some(rate), elapsed, total: &total, server };
    report::print(load.json, &report, report.json());
    if total.operations == 0 { Err("no operation succeeded".into()) } else { Ok(()) }
}

fn sum(threads: Vec<thread::JoinHandle<std::io::Result<Tally>>>) -> Result<Tally, Box<dyn Error>> {
    let mut total = Tally::new()?;
    for thread in threads {
        total.add(&thread.join().map_err(|_| "a connection's thread panicked")??)?;
    }
    Ok(total)
}
