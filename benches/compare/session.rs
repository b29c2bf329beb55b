//! A run over rows: rounds in which each system is measured once, beginning with another one each time.

use std::{collections::BTreeMap, error::Error};

use crate::{
    record::{Beside, Figures, Record, Recorder, System},
    row::{Row, SEND},
    server::{Server, Tools},
    summary::median,
    work::{self, Window, Work},
};

/// How each row is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
    pub(crate) warm_up: u64,
    pub(crate) jvm_warm_up: u64,
}

/// Seconds until Apache's two processes serve.
const APACHE_START: u64 = 12;

impl Plan {
    pub(crate) fn window(&self) -> Window {
        Window { warm_up: self.warm_up, seconds: self.seconds, starts: self.rounds }
    }

    /// Seconds for these rows.
    pub(crate) fn estimate(&self, rows: &[&Row]) -> u64 {
        rows.iter().map(|row| self.estimate_row(row)).sum()
    }

    fn estimate_row(&self, row: &Row) -> u64 {
        let once = match row.work {
            Work::Load(["pull" | "pop", ..]) => self.seconds + self.warm_up + 2, // filling queues
            Work::Load(_) | Work::AtHalfRate => self.seconds + self.warm_up + 1,
            Work::Ready { .. } => 2,
            Work::Java { .. } => self.seconds + 10,
        };
        let start = match row.work {
            Work::Ready { killed: true } => 60, // filling the log
            Work::AtHalfRate => APACHE_START + self.jvm_warm_up + 3 * (self.seconds + self.warm_up + 1),
            _ if row.has(System::Apache) => APACHE_START + self.jvm_warm_up,
            _ => 1,
        };
        start + u64::from(self.rounds) * row.systems.len() as u64 * once
    }
}

/// What a note says of Apache where its own limits do not let it pass.
const PATIENT: &str = "limits of waiting in queues raised to a minute: with its own it refused";

/// Everything that measuring needs.
pub(crate) struct Session<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) plan: Plan,
    pub(crate) recorder: &'a mut Recorder,
}

/// The servers of one row.
#[derive(Default)]
struct Fleet {
    servers: BTreeMap<System, Server>,
    /// Whether Apache's limits were raised.
    patient: bool,
    /// Half of Apache's rate, where the row needs it.
    rate: Option<u64>,
}

impl Session<'_> {
    /// Measures a row. What fails is recorded and does not stop the others; only a full disk or the like does.
    pub(crate) fn row(&mut self, row: &Row) -> Result<(), Box<dyn Error>> {
        println!("{}: {}", row.name, row.title);
        let mut fleet = Fleet::default();
        for &system in row.systems.iter().filter(|&&system| needs_server(row, system)) {
            match Server::start(self.tools, system, row.settings, false) {
                Ok(server) => drop(fleet.servers.insert(system, server)),
                Err(error) => eprintln!("  {} does not start: {error}", system.title()),
            }
        }
        if row.has(System::Apache) {
            self.warm_up(row, &mut fleet);
        }
        let rounds = if matches!(row.work, Work::Ready { .. }) { 1 } else { self.plan.rounds };
        for round in 0..rounds {
            for turn in 0..row.systems.len() {
                let system = row.systems[(turn + round as usize) % row.systems.len()];
                let outcome = self.once(row, system, &mut fleet, self.plan.window());
                self.note(row.name, system, round, None, fleet.patient && system == System::Apache, outcome)?;
            }
        }
        Ok(())
    }

    /// Loads Apache's broker for as long as its JVM needs, and learns what the row has to know of it.
    fn warm_up(&mut self, row: &Row, fleet: &mut Fleet) {
        let window = Window { warm_up: self.plan.jvm_warm_up, seconds: 1, starts: 1 };
        let outcome = match row.work {
            Work::AtHalfRate => self.half_rate(fleet, window),
            _ => self.once(row, System::Apache, fleet, window).map(drop),
        };
        if let Err(error) = outcome {
            eprintln!("  warming Apache up: {error}");
        }
    }

    /// The most that Apache takes, halved: the median of three looks after the warm-up.
    fn half_rate(&mut self, fleet: &mut Fleet, warm_up: Window) -> Result<(), Box<dyn Error>> {
        let send = crate::row::named(&[SEND.to_owned()])?;
        let send = send.first().ok_or("there is no such row")?;
        self.once(send, System::Apache, fleet, warm_up)?;
        let mut rates = Vec::new();
        for _ in 0..3 {
            rates.extend(self.once(send, System::Apache, fleet, self.plan.window())?.rate);
        }
        let most = median(&mut rates).ok_or("no rate was measured")?;
        fleet.rate = Some((most / 2.0) as u64);
        println!("  Apache takes {most:.0}/s; half of it is sent");
        Ok(())
    }

    /// One measurement. If Apache fails with limits of its own, it gets another try with patience.
    fn once(
        &mut self,
        row: &Row,
        system: System,
        fleet: &mut Fleet,
        window: Window,
    ) -> Result<Figures, Box<dyn Error>> {
        let outcome = work::measure(self.tools, &row.work, system, fleet.servers.get(&system), window, fleet.rate);
        match outcome {
            Err(error) if system == System::Apache && !fleet.patient => {
                println!("  Apache fails ({error}): once more, with patience");
                fleet.patient = true;
                fleet.servers.remove(&system);
                fleet.servers.insert(system, Server::start(self.tools, system, row.settings, true)?);
                let long = Window { warm_up: self.plan.jvm_warm_up.max(window.warm_up), ..window };
                work::measure(self.tools, &row.work, system, fleet.servers.get(&system), long, fleet.rate)
            }
            outcome => outcome,
        }
    }

    /// Records what came out, and says it.
    pub(crate) fn note(
        &mut self,
        row: &str,
        system: System,
        round: u32,
        beside: Option<Beside>,
        patient: bool,
        outcome: Result<Figures, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let (figures, error) = match outcome {
            Ok(figures) => (Some(figures), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let name = system.title();
        match (&figures, &error) {
            (Some(figures), _) => println!("  {:>2} {name:<14} {}", round + 1, line(figures)),
            (None, error) => println!("  {:>2} {name:<14} failed: {}", round + 1, error.as_deref().unwrap_or_default()),
        }
        let note = patient.then(|| PATIENT.to_owned());
        let run = self.recorder.run();
        self.recorder.append(Record { run, row: row.to_owned(), system, round, beside, note, figures, error })
    }
}

/// Group commit and the time to be ready are measured by programs that start what they need.
fn needs_server(row: &Row, system: System) -> bool {
    let fdatasync = system == System::Baseline && row.name == "sync-flush";
    !fdatasync && !matches!(row.work, Work::Ready { .. })
}

fn line(figures: &Figures) -> String {
    let mut parts = Vec::new();
    parts.extend(figures.cpu_us_each.map(|cpu| format!("{cpu:8.2} µs CPU")));
    parts.extend(figures.rate.map(|rate| format!("{rate:10.0}/s")));
    parts.extend(figures.latency_us.map(|latency| format!("p99.9 {:.2} ms", latency.p999 / 1000.0)));
    parts.extend(figures.private_bytes.map(|bytes| format!("{:.0} MiB", bytes / 1_048_576.0)));
    let failures = figures.rest.get("failures").and_then(serde_json::Value::as_u64).filter(|&failures| failures > 0);
    parts.extend(failures.map(|failures| format!("{failures} failed")));
    parts.extend(figures.ready_ms.map(|ready| format!("ready in {ready:.0} ms")));
    parts.join("  ")
}
