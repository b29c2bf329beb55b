//! A broker that is killed at random moments, and what it had answered.
//!
//! ```text
//! crash [--cycles 20] [--seed N] [--broker PATH] [--longest-load 600] [--pause 5] [--sync]
//! ```
//!
//! A cycle is some load, a kill with -9 (now and then in the middle of a stop in order), one or two more kills while the
//! broker starts, and a start over the same directory. All clients live through it. Nothing is sent twice, so that the
//! [`ledger`] knows each operation as one of three: answered, not answered (it may have been done or not), or not asked.
//!
//! After each start the broker is asked for what is cheap: offsets that were committed, and the last message of each
//! queue whose send was answered. At the end all is settled, every queue is read from its beginning, the broker is killed
//! once more and everything is read again. The [`audit`] fails the run unless
//!
//! * a message whose send was answered is there once, whole, at the place that the answer named; one whose send was not
//!   answered is there once or not at all;
//! * messages of one producer in one queue lie in the order of its sends, and queues have no gaps;
//! * a transaction that was committed, by its producer or by the answer to a check, is visible once, others never;
//! * a timer is visible once and was stored at its time or later, or never when its recall was answered;
//! * each send-back that was answered made a copy for the next try or a dead letter, and nothing else did;
//! * committed offsets never went back, and nothing came again that was acknowledged.
//!
//! Choices come from the printed seed; the interleaving of the processes does not.

mod audit;
mod ledger;
mod payments;
mod pops;
mod readers;
mod send_back;
mod senders;
mod verdict;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tenonmq_client::{Admin, ClientConfig};
use tenonmq_tests::broker_process::{BrokerProcess, Failure};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use audit::Auditor;
use ledger::Ledger;

pub(crate) type Task = JoinHandle<Result<(), Failure>>;

/// Files are small, so that they are changed often. Retries come after a second, checks too.
const SETTINGS: &str = "\
mappedFileSizeCommitLog=1048576
mappedFileSizeConsumeQueue=20000
maxTransferCountOnMessageInMemory=500
recallMessageEnable=true
";
/// How long the end may take: retries, leases, checks and timers that are still open.
const DRAIN: Duration = Duration::from_secs(120);
/// What nobody waits for shows up within this time: a retry, a check, a timer.
const QUIET: Duration = Duration::from_secs(2);
/// A debug build starts within about this time.
const START_MS: u64 = 120;

/// Kills a broker again and again, and compares what is there with what it answered.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Kills after a load, each followed by a start.
    #[arg(long, default_value_t = 20)]
    cycles: u32,
    /// Choices are made from it; by default a new one.
    #[arg(long)]
    seed: Option<u64>,
    /// The broker's program; by default `tenonmq` beside this one.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// The longest load of a cycle, in milliseconds; the shortest takes 50.
    #[arg(long, default_value_t = 600)]
    longest_load: u64,
    /// Milliseconds between two messages of each sender.
    #[arg(long, default_value_t = 5)]
    pause: u64,
    /// The broker flushes synchronously.
    #[arg(long)]
    sync: bool,
    /// Where the broker's directory is made; by default where temporary files go. It stays after a failure.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// The topics and groups of a run; the directory is new, so that they need no unique names.
pub(crate) mod names {
    pub(crate) const PLAIN: &str = "plain";
    pub(crate) const TIMED: &str = "timed";
    pub(crate) const PAID: &str = "paid";
    pub(crate) const LEASED: &str = "leased";
    /// Messages of which some are sent back.
    pub(crate) const HARD: &str = "hard";
    pub(crate) const READERS: &str = "readers";
    pub(crate) const WORKERS: &str = "workers";
    pub(crate) const RETRY: &str = "%RETRY%workers";
    pub(crate) const DEAD: &str = "%DLQ%workers";
    pub(crate) const LEASERS: &str = "leasers";
}

/// What every task of a run shares.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) client: ClientConfig,
    pub(crate) broker: String,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) seed: u64,
    pub(crate) pause: Duration,
    /// Senders end.
    pub(crate) sent_enough: CancellationToken,
    /// All others end.
    pub(crate) over: CancellationToken,
}

impl Scene {
    /// A source of choices for one task.
    pub(crate) fn choices(&self, task: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(task))
    }
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(Cli::parse())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

fn failed(error: &Failure) -> ExitCode {
    eprintln!("crash: {error}");
    ExitCode::FAILURE
}

async fn run(cli: Cli) -> Result<bool, Failure> {
    let seed = cli.seed.unwrap_or_else(|| rand::rng().random());
    println!("crash: {} cycles, seed {seed}", cli.cycles);
    let program = match &cli.broker {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("tenonmq"),
    };
    let folder = tempfile::tempdir_in(cli.folder.clone().unwrap_or_else(std::env::temp_dir))?;
    let flush = if cli.sync { "flushDiskType=SYNC_FLUSH\n" } else { "" };
    let broker = BrokerProcess::start(&program, folder.path(), &format!("{SETTINGS}{flush}")).await?;
    let scene = set(&broker, seed, &cli).await?;
    let outcome = play(broker, &scene, &cli).await;
    if !matches!(outcome, Ok(true)) {
        println!("the broker's directory is {}", folder.keep().display());
    }
    outcome
}

async fn set(broker: &BrokerProcess, seed: u64, cli: &Cli) -> Result<Scene, Failure> {
    let client = ClientConfig::new(broker.name_server())
        .reconnect_backoff(Duration::from_millis(20), Duration::from_millis(100))
        .request_timeout(Duration::from_secs(2));
    let admin = Admin::connect(client.clone()).await?;
    for topic in [names::PLAIN, names::TIMED, names::PAID, names::LEASED, names::HARD] {
        admin.create_topic(topic, 4).await?;
    }
    let masters = admin.masters().await?;
    admin.shutdown().await;
    Ok(Scene {
        client,
        broker: masters.into_iter().next().ok_or("the broker is not registered")?,
        ledger: Arc::new(Ledger::new()),
        seed,
        pause: Duration::from_millis(cli.pause),
        sent_enough: CancellationToken::new(),
        over: CancellationToken::new(),
    })
}

async fn play(mut broker: BrokerProcess, scene: &Scene, cli: &Cli) -> Result<bool, Failure> {
    let mut auditor = Auditor::connect(scene).await?;
    let (mut senders, payers) = payments::start(scene).await?;
    senders.extend(senders::start(scene).await?);
    let mut others = readers::start(scene).await?;
    others.extend(pops::start(scene));
    others.extend(payers);

    let mut choices = scene.choices(0);
    let started = Instant::now();
    let mut starts = 0;
    for cycle in 1..=cli.cycles {
        tokio::time::sleep(Duration::from_millis(choices.random_range(50..cli.longest_load.max(51)))).await;
        broker.is_running()?;
        starts += end_and_start(&mut broker, &mut choices).await?;
        auditor.after_start(scene).await?;
        if scene.ledger.has_violations() || senders.iter().chain(&others).any(JoinHandle::is_finished) {
            println!("stopped after {cycle} cycles");
            break;
        }
        if cycle % 25 == 0 {
            println!("{cycle} cycles, {} s", started.elapsed().as_secs());
        }
    }
    scene.sent_enough.cancel();
    for sender in senders {
        sender.await??;
    }
    let mut outcome = settle(&mut auditor, scene).await?;
    if outcome.is_well() {
        broker.kill()?;
        broker.revive().await?;
        auditor.after_start(scene).await?;
        outcome = auditor.read_all(scene).await?;
    }
    scene.over.cancel();
    for task in others {
        task.await??;
    }
    broker.stop().await?;
    println!("{} cycles, {starts} starts, {} s in all", cli.cycles, started.elapsed().as_secs());
    Ok(outcome.print())
}

/// Ends the broker in one of several ways, and starts it until it is ready; how often.
async fn end_and_start(broker: &mut BrokerProcess, choices: &mut StdRng) -> Result<u32, Failure> {
    if choices.random_bool(0.15) {
        broker.ask_to_stop()?;
        tokio::time::sleep(Duration::from_millis(choices.random_range(0..100))).await;
    }
    broker.kill()?;
    let mut starts = 1;
    while starts < 4 && choices.random_bool(0.3) {
        broker.kill_while_it_starts(Duration::from_millis(choices.random_range(0..START_MS))).await?;
        starts += 1;
    }
    broker.revive().await?;
    Ok(starts)
}

/// Waits until everything is as it must be, and a little longer.
async fn settle(auditor: &mut Auditor, scene: &Scene) -> Result<verdict::Verdict, Failure> {
    let end = Instant::now() + DRAIN;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if scene.ledger.open() > 0 && Instant::now() < end {
            continue;
        }
        let verdict = auditor.read_all(scene).await?;
        if verdict.is_well() {
            tokio::time::sleep(QUIET).await;
            return auditor.read_all(scene).await;
        }
        if verdict.is_final() || Instant::now() > end {
            return Ok(verdict);
        }
    }
}
