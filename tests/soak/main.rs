//! Everything at once for some minutes: does every message arrive?
//!
//! ```text
//! soak [--seconds 60] [--kill-every 5] [--seed N] [--broker PATH] [--rate 100]
//! ```
//!
//! The broker is a process of its own that is killed with -9 every few seconds and started again over the same
//! directory. Producers send plain, ordered, timed and transactional messages and send again what was not answered;
//! consumers, concurrent, in order and by leases, fail at random, and some vanish without a goodbye and come back. At
//! the end the broker runs undisturbed until all is quiet, and the [`verdict`] is given:
//!
//! * every message whose send was answered with success, and every one whose transaction committed, was processed or
//!   is a dead letter;
//! * what was rolled back was never seen, nothing came before its time, and ordered messages came in order;
//! * a message processed more than once is counted under its reason: its producer had sent it again, a crash or a change
//!   of members came between processing and the commit of the offset, an acknowledgement was never confirmed. One
//!   without such a reason fails the run, as does a loss.
//!
//! Choices come from the printed seed; the interleaving of the processes does not.

mod consumers;
mod ledger;
mod producers;
mod verdict;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tenonmq_client::Admin;
use tenonmq_tests::broker_process::BrokerProcess;
pub(crate) use tenonmq_tests::broker_process::Failure;
use tokio_util::sync::CancellationToken;

use ledger::{Disturbance, Ledger};
use producers::What;

const SETTINGS: &str = "mappedFileSizeCommitLog=67108864\n";
/// How long the end may take: retries, leases, checks and timers that are still open.
const DRAIN: Duration = Duration::from_secs(90);
/// What nobody waits for shows up within this time.
const QUIET: Duration = Duration::from_secs(4);

/// Producers, consumers that fail, and a broker that is killed again and again.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Seconds of sending.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds between two kills, on average.
    #[arg(long, default_value_t = 5)]
    kill_every: u64,
    /// Choices are made from it; by default a new one.
    #[arg(long)]
    seed: Option<u64>,
    /// The broker's program; by default `tenonmq` beside this one.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Messages a second of each producer.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Leaves some messages out, to look closer at the others.
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<What>,
}

/// The topics and groups of a run; the directory is new, so that they need no unique names.
pub(crate) mod names {
    pub(crate) const PLAIN: &str = "plain";
    pub(crate) const ORDERED: &str = "ordered";
    pub(crate) const TIMED: &str = "timed";
    pub(crate) const PAID: &str = "paid";
    pub(crate) const LEASED: &str = "leased";
    pub(crate) const WORKERS: &str = "workers";
    pub(crate) const IN_ORDER: &str = "in-order";
    pub(crate) const LEASERS: &str = "leasers";
}

/// What every task of a run shares.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) name_server: String,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) seed: u64,
    pub(crate) pause: Duration,
    pub(crate) without: Vec<What>,
    /// Producers end.
    pub(crate) sent_enough: CancellationToken,
    /// Consumers restart no more.
    pub(crate) calm: CancellationToken,
    /// Consumers end.
    pub(crate) over: CancellationToken,
}

impl Scene {
    /// A source of choices for one task.
    pub(crate) fn choices(&self, task: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(task))
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(cli)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

fn failed(error: &Failure) -> ExitCode {
    eprintln!("soak: {error}");
    ExitCode::FAILURE
}

async fn run(cli: Cli) -> Result<bool, Failure> {
    let seed = cli.seed.unwrap_or_else(|| rand::rng().random());
    println!("soak: {} s, a kill every {} s, seed {seed}", cli.seconds, cli.kill_every);
    let program = match cli.broker {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("tenonmq"),
    };
    let folder = tempfile::tempdir()?;
    let mut broker = BrokerProcess::start(&program, folder.path(), SETTINGS).await?;
    let scene = Scene {
        name_server: broker.name_server(),
        ledger: Arc::new(Ledger::default()),
        seed,
        pause: Duration::from_secs(1) / cli.rate.max(1),
        without: cli.without,
        sent_enough: CancellationToken::new(),
        calm: CancellationToken::new(),
        over: CancellationToken::new(),
    };
    create_topics(&scene.name_server).await?;
    let mut to_the_end = consumers::start(&scene);
    let (producers, payer) = producers::start(&scene).await?;
    to_the_end.push(payer);

    let kills = kill_again_and_again(&mut broker, &scene, cli.seconds, cli.kill_every.max(1)).await?;
    scene.sent_enough.cancel();
    scene.calm.cancel();
    for producer in producers {
        producer.await??;
    }
    drain(&scene.ledger).await;
    tokio::time::sleep(QUIET).await;
    let dead = consumers::dead_letters(&scene.name_server, names::WORKERS).await?;
    scene.ledger.buried(dead);
    scene.over.cancel();
    for task in to_the_end {
        task.await??;
    }
    broker.stop().await?;
    println!("{kills} kills");
    Ok(verdict::give(&scene.ledger))
}

async fn create_topics(name_server: &str) -> Result<(), Failure> {
    let admin = Admin::connect(name_server).await?;
    for topic in [names::PLAIN, names::ORDERED, names::TIMED, names::PAID, names::LEASED] {
        admin.create_topic(topic, 4).await?;
    }
    admin.shutdown().await;
    Ok(())
}

async fn kill_again_and_again(
    broker: &mut BrokerProcess,
    scene: &Scene,
    seconds: u64,
    every: u64,
) -> Result<u32, Failure> {
    let mut choices = scene.choices(0);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut kills = 0;
    loop {
        let pause = Duration::from_millis(choices.random_range(every * 500..every * 1500));
        if Instant::now() + pause >= end {
            tokio::time::sleep(end.saturating_duration_since(Instant::now())).await;
            return Ok(kills);
        }
        tokio::time::sleep(pause).await;
        let since = Instant::now();
        broker.kill()?;
        tokio::time::sleep(Duration::from_millis(choices.random_range(0..500))).await;
        broker.revive().await?;
        scene.ledger.disturbed(Disturbance::Crash, since);
        kills += 1;
    }
}

/// Until nothing is open any more, or the time is over.
async fn drain(ledger: &Ledger) {
    let end = Instant::now() + DRAIN;
    while ledger.open() > 0 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
