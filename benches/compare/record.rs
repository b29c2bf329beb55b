//! Raw results: one line of JSON for each measurement, appended as soon as it is known.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum System {
    /// The server that answers everything and stores nothing.
    Null,
    Ours,
    Apache,
    Nats,
    /// What the machine can do: `sendfile`, or `fdatasync` without a broker.
    Baseline,
}

impl System {
    /// As people read it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Null => "null server",
            Self::Ours => "TenonMQ",
            Self::Apache => "Apache 5.3.3",
            Self::Nats => "NATS JetStream",
            Self::Baseline => "baseline",
        }
    }
}

/// The figures that `load --json` and the drivers of other clients print. What is not known of one is not there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Operations a second.
    pub(crate) rate: Option<f64>,
    pub(crate) cpu_us_each: Option<f64>,
    pub(crate) latency_us: Option<Latency>,
    /// Memory that belongs to no file, after the work.
    pub(crate) private_bytes: Option<f64>,
    /// Milliseconds from the start of a process to its first answer.
    pub(crate) ready_ms: Option<f64>,
    /// Whatever else was printed, kept as it was.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, serde_json::Value>,
}

/// In microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// One measurement, or why there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Seconds since 1970 at the start of the program that measured.
    pub(crate) run: u64,
    pub(crate) row: String,
    pub(crate) system: System,
    pub(crate) round: u32,
    /// How much of a state the broker held beside the work; rows of the table have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) beside: Option<Beside>,
    /// What was different for this system in this row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) figures: Option<Figures>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// A state that a broker holds, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Beside {
    pub(crate) state: String,
    pub(crate) size: u64,
    /// Measured on an empty broker, in turn with the one that holds so much.
    pub(crate) alone: bool,
}

/// First line of each run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) run: u64,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) commit: String,
}

/// A line of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    Machine(Machine),
    Record(Record),
}

/// Appends to the file of results.
pub(crate) struct Recorder {
    file: File,
    run: u64,
}

impl Recorder {
    /// Opens the file and says first what machine this is.
    pub(crate) fn open(path: &Path) -> Result<Self, Box<dyn Error>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut recorder = Self { file: OpenOptions::new().create(true).append(true).open(path)?, run };
        recorder.line(&Line::Machine(machine(run)))?;
        Ok(recorder)
    }

    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    pub(crate) fn append(&mut self, record: Record) -> Result<(), Box<dyn Error>> {
        self.line(&Line::Record(record))
    }

    fn line(&mut self, line: &Line) -> Result<(), Box<dyn Error>> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        Ok(())
    }
}

/// Every line of the files, in order.
pub(crate) fn read(paths: &[impl AsRef<Path>]) -> Result<Vec<Line>, Box<dyn Error>> {
    let mut lines = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let line =
                serde_json::from_str(line).map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))?;
            lines.push(line);
        }
    }
    Ok(lines)
}

fn machine(run: u64) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kib = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    let commit = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    Machine {
        run,
        processor: value(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_mib: kib / 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        commit: commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default(),
    }
}
