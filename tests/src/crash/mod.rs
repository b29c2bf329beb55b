//! A broker that is killed at random moments, and what it had answered.
//!
//! A cycle is some load, the end of the broker, and a start over what is left. The end is a kill with -9 (now and then in
//! the middle of a stop in order, and again while the broker starts), or the power is cut and what was not synced is lost
//! ([`victim`]). All clients live through it. Nothing is sent twice, so that the [`ledger`] knows each operation as one of three: answered, not answered (it may have been done or not), or not asked.
//!
//! After each start the broker is asked for what is cheap: offsets that were committed, and the last message of each
//! queue whose send was answered. At the end all is settled, every queue is read from its beginning, the broker is killed
//! once more and everything is read again. The [`audit`] fails the run unless
//!
//! * a message whose send was answered is there once, whole, at the place that the answer named; one whose send was not
//!   answered is there once or not at all; with power cuts the broker flushes synchronously;
//! * messages of one producer in one queue lie in the order of its sends, but one whose send was given up may come late; queues
//!   have no gaps;
//! * a transaction that was committed, by its producer or by the answer to a check, is visible once, others never;
//! * a timer is visible once and was stored at its time or later, or never when its recall was answered;
//! * each send-back that was answered made a copy for the next try or a dead letter, and nothing else did;
//! * committed offsets never went back, and nothing came again that was acknowledged. After a power cut both may, but
//!   offsets no further than to what was saved.
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
mod victim;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tenonmq_client::{Admin, ClientConfig};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{audit::Auditor, ledger::Ledger, victim::Victim};
use crate::broker_process::Failure;

type Task = JoinHandle<Result<(), Failure>>;

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

/// How the broker ends.
#[derive(Debug, Clone)]
pub enum End {
    /// The process of this program is killed.
    Kill(PathBuf),
    /// The broker runs in this process, over a disk that loses what was not synced.
    PowerCut,
}

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Ends after a load, each followed by a start.
    pub cycles: u32,
    /// Choices are made from it.
    pub seed: u64,
    /// How the broker ends.
    pub end: End,
    /// The longest load of a cycle, in milliseconds; the shortest takes 50.
    pub longest_load: u64,
    /// Milliseconds between two messages of each sender.
    pub pause: u64,
    /// The broker flushes synchronously; with power cuts it does anyway.
    pub is_sync: bool,
    /// Where the directory is made; it stays after a failure.
    pub folder: PathBuf,
}

/// The topics and groups of a run; the directory is new, so that they need no unique names.
mod names {
    pub(super) const PLAIN: &str = "plain";
    pub(super) const TIMED: &str = "timed";
    pub(super) const PAID: &str = "paid";
    pub(super) const LEASED: &str = "leased";
    /// Messages of which some are sent back.
    pub(super) const HARD: &str = "hard";
    pub(super) const READERS: &str = "readers";
    pub(super) const WORKERS: &str = "workers";
    pub(super) const RETRY: &str = "%RETRY%workers";
    pub(super) const DEAD: &str = "%DLQ%workers";
    pub(super) const LEASERS: &str = "leasers";
}

/// What every task of a run shares.
#[derive(Clone)]
struct Scene {
    client: ClientConfig,
    broker: String,
    ledger: Arc<Ledger>,
    seed: u64,
    pause: Duration,
    /// Rises when the power is cut, and again when the broker runs: it is odd in between.
    cuts: Arc<AtomicU32>,
    /// Senders end.
    sent_enough: CancellationToken,
    /// All others end.
    over: CancellationToken,
}

impl Scene {
    /// A source of choices for one task.
    fn choices(&self, task: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(task))
    }
}

/// Plays it and prints what came of it; whether all is well.
///
/// # Errors
/// The broker does not start, or a client meets what it never should.
pub async fn run(plan: &Plan) -> Result<bool, Failure> {
    let folder = tempfile::tempdir_in(&plan.folder)?;
    let victim = Victim::start(plan, folder.path(), SETTINGS).await?;
    let scene = set(&victim, plan).await?;
    let outcome = play(victim, &scene, plan).await;
    if !matches!(outcome, Ok(true)) {
        println!("the broker's directory is {}", folder.keep().display());
    }
    outcome
}

async fn set(broker: &Victim, plan: &Plan) -> Result<Scene, Failure> {
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
        ledger: Arc::new(Ledger::new(matches!(plan.end, End::Kill(_)))),
        seed: plan.seed,
        pause: Duration::from_millis(plan.pause),
        cuts: Arc::default(),
        sent_enough: CancellationToken::new(),
        over: CancellationToken::new(),
    })
}

async fn play(mut broker: Victim, scene: &Scene, plan: &Plan) -> Result<bool, Failure> {
    let mut auditor = Auditor::connect(scene).await?;
    let (mut senders, payers) = payments::start(scene).await?;
    senders.extend(senders::start(scene).await?);
    let mut others = readers::start(scene).await?;
    others.extend(pops::start(scene));
    others.extend(payers);

    let mut choices = scene.choices(0);
    let started = Instant::now();
    let mut starts = 0;
    for cycle in 1..=plan.cycles {
        tokio::time::sleep(Duration::from_millis(choices.random_range(50..plan.longest_load.max(51)))).await;
        broker.is_running()?;
        starts += broker.end_and_start(scene, &mut choices).await?;
        auditor.after_start(scene, broker.saved_offsets()).await?;
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
        starts += broker.end_and_start(scene, &mut choices).await?;
        auditor.after_start(scene, broker.saved_offsets()).await?;
        outcome = match plan.end {
            End::Kill(_) => auditor.read_all(scene).await?,
            End::PowerCut => settle(&mut auditor, scene).await?, // offsets fell back, so that some is sent back anew
        };
    }
    scene.over.cancel();
    for task in others {
        task.await??;
    }
    broker.stop().await?;
    println!("{} cycles, {starts} starts, {} s in all", plan.cycles, started.elapsed().as_secs());
    Ok(outcome.print())
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
