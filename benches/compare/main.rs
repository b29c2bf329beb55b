//! Runs the rows of the comparison: a null server, ours, Apache RocketMQ and NATS JetStream, one after the other in each
//! round, and makes tables and plots of what was measured.
//!
//! ```text
//! compare rows    --output FILE [--rows send-8x32,pull] [--rounds 5] [--seconds 4]   measures, appends, then as `table`
//! compare growth  --output FILE [--states pending,timers] [--rounds 5]               cost beside growing states
//! compare table   FILE                   the tables for README, from what was measured before
//! compare plot    FILE --folder DIR      the same as SVG
//! compare ratio   [--record]             fails if a hot path has become dear (see [`ratio`])
//! ```
//!
//! Every measurement is a line of JSON in the output, failures too, written as soon as it is known. A row that is measured
//! again takes the place of its earlier self in tables and plots: what counts is its last run.
//!
//! Each row starts its servers on empty directories and ends with none of them: rows do not depend on each other. Whatever
//! ends this program, other than `kill -9`, ends the servers with it (see [`process`]).

mod growth;
mod growth_plot;
mod memory;
mod process;
mod ratio;
mod record;
mod row;
mod row_plot;
mod server;
mod session;
mod summary;
mod svg;
mod table;
mod work;

use std::{error::Error, fs, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use memory::FullCache;
use record::Recorder;
use server::Tools;
use session::Session;
use summary::Summary;

/// Measures TenonMQ beside Apache RocketMQ, NATS JetStream and a null server.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Measure rows of the table.
    Rows {
        #[command(flatten)]
        run: Run,
        /// Rows by name, separated by commas; `all` is every row but those of the Java client, `java` those. Unknown names
        /// list the known ones.
        #[arg(long, value_delimiter = ',', default_value = "all")]
        rows: Vec<String>,
        /// Seconds that Apache's broker is loaded in before a row is measured.
        #[arg(long, default_value_t = 15)]
        jvm_warm_up: u64,
    },
    /// Measure what work costs beside what a broker has to remember.
    Growth {
        #[command(flatten)]
        run: Run,
        /// States by name, separated by commas; unknown names list the known ones.
        #[arg(long, value_delimiter = ',', default_value = "all")]
        states: Vec<String>,
        /// Sizes to measure at, in percent of each state's full size.
        #[arg(long, value_delimiter = ',', default_values_t = [10, 100])]
        percent: Vec<u64>,
    },
    /// Fail if a hot path costs much more of what the null server costs than it did when that was recorded.
    Ratio(ratio::Plan),
    /// Print the tables again.
    Table {
        /// What `rows` and `growth` wrote.
        results: Vec<PathBuf>,
    },
    /// Draw the plots again.
    Plot {
        /// What `rows` and `growth` wrote.
        results: Vec<PathBuf>,
        /// Where the plots go.
        #[arg(long, default_value = ".")]
        folder: PathBuf,
    },
}

/// How a measurement goes.
#[derive(Args)]
struct Run {
    /// File that results are appended to. Plots go to its folder.
    #[arg(long)]
    output: PathBuf,
    /// How often each is measured, in turn.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Seconds before each measurement.
    #[arg(long, default_value_t = 1)]
    warm_up: u64,
    /// Leave memory as it is, instead of keeping the page cache full.
    #[arg(long)]
    memory_as_found: bool,
    /// Folder with `load` and `tenonmq`; by default that of this program.
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// Root of the repository, where Apache's start script is.
    #[arg(long, default_value = ".")]
    repository: PathBuf,
    /// Folder for data of the servers, emptied at the end. Should be on the disk that is meant.
    #[arg(long, default_value = "target/compare/work")]
    work: PathBuf,
}

impl Run {
    fn tools(&self) -> Result<Tools, Box<dyn Error>> {
        let own = std::env::current_exe()?;
        let beside = own.parent().map(PathBuf::from).unwrap_or_default();
        let repository = fs::canonicalize(&self.repository)?;
        fs::create_dir_all(&self.work)?;
        Ok(Tools {
            binaries: self.binaries.clone().unwrap_or(beside),
            apache: repository.join("tests/official/apache"),
            nats: repository.join("target/compare"),
            java: repository.join("benches/java/target"),
            work: fs::canonicalize(&self.work)?,
        })
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().mode {
        Mode::Rows { run, rows, jvm_warm_up } => rows_mode(&run, &rows, jvm_warm_up),
        Mode::Growth { run, states, percent } => growth_mode(&run, &states, &percent),
        Mode::Ratio(plan) => ratio::run(&plan),
        Mode::Table { results } => Summary::read(&results).map(|summary| print!("{}", table::render(&summary))),
        Mode::Plot { results, folder } => Summary::read(&results).and_then(|summary| plot(&summary, &folder)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn rows_mode(run: &Run, names: &[String], jvm_warm_up: u64) -> Result<(), Box<dyn Error>> {
    let rows = row::named(names)?;
    let tools = run.tools()?;
    process::end_with_signals(&tools.work)?;
    let mut recorder = Recorder::open(&run.output)?;
    let plan = session::Plan { rounds: run.rounds.max(1), seconds: run.seconds, warm_up: run.warm_up, jvm_warm_up };
    println!("{} rows, about {} minutes", rows.len(), plan.estimate(&rows).div_ceil(60));
    let cache = FullCache::new(&tools.work, run.memory_as_found)?;
    let mut session = Session { tools: &tools, plan, recorder: &mut recorder };
    for row in &rows {
        cache.fill()?;
        session.row(row)?;
    }
    process::clear(&tools.work);
    finish(run)
}

fn growth_mode(run: &Run, states: &[String], percent: &[u64]) -> Result<(), Box<dyn Error>> {
    let states = growth::named(states)?;
    let tools = run.tools()?;
    process::end_with_signals(&tools.work)?;
    let mut recorder = Recorder::open(&run.output)?;
    let plan = session::Plan { rounds: run.rounds.max(1), seconds: run.seconds, warm_up: run.warm_up, jvm_warm_up: 0 };
    println!("{} states, about {} minutes", states.len(), growth::estimate(&plan, &states, percent).div_ceil(60));
    let cache = FullCache::new(&tools.work, run.memory_as_found)?;
    let mut session = Session { tools: &tools, plan, recorder: &mut recorder };
    for state in &states {
        growth::measure(&mut session, state, percent, &cache)?;
    }
    process::clear(&tools.work);
    finish(run)
}

fn finish(run: &Run) -> Result<(), Box<dyn Error>> {
    let summary = Summary::read(std::slice::from_ref(&run.output))?;
    let folder = run.output.parent().map(PathBuf::from).unwrap_or_default();
    plot(&summary, &folder)?;
    print!("{}", table::render(&summary));
    Ok(())
}

fn plot(summary: &Summary, folder: &std::path::Path) -> Result<(), Box<dyn Error>> {
    if summary.has_rows() {
        fs::write(folder.join("rows.svg"), row_plot::render(summary))?;
    }
    if summary.has_growth() {
        fs::write(folder.join("growth.svg"), growth_plot::render(summary))?;
    }
    Ok(())
}
