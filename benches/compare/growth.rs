//! What work costs beside what a broker has to remember: two brokers, one that holds a state and an empty one, measured in
//! turn.

use std::{
    error::Error,
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{
    memory::FullCache,
    process::Owned,
    record::{Beside, Figures, System},
    server::{Server, Tools},
    session::{Plan, Session},
    work::{self, Window},
};

/// Something of which a broker may hold much.
pub(crate) struct State {
    /// Names it on the command line and in results.
    pub(crate) name: &'static str,
    /// How much of it the promise is about.
    full: u64,
    /// Argument of `load fill`.
    flag: &'static str,
    place: Place,
}

/// Where a state is.
#[derive(PartialEq, Eq)]
enum Place {
    /// In the store, once it was sent there.
    Store,
    /// In connections, which must be held.
    Connections,
    /// In the directory, before the broker starts.
    Directory,
}

const STATES: &[State] = &[
    State { name: "undecided half messages", full: 1_000_000, flag: "--pending", place: Place::Store },
    State { name: "timers", full: 1_000_000, flag: "--timers", place: Place::Store },
    State { name: "topics of 8 queues", full: 10_000, flag: "--topics", place: Place::Store },
    State { name: "idle connections", full: 10_000, flag: "--idle-connections", place: Place::Connections },
    State { name: "groups with subscriptions", full: 1_000, flag: "--groups", place: Place::Connections },
    State { name: "GiB in the log", full: 100, flag: "--log-gib", place: Place::Directory },
];

/// Each by one kind of `load`.
const WORKS: [&str; 4] = ["send", "transaction", "offset", "pull"];
/// For bringing the largest state about.
const FILL: Duration = Duration::from_secs(900);

/// The states meant by names of the command line: their flag without dashes, or `all`.
pub(crate) fn named(names: &[String]) -> Result<Vec<&'static State>, Box<dyn Error>> {
    let mut states = Vec::new();
    for name in names {
        let before = states.len();
        states.extend(STATES.iter().filter(|state| name == "all" || &state.flag[2..] == name));
        if states.len() == before {
            let known: Vec<_> = STATES.iter().map(|state| &state.flag[2..]).collect();
            return Err(format!("no state {name}; there are all, {}", known.join(", ")).into());
        }
    }
    Ok(states)
}

/// Seconds for these states.
pub(crate) fn estimate(plan: &Plan, states: &[&State], percent: &[u64]) -> u64 {
    let round = 2 * WORKS.len() as u64 * (plan.seconds + plan.warm_up + 1);
    (states.len() * percent.len()) as u64 * (30 + u64::from(plan.rounds) * round)
}

/// Measures beside each size of a state. A size that cannot be brought about is said, and the next one tried.
pub(crate) fn measure(
    session: &mut Session<'_>,
    state: &State,
    percent: &[u64],
    cache: &FullCache,
) -> Result<(), Box<dyn Error>> {
    for percent in percent {
        cache.fill()?;
        let size = (state.full * percent / 100).max(1);
        println!("beside {size} {}", state.name);
        let alone = Server::start(session.tools, System::Ours, &[], false)?;
        match Holder::start(session.tools, state, size) {
            Ok(holder) => rounds(session, state, size, &alone, &holder)?,
            Err(error) => {
                let outcome = Err(format!("cannot be brought about: {error}").into());
                let beside = Beside { state: state.name.to_owned(), size, alone: false };
                session.note("fill", System::Ours, 0, Some(beside), false, outcome)?;
            }
        }
    }
    Ok(())
}

fn rounds(
    session: &mut Session<'_>,
    state: &State,
    size: u64,
    alone: &Server,
    holder: &Holder,
) -> Result<(), Box<dyn Error>> {
    for round in 0..session.plan.rounds {
        for kind in WORKS {
            let mut turns = [(true, alone), (false, &holder.server)];
            turns.rotate_left(round as usize % 2);
            for (alone, server) in turns {
                let outcome = once(session.tools, kind, server, session.plan.window());
                let beside = Beside { state: state.name.to_owned(), size, alone };
                session.note(kind, System::Ours, round, Some(beside), false, outcome)?;
            }
        }
    }
    Ok(())
}

fn once(tools: &Tools, kind: &str, server: &Server, window: Window) -> Result<Figures, Box<dyn Error>> {
    work::figures(&mut work::load(tools, &[kind], server, window), FILL, &tools.work)
}

/// A broker and what holds its state.
struct Holder {
    server: Server,
    /// Has the connections.
    _clients: Option<Owned>,
}

impl Holder {
    fn start(tools: &Tools, state: &State, size: u64) -> Result<Self, Box<dyn Error>> {
        let size = size.to_string();
        let mut fill = tools.load();
        fill.args(["fill", "--json", state.flag, &size]);
        if state.place == Place::Directory {
            let prepare = |store: &std::path::Path| {
                fill.arg("--store").arg(store);
                work::figures(&mut fill, FILL, &tools.work).map(drop)
            };
            let server = Server::start_prepared(tools, System::Ours, &[], false, prepare)?;
            return Ok(Self { server, _clients: None });
        }
        let server = Server::start(tools, System::Ours, &[], false)?;
        fill.args(["--broker", &server.address.to_string()]);
        if state.place == Place::Store {
            work::figures(&mut fill, FILL, &tools.work)?;
            return Ok(Self { server, _clients: None });
        }
        let clients = hold(tools, fill.args(["--hold", "1000000"]))?;
        Ok(Self { server, _clients: Some(clients) })
    }
}

/// Starts a program that stays, and waits for its figures.
fn hold(tools: &Tools, fill: &mut Command) -> Result<Owned, Box<dyn Error>> {
    let log = tools.work.join("fill");
    let mut clients = Owned::start(fill, &log)?;
    let end = Instant::now() + FILL;
    loop {
        let text = fs::read_to_string(&log)?;
        if text.lines().any(|line| line.starts_with('{')) {
            return Ok(clients);
        }
        if clients.ended()?.is_some() || Instant::now() > end {
            return Err(text.lines().last().unwrap_or("no word of why").to_owned().into());
        }
        thread::sleep(Duration::from_millis(50));
    }
}
