//! What a million undecided half messages cost, through the broker's own paths without sockets: memory, sends and
//! transactions beside them, an idle broker whose producers are gone, and the start of the next one.
//!
//! `cargo bench -p tenonmq-benches --bench pending [-- COUNT]`

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use tenonmq_benches::Embedded;
use tenonmq_broker::{
    config::LiveConfig,
    core::Core,
    send::{self, Incoming},
    transaction::{End, Transactions, Verdict},
};
use tenonmq_protocol::header::SendMessage;
use tenonmq_storage::{Environment, Store};

/// Operations in one round, and rounds of which the median counts.
const ROUND: u64 = 50_000;
const ROUNDS: usize = 7;
const IDLE: Duration = Duration::from_secs(20);

/// Stores one message; a half message of `group` if one is named. Its place: half queue, log.
fn store(core: &Core, group: Option<&str>, n: u64, body: &[u8]) -> (i64, i64) {
    let key = format!("UNIQ_KEY\u{1}7F0000010B6D4E50A2B92D3C{n:08X}\u{2}WAIT\u{1}true\u{2}");
    let properties = match group {
        Some(group) => format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{group}\u{2}{key}"),
        None => key,
    };
    let header = SendMessage {
        producer_group: group.unwrap_or("orders"),
        topic: "BenchmarkTest",
        default_topic: "TBW102",
        queue_id: (n % 8) as i32,
        properties: &properties,
        ..SendMessage::default()
    };
    let incoming = Incoming { header: &header, body, born_host: ([127, 0, 0, 1], 1).into(), version: 479 };
    let receipt = send::send(core, incoming).expect("the message is stored");
    (receipt.queue_offset, receipt.message_ids.first().map_or(0, |id| id.offset))
}

fn transaction(core: &Core, n: u64, body: &[u8]) {
    let (half_offset, log_offset) = store(core, Some("orders"), n, body);
    let end = End { group: "orders", half_offset, log_offset, verdict: Verdict::Committed, from_check: false };
    core.transactions.end(core, &end).expect("the commit is taken");
}

/// Nanoseconds that one operation takes: the median of the rounds.
fn nanos(mut operation: impl FnMut(u64)) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            (0..ROUND).for_each(&mut operation);
            began.elapsed().as_nanos() as f64 / ROUND as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// Nanoseconds of a send and of a transaction.
fn costs(core: &Core) -> [f64; 2] {
    let body = [b'x'; 1024];
    [nanos(|n| _ = store(core, None, n, &body)), nanos(|n| transaction(core, n, &body))]
}

/// The value of a line of a file below `/proc/self`.
fn of_self(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(Path::new("/proc/self").join(file)).expect("a file of /proc");
    let line = text.lines().find(|line| line.starts_with(name)).expect("the line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Memory of this process that is no mapping of a file, in bytes.
fn private_bytes() -> f64 {
    of_self("status", "RssAnon:") as f64 * 1024.0
}

/// Time that all threads have spent on a processor.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("a file of /proc");
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_micros(ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

fn start(root: &Path) -> Embedded {
    Embedded::start(root, &[("messageIndexEnable", "false")])
}

/// Seconds that opening the log takes, and making the list of the undecided again.
fn rebuild(root: &Path) -> (f64, f64) {
    let root = root.to_string_lossy();
    let settings =
        [("storePathRootDir", &*root), ("mappedFileSizeCommitLog", "268435456"), ("messageIndexEnable", "false")];
    let config = LiveConfig::embedded(settings).expect("valid settings");
    let began = Instant::now();
    let store = Store::open(config.load().store.clone(), Environment::system()).expect("the store opens");
    let opened = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let address = ([127, 0, 0, 1], 10911).into();
    let transactions = Transactions::open(store.clone(), config, (Some(0), Some(0)), address).expect("they are found");
    let rebuilt = began.elapsed().as_secs_f64();
    println!("  {} undecided: log opened in {opened:.2} s, list made in {rebuilt:.2} s", transactions.pending());
    store.shutdown().expect("a clean stop");
    (opened, rebuilt)
}

fn main() -> io::Result<()> {
    let count: u64 = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1_000_000);
    let directory = tempfile::tempdir_in(".")?;
    let root = directory.path().join("data");
    let broker = start(&root);
    let core = broker.core();
    costs(&core); // pages, code and files are warm from here on
    let empty = costs(&core);

    let before = private_bytes();
    for n in 0..count {
        store(&core, Some("gone"), n, b"order");
    }
    let fresh = (private_bytes() - before) / count as f64;
    std::thread::sleep(Duration::from_secs(12)); // all have fallen due, and nobody is online
    let due = (private_bytes() - before) / count as f64;
    println!("{} undecided: {fresh:.0} bytes of memory each, {due:.0} when they are due", core.transactions.pending());

    let full = costs(&core);
    for (what, empty, full) in [("send", empty[0], full[0]), ("transaction", empty[1], full[1])] {
        println!(
            "{what}: {empty:.0} ns on an empty broker, {full:.0} ns beside them ({:+.1} %)",
            (full / empty - 1.0) * 100.0
        );
    }

    std::thread::sleep(Duration::from_secs(10)); // what was written is flushed
    let (time, end, calls) = (processor_time(), core.store.watermarks().appended, of_self("io", "write_bytes:"));
    std::thread::sleep(IDLE);
    let share = (processor_time() - time).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    println!(
        "idle: {share:.2} % of a core, {} bytes appended, {} bytes written, in {IDLE:?}",
        core.store.watermarks().appended - end,
        of_self("io", "write_bytes:") - calls
    );

    drop(core);
    broker.stop();
    println!("start with our own list:");
    rebuild(&root);
    println!("start without it, from the log alone:");
    fs::remove_file(root.join("tenonmq").join("transaction-pending"))?;
    rebuild(&root);
    Ok(())
}
