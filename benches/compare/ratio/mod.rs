//! Whether a hot path of the broker has become dear: its CPU time for each request over that of the null server, compared
//! with a ratio that was recorded before.
//!
//! Both servers run at once. A slice is some requests to ours, then the same ones to the null server: a machine that is
//! slow, or busy with something else, is so for both. What is compared is the lower quartile of many slices. Requests go in
//! bundles that are answered in full before the next is sent, so that neither server finds more or less in one read because
//! the machine is busy. What ours does behind an answer is on its account until its next slice begins. All of it runs on one
//! processor: how many threads are woken, and where, would otherwise be another matter each time.
//!
//! A path that looks too dear is measured again, and fails only if it looks so every time: slower code stays slower.

mod client;
mod path;

use std::{collections::BTreeMap, error::Error, fs, io, path::PathBuf, time::Instant};

use clap::Args;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use self::{client::Client, path::Path};
use crate::{
    process,
    record::System,
    server::{Server, Tools},
};

/// What is asked for.
#[derive(Args)]
pub(crate) struct Plan {
    /// Ratios that were recorded.
    #[arg(long, default_value = "benches/ratios.toml")]
    file: PathBuf,
    /// Write down what is measured, as the ratios to compare with.
    #[arg(long)]
    record: bool,
    /// Times the recorded ratio that a path may cost.
    #[arg(long, default_value_t = 1.5)]
    limit: f64,
    /// Slices of each path.
    #[arg(long, default_value_t = 16)]
    slices: usize,
    /// Bundles of requests in each slice.
    #[arg(long, default_value_t = 20)]
    bundles: usize,
    /// How often a path is measured before it has failed.
    #[arg(long, default_value_t = 5)]
    attempts: usize,
}

/// Ratios by path, for each kind of build.
type Ratios = BTreeMap<String, BTreeMap<String, f64>>;

/// The kind of build of this program, and so of the broker beside it.
const BUILD: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

const PREAMBLE: &str = "\
# CPU time of the broker for each request over that of the null server, by kind of build. `compare ratio` fails when a path
# costs 1.5 times as much. After a change that is meant to cost: `compare ratio --record`, on a machine that does nothing else.
";

/// Measures, prints, and fails if a path has become too dear.
pub(crate) fn run(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let folder = tempfile::tempdir()?;
    process::end_with_signals(folder.path())?;
    stay_on_one_processor()?;
    let tools = Tools::beside_this_program(folder.path())?;
    let ours = Server::start(&tools, System::Ours, &[], false)?;
    let null = Server::start(&tools, System::Null, &[], false)?;
    let measure = |path| slices(plan, path, &ours, &null);
    let mut ratios = if plan.file.exists() { toml::from_str(&fs::read_to_string(&plan.file)?)? } else { Ratios::new() };
    if plan.record {
        let measured: Result<_, Box<dyn Error>> = Path::ALL
            .iter()
            .map(|&path| Ok((path.name().to_owned(), (measure(path)? * 100.0).round() / 100.0)))
            .collect();
        ratios.insert(BUILD.to_owned(), measured?);
        return Ok(fs::write(&plan.file, text(&ratios))?);
    }
    let recorded = ratios.get(BUILD).ok_or_else(|| format!("no ratios of {BUILD} builds are recorded"))?;
    let mut dear = Vec::new();
    for &path in Path::ALL {
        let before = *recorded.get(path.name()).ok_or_else(|| format!("no ratio of {} is recorded", path.name()))?;
        let mut measured = Vec::new();
        let too_much = |ratios: &[f64]| ratios.iter().all(|&ratio| ratio > before * plan.limit);
        while measured.len() < plan.attempts.max(1) && too_much(&measured) {
            measured.push(measure(path)?);
        }
        if too_much(&measured) {
            dear.push(format!(
                "{} costs {measured:.2?} times the null server, and {before} when it was recorded",
                path.name()
            ));
        }
    }
    println!("{} paths of a {BUILD} build in {:.1} s", Path::ALL.len(), started.elapsed().as_secs_f64());
    if dear.is_empty() {
        Ok(())
    } else {
        Err(format!("more than {} times as dear: {}", plan.limit, dear.join("; ")).into())
    }
}

/// This thread, and every process that it starts.
fn stay_on_one_processor() -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    if let Some(first) = (0..CpuSet::MAX_CPU).find(|&processor| allowed.is_set(processor)) {
        one.set(first);
    }
    Ok(sched_setaffinity(None, &one)?)
}

fn text(ratios: &Ratios) -> String {
    let table = |(build, paths): (&String, &BTreeMap<String, f64>)| {
        let lines: String = paths.iter().map(|(path, ratio)| format!("{path} = {ratio:?}\n")).collect();
        format!("\n[{build}]\n{lines}")
    };
    format!("{PREAMBLE}{}", ratios.iter().map(table).collect::<String>())
}

/// What ours spends over what the null server spends, each in the better slices: whatever else the machine does only adds.
fn slices(plan: &Plan, path: Path, ours: &Server, null: &Server) -> Result<f64, Box<dyn Error>> {
    let mut broker = Client::connect(ours.address)?;
    let mut floor = Client::connect(null.address)?;
    let mut turn = || -> Result<(u64, u64), Box<dyn Error>> {
        for client in [&mut broker, &mut floor] {
            (0..plan.bundles).try_for_each(|_| path.bundle(client))?;
        }
        Ok((ours.cpu_nanos()?, null.cpu_nanos()?))
    };
    let mut before = turn()?; // warms both up
    let (mut of_ours, mut of_null) = (Vec::new(), Vec::new());
    for _ in 0..plan.slices.max(1) {
        let after = turn()?;
        of_ours.push(after.0.saturating_sub(before.0));
        of_null.push(after.1.saturating_sub(before.1));
        before = after;
    }
    let (ours, null) = (lower_quartile(&mut of_ours)?, lower_quartile(&mut of_null)?);
    let (ratio, requests) = (ours / null, plan.bundles as f64 * path::BUNDLE as f64);
    println!(
        "{:<12}{ratio:7.2} times the null server ({:.2} µs over {:.2})",
        path.name(),
        ours / requests / 1e3,
        null / requests / 1e3
    );
    Ok(ratio)
}

/// Three of four are no less.
fn lower_quartile(nanos: &mut [u64]) -> Result<f64, &'static str> {
    nanos.sort_unstable();
    let quartile = nanos.get(nanos.len() / 4).filter(|&&nanos| nanos > 0).ok_or("a server used no time")?;
    Ok(*quartile as f64)
}
