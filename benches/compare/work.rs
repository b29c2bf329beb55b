//! One measurement: the program that does the work, and the figures that it prints.

use std::{error::Error, path::Path, process::Command, time::Duration};

use serde_json::{Map, Value};

use crate::{
    process,
    record::{Figures, System},
    server::{self, Server, Tools},
};

/// What is done in a row.
#[derive(Debug)]
pub(crate) enum Work {
    /// `load` with these arguments.
    Load(&'static [&'static str]),
    /// Sends at half the rate that Apache reaches.
    AtHalfRate,
    /// The start of a process, until it answers.
    Ready { killed: bool },
    /// A driver over Apache's own client.
    Java { class: &'static str, arguments: &'static [&'static str] },
}

/// How long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) warm_up: u64,
    pub(crate) seconds: u64,
    /// How often a process is started, where that is what is measured: once a row, as filling its log is dear.
    pub(crate) starts: u32,
}

/// Beyond the window: connecting, filling queues, starting a JVM.
const GRACE: Duration = Duration::from_secs(120);
/// What a directory holds when its broker is killed.
const LOG_GIB: &str = "10";

/// Measures `system` at `work` once. Which server does it is said by `server`; work without one starts its own.
/// `rate` is what [`Work::AtHalfRate`] sends.
pub(crate) fn measure(
    tools: &Tools,
    work: &Work,
    system: System,
    server: Option<&Server>,
    window: Window,
    rate: Option<u64>,
) -> Result<Figures, Box<dyn Error>> {
    let mut command = match (work, system, server) {
        (Work::Ready { killed }, ..) => return ready(tools, *killed, window.starts),
        (_, System::Baseline, None) => fdatasync(tools, window),
        (Work::Load(arguments), System::Nats, Some(server)) => publish(tools, arguments, server, window),
        (Work::Load(arguments), _, Some(server)) => load(tools, arguments, server, window),
        (Work::AtHalfRate, _, Some(server)) => {
            let rate = rate.ok_or("Apache's rate is not known")?.to_string();
            load(tools, &["send", "--rate", &rate], server, window)
        }
        (Work::Java { class, arguments }, _, Some(server)) => java(tools, class, arguments, server, window),
        (_, _, None) => return Err("its server did not start".into()),
    };
    let limit = GRACE + Duration::from_secs(window.warm_up + window.seconds);
    figures(&mut command, limit, &tools.work)
}

/// Runs a program whose last line is the figures in JSON.
pub(crate) fn figures(command: &mut Command, limit: Duration, work: &Path) -> Result<Figures, Box<dyn Error>> {
    let printed = process::run(command, limit, work)?;
    Ok(serde_json::from_str(last_line(&printed)?)?)
}

fn last_line(printed: &str) -> Result<&str, &'static str> {
    printed.lines().rev().find(|line| line.starts_with('{')).ok_or("no figures were printed")
}

/// `load` against a server.
pub(crate) fn load(tools: &Tools, arguments: &[&str], server: &Server, window: Window) -> Command {
    let mut command = tools.load();
    command.args(arguments).args(["--broker", &server.address.to_string(), "--pid", &server.pid.to_string(), "--json"]);
    command.args(["--warm-up", &window.warm_up.to_string(), "--seconds", &window.seconds.to_string()]);
    command
}

fn fdatasync(tools: &Tools, window: Window) -> Command {
    let mut command = tools.load();
    command.args(["baseline", "fdatasync", "--json", "--seconds", &window.seconds.to_string()]);
    command.arg("--dir").arg(&tools.work);
    command
}

/// The server gets `{dir}` replaced by its directory, which is filled and its broker killed before, if asked for.
fn ready(tools: &Tools, killed: bool, starts: u32) -> Result<Figures, Box<dyn Error>> {
    let port = server::free_ports()?;
    let (own, name_server) = (port.to_string(), (port + server::NAME_SERVER).to_string());
    let mut command = tools.load();
    command.args(["ready", "--json", "--broker", &format!("127.0.0.1:{own}"), "--rounds", &starts.to_string()]);
    command.arg("--dir").arg(&tools.work);
    if killed {
        command.args(["--fill-gib", LOG_GIB]);
    }
    command.arg("--").arg(tools.broker()).args(["--set", "storePathRootDir={dir}", "--broker-ip", "127.0.0.1"]);
    command.args(["--listen-port", &own, "--namesrv-port", &name_server]);
    let printed = process::run(&mut command, 5 * GRACE, &tools.work)?;
    let mut rest: Map<String, Value> = serde_json::from_str(last_line(&printed)?)?;
    let most = |value: Value| value.as_array()?.iter().filter_map(Value::as_f64).max_by(f64::total_cmp);
    let private_bytes = rest.remove("private_bytes").and_then(most);
    let ready_ms = rest.get("median_ms").and_then(Value::as_f64);
    Ok(Figures { private_bytes, ready_ms, rest, ..Figures::default() })
}

fn publish(tools: &Tools, arguments: &[&str], server: &Server, window: Window) -> Command {
    let mut command = Command::new(tools.nats.join("nats"));
    command.args(["--url", &format!("nats://{}", server.address), "--pid", &server.pid.to_string()]);
    command.args(["--warm-up", &window.warm_up.to_string(), "--seconds", &window.seconds.to_string()]);
    command.args(arguments.iter().skip(1)); // the first is the kind of work, and NATS is only published to
    command
}

fn java(tools: &Tools, class: &str, arguments: &[&str], server: &Server, window: Window) -> Command {
    let mut command = Command::new("java");
    let jars = [tools.java.join("classes"), tools.java.join("lib/*")].map(|path| path.display().to_string()).join(":");
    command.args(["-Xms1g", "-Xmx1g", "-cp", &jars]).arg(format!("org.tenonmq.benches.{class}"));
    command.args(["--name-server", &server.name_server.to_string(), "--pid", &server.pid.to_string()]);
    command.args(["--warm-up", &window.warm_up.max(3).to_string(), "--seconds", &window.seconds.to_string()]);
    command.args(arguments);
    command
}
