//! Why two-phase and three-phase commit are taught here and not shipped: a simulation, step by step, without any network.
//!
//! An order service, a stock service and a points service must agree whether order 42 is paid. Three protocols are tried:
//!
//! 1. **2PC**: the coordinator dies between *prepare* and *commit*. Everybody has promised, nobody may decide alone, and all
//!    hold their locks for as long as it is away.
//! 2. **3PC**: a third phase lets participants decide alone after a while. When the network parts in that phase, those who
//!    heard *pre-commit* commit and those who did not abort: they disagree.
//! 3. **Half message**: the outcome is a row of the order service's own database, and the broker asks for it. The order service
//!    dies at every step in turn; all agree each time, and nobody held a lock while waiting.
//!
//! ```text
//! cargo run --release --example two_phase_commit
//! ```
//!
//! Exits with a failure if one of them ends otherwise than told.

use std::process::ExitCode;

/// A day, in seconds: what "for ever" looks like here.
const DAY: u32 = 86_400;
/// After so many seconds without news a participant of 3PC decides alone.
const PATIENCE: u32 = 30;

/// Where a participant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was asked nothing.
    Idle,
    /// It promised to be able to commit, and holds its locks for that.
    Prepared,
    /// 3PC only: it knows that all have promised.
    PreCommitted,
    Committed,
    Aborted,
}

use State::{Aborted, Committed, Idle, PreCommitted, Prepared};

/// A service with a database.
#[derive(Debug, Clone)]
struct Service {
    name: &'static str,
    state: State,
    /// Seconds for which its rows were locked.
    locked_for: u32,
}

impl Service {
    fn all() -> Vec<Self> {
        ["order", "stock", "points"].map(|name| Self { name, state: Idle, locked_for: 0 }).into()
    }

    fn is_waiting(&self) -> bool {
        matches!(self.state, Prepared | PreCommitted)
    }

    /// A second passes without news. In 3PC a participant that has waited enough decides alone.
    fn wait(&mut self, decides_alone: bool) {
        if !self.is_waiting() {
            return;
        }
        self.locked_for += 1;
        if decides_alone && self.locked_for >= PATIENCE {
            // its only clue is how far the protocol came, as far as it has heard
            self.state = if self.state == PreCommitted { Committed } else { Aborted };
        }
    }
}

/// Two-phase commit, whose coordinator dies when it has told so many of the outcome.
fn two_phase_commit(told: usize) -> Vec<Service> {
    let mut services = Service::all();
    for service in &mut services {
        service.state = Prepared; // phase one: all say yes
    }
    for service in services.iter_mut().take(told) {
        service.state = Committed; // phase two, as far as it got
    }
    for _ in 0..DAY {
        services.iter_mut().for_each(|service| service.wait(false));
    }
    services
}

/// Three-phase commit, where the network parts when so many have heard *pre-commit*.
fn three_phase_commit(heard: usize) -> Vec<Service> {
    let mut services = Service::all();
    for service in &mut services {
        service.state = Prepared; // can you commit? yes
    }
    for service in services.iter_mut().take(heard) {
        service.state = PreCommitted; // all can; then the network parts, and "do commit" reaches nobody
    }
    for _ in 0..DAY {
        services.iter_mut().for_each(|service| service.wait(true));
    }
    services
}

/// After which step the order service dies. It comes back later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    BeforeAll,
    HalfMessageSent,
    OrderCommitted,
    BrokerTold,
}

/// A half message, whose sender dies after that step.
fn half_message(death: Death) -> Vec<Service> {
    let mut services = Service::all();
    let (mut half_message, mut row, mut is_visible) = (false, false, false);
    if death >= Death::HalfMessageSent {
        half_message = true; // the broker has it; no consumer sees it
    }
    if death >= Death::OrderCommitted {
        row = true; // the order's own transaction: its locks are held until here, and no longer
    }
    if death >= Death::BrokerTold {
        is_visible = true;
    }
    for second in 0..DAY {
        // the broker asks whatever instance of the order service lives: the answer is in the database
        if half_message && !is_visible && second % 60 == 59 {
            is_visible = row;
            half_message = row; // a half message without a row is dropped
        }
    }
    services[0].state = if row { Committed } else { Aborted };
    for follower in services.iter_mut().skip(1) {
        follower.state = if is_visible { Committed } else { Aborted }; // aborted: it never heard of it
    }
    services
}

fn agree(services: &[Service]) -> bool {
    let is_decided = services.iter().all(|service| matches!(service.state, Committed | Aborted));
    is_decided && services.iter().all(|service| service.state == services[0].state)
}

fn show(title: &str, services: &[Service]) {
    println!("  {title}");
    for Service { name, state, locked_for } in services {
        println!("    {name:<7} {:<13} rows locked for {locked_for:>5} s", format!("{state:?}"));
    }
}

fn main() -> ExitCode {
    let mut as_told = true;
    let mut check = |what: &str, holds: bool| {
        println!("  => {what}: {}\n", if holds { "so it is" } else { "NOT SO" });
        as_told &= holds;
    };

    println!("two-phase commit: the coordinator dies between prepare and commit");
    let nobody_told = two_phase_commit(0);
    show("a day later", &nobody_told);
    let are_stuck = nobody_told.iter().all(|service| service.state == Prepared && service.locked_for == DAY);
    check("everybody still waits, and every row is still locked", are_stuck);
    let one_told = two_phase_commit(1);
    show("the same, where the order service had heard", &one_told);
    let may_not_abort = one_told[0].state == Committed && one_told[1].is_waiting();
    check("the others see what they saw before, so they may neither abort nor commit", may_not_abort);

    println!(
        "three-phase commit: participants decide alone after {PATIENCE} s, and the network parts in the second phase"
    );
    let parted = three_phase_commit(1);
    show("a day later", &parted);
    let disagree = !agree(&parted) && parted.iter().all(|service| !service.is_waiting());
    check("nobody is stuck, and they disagree: an order is paid, its stock is not deducted", disagree);

    println!("half message: the order service dies, at every step in turn");
    let deaths = [Death::BeforeAll, Death::HalfMessageSent, Death::OrderCommitted, Death::BrokerTold];
    let ends = deaths.map(|death| (death, half_message(death)));
    for (death, services) in &ends {
        show(&format!("dies: {death:?}"), services);
    }
    let all_agree = ends.iter().all(|(_, services)| agree(services));
    let is_paid =
        ends.iter().all(|(death, services)| (services[0].state == Committed) == (*death >= Death::OrderCommitted));
    check(
        "all agree each time, with the order's own database, and nobody was locked while waiting",
        all_agree && is_paid,
    );

    if as_told { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
