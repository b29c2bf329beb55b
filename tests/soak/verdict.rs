//! What came of it all: counts, and what must not have happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    consumers::is_for_workers,
    ledger::{Decision, Delivery, Disturbance, Entry, Fate, Kind, Ledger},
};

/// Due times are whole milliseconds of the wall clock: a part of one may be missing between the instants measured here.
const CLOCK_STEP: Duration = Duration::from_millis(1);

/// How long a finished processing may be unknown to the broker: the commit interval, and slow machines.
const UNCOMMITTED: Duration = Duration::from_secs(2);
/// How long a member that lost a queue may still process what it holds of it.
const HELD: Duration = Duration::from_secs(1);
/// Lines of each kind of failure that are printed.
const SHOWN: usize = 20;

/// Why a message was processed more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// The producer had no answer and sent it again.
    SentAgain,
    /// The broker was killed between the processing and the commit of the offset, or around the delivery.
    Crash,
    /// A consumer vanished or queues changed hands in that time.
    Members,
    /// The acknowledgement of a lease was not confirmed.
    NotAcknowledged,
}

#[derive(Default)]
struct Counts {
    messages: u64,
    sends: u64,
    due: u64,
    done: u64,
    buried: u64,
    refusals: u64,
    rolled_back: u64,
}

/// Prints the counts; whether all is well.
pub(crate) fn give(ledger: &Ledger) -> bool {
    let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut reasons: BTreeMap<Reason, u64> = BTreeMap::new();
    let mut failures = ledger.violations();
    ledger.each(|name, entry| {
        count(counts.entry(what(entry.kind)).or_default(), entry);
        check(name, entry, &mut failures);
        for again in repetitions(entry) {
            match reason(ledger, entry, again) {
                Some(reason) => *reasons.entry(reason).or_default() += 1,
                None => failures.push(format!("{name}: processed again without a reason: {}", story(entry))),
            }
        }
    });
    check_order(ledger, &mut failures);
    print(&counts, &reasons);
    for failure in failures.iter().take(SHOWN) {
        println!("FAILED  {failure}");
    }
    println!("{} failures", failures.len());
    failures.is_empty()
}

fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::Plain => "plain",
        Kind::Ordered { .. } => "ordered",
        Kind::Timed(_) => "timed",
        Kind::Paid => "transactional",
        Kind::Leased => "leased",
    }
}

fn count(counts: &mut Counts, entry: &Entry) {
    let of = |fate| entry.deliveries.iter().any(|delivery| delivery.fate == fate);
    counts.messages += 1;
    counts.sends += entry.sends.len() as u64;
    counts.due += u64::from(entry.is_due());
    counts.done += u64::from(of(Fate::Done));
    counts.buried += u64::from(!of(Fate::Done) && of(Fate::Buried));
    counts.refusals += entry.deliveries.iter().filter(|delivery| delivery.fate == Fate::Refused).count() as u64;
    counts.rolled_back += u64::from(entry.decision == Some(Decision::Rollback));
}

fn check(name: &str, entry: &Entry, failures: &mut Vec<String>) {
    if entry.is_due() && !entry.is_settled() {
        failures.push(format!("{name}: lost: {}", story(entry)));
    }
    if entry.kind == Kind::Paid && entry.decision != Some(Decision::Commit) && !entry.deliveries.is_empty() {
        failures.push(format!("{name}: never committed, and seen: {}", story(entry)));
    }
    if let (Kind::Timed(delay), Some(sent)) = (entry.kind, entry.sends.first())
        && entry.deliveries.iter().any(|delivery| delivery.at + CLOCK_STEP < *sent + delay)
    {
        failures.push(format!("{name}: came before its time: {}", story(entry)));
    }
    let copies: BTreeSet<&str> = entry.deliveries.iter().map(|delivery| delivery.copy.as_str()).collect();
    if copies.len() > entry.sends.len() {
        failures.push(format!("{name}: more copies than sends: {}", story(entry)));
    }
    if entry.kind == Kind::Leased {
        for (at, delivery) in entry.deliveries.iter().enumerate() {
            let Some(acknowledged) = delivery.acknowledged else { continue };
            let returned = |later: &&Delivery| later.copy == delivery.copy && later.at > acknowledged;
            if entry.deliveries[at + 1..].iter().any(|later| returned(&later)) {
                failures.push(format!("{name}: came back after it was acknowledged: {}", story(entry)));
            }
        }
    }
    if !is_for_workers(entry.kind) && entry.deliveries.iter().any(|delivery| delivery.fate == Fate::Buried) {
        failures.push(format!("{name}: a dead letter of a group that has none: {}", story(entry)));
    }
}

/// Positions of the deliveries that settled a message once more.
fn repetitions(entry: &Entry) -> impl Iterator<Item = usize> {
    let settled = entry.deliveries.iter().enumerate().filter(|(_, delivery)| delivery.fate != Fate::Refused);
    settled.skip(1).map(|(at, _)| at)
}

fn reason(ledger: &Ledger, entry: &Entry, again: usize) -> Option<Reason> {
    let copy = &entry.deliveries[again].copy;
    let earlier: Vec<&Delivery> = entry.deliveries[..again].iter().filter(|delivery| delivery.copy == *copy).collect();
    if earlier.iter().all(|delivery| delivery.fate == Fate::Refused) && entry.sends.len() > 1 {
        return Some(Reason::SentAgain);
    }
    if entry.kind == Kind::Leased {
        return earlier.iter().any(|delivery| delivery.acknowledged.is_none()).then_some(Reason::NotAcknowledged);
    }
    // A timed message is copied by the broker, which may die between the copy and its own note of it.
    let before = if matches!(entry.kind, Kind::Timed(_)) { UNCOMMITTED } else { HELD };
    let disturbance = |delivery: &&Delivery| {
        ledger.disturbance(delivery.at.checked_sub(before).unwrap_or(delivery.at), delivery.at + UNCOMMITTED)
    };
    match earlier.iter().find_map(disturbance)? {
        Disturbance::Crash => Some(Reason::Crash),
        Disturbance::Members => Some(Reason::Members),
    }
}

/// In each sequence the first processing of a message follows that of the one before.
fn check_order(ledger: &Ledger, failures: &mut Vec<String>) {
    let mut sequences: BTreeMap<u32, Vec<(u32, Instant)>> = BTreeMap::new();
    ledger.each(|_, entry| {
        if let Kind::Ordered { key, number } = entry.kind
            && let Some(first) = entry.deliveries.iter().find(|delivery| delivery.fate == Fate::Done)
        {
            sequences.entry(key).or_default().push((number, first.at));
        }
    });
    for (key, mut sequence) in sequences {
        sequence.sort_unstable_by_key(|(number, _)| *number);
        for pair in sequence.windows(2) {
            if pair[0].1 > pair[1].1 {
                failures.push(format!("key {key}: {} was processed before {}", pair[1].0, pair[0].0));
            }
        }
    }
}

/// An entry in one line, times in milliseconds since its first send.
fn story(entry: &Entry) -> String {
    let zero = entry.sends.first().copied().unwrap_or_else(Instant::now);
    let ms = |at: Instant| at.saturating_duration_since(zero).as_millis();
    let sends: Vec<u128> = entry.sends.iter().map(|at| ms(*at)).collect();
    let deliveries: Vec<String> = entry
        .deliveries
        .iter()
        .map(|delivery| {
            let acknowledged = delivery.acknowledged.map_or(String::new(), |at| format!(" acknowledged {}", ms(at)));
            let copy = &delivery.copy[delivery.copy.len().saturating_sub(6)..];
            format!("{:?} {} as ~{copy}{acknowledged}", delivery.fate, ms(delivery.at))
        })
        .collect();
    format!("{:?}, sent at {sends:?}, stored {}, {:?}, {deliveries:?}", entry.kind, entry.stored, entry.decision)
}

fn print(counts: &BTreeMap<&str, Counts>, reasons: &BTreeMap<Reason, u64>) {
    println!(
        "{:<14}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>12}",
        "", "messages", "sends", "due", "done", "dead", "refused", "rolled back"
    );
    for (what, counts) in counts {
        let Counts { messages, sends, due, done, buried, refusals, rolled_back } = counts;
        println!("{what:<14}{messages:>9}{sends:>9}{due:>9}{done:>9}{buried:>9}{refusals:>9}{rolled_back:>12}");
    }
    println!("processed again: {} times", reasons.values().sum::<u64>());
    for (reason, count) in reasons {
        let why = match reason {
            Reason::SentAgain => "its send was not answered, and it was sent again",
            Reason::Crash => "the broker was killed before the offset was committed",
            Reason::Members => "a consumer vanished, or queues changed hands, before the offset was committed",
            Reason::NotAcknowledged => "its acknowledgement was not confirmed",
        };
        println!("{count:>9}  {why}");
    }
}
