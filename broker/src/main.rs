//! The `tenonmq` binary: reads what it was told, starts, says where it is, and stops in order.

mod args;
mod banner;
mod desk;
mod open_files;

use std::error::Error;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser as _;
use tenonmq_broker::config::{ConfigError, Input, LiveConfig, Loaded, Machine, load, updates};
use tenonmq_broker::core::clock::Clock;
use tenonmq_broker::lifecycle::Running;
use tenonmq_storage::fs::RealFs;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, error, info, warn};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let started = Instant::now();
    let mut args = args::Args::parse();
    if let Some(args::Command::Admin(admin)) = args.command.take() {
        log_to_stderr("warn");
        return desk::run(admin);
    }
    log_to_stderr("info");
    match run(args, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(args: args::Args, started: Instant) -> Result<(), Box<dyn Error>> {
    let only_check = args.check;
    let input = args.input(std::env::vars_os())?;
    let machine = Machine::here(&input);
    let Loaded { config, values, warnings, without_effect } = load_with_changes(input, &machine)?;
    for warning in &warnings {
        warn!("{warning}");
    }
    debug!(keys = ?without_effect, "set, but without effect here");
    let workers = config.remoting.workers;
    let changes = updates::path(&config.data_directory);
    let live = Arc::new(LiveConfig::new(config, values, machine).keeping_changes_in(changes));
    if only_check {
        banner::print_configuration(&live);
        return Ok(());
    }
    open_files::raise_limit(live.load().remoting.max_connections);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        runtime.worker_threads(workers);
    }
    runtime.enable_all().build()?.block_on(serve(live, started))
}

/// Where changes were kept depends on the data directory, so the configuration is read twice if there are some.
fn load_with_changes(mut input: Input, machine: &Machine) -> Result<Loaded, ConfigError> {
    let loaded = load(&input, machine)?;
    input.changes = updates::kept(&RealFs, &loaded.config.data_directory)?;
    if input.changes.is_none() { Ok(loaded) } else { load(&input, machine) }
}

async fn serve(config: Arc<LiveConfig>, started: Instant) -> Result<(), Box<dyn Error>> {
    // Before anything is started: a signal during recovery has to stop it in order as well.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = Running::start(config.clone(), Clock::system()).await?;
    banner::print(&config.load(), &running, started).await;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal = name, "stopping");
    let limit = config.load().shutdown_timeout;
    tokio::select! {
        stopped = tokio::time::timeout(limit, running.shutdown()) => match stopped {
            Ok(()) => {
                info!("stopped");
                Ok(())
            }
            Err(_) => Err(format!("not stopped within {limit:?}; the next start recovers").into()),
        },
        _ = interrupt.recv() => Err("stopped at once by a second signal; the next start recovers".into()),
    }
}

fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

/// The error with everything that led to it, on one line.
fn report(error: &dyn Error) {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    error!("{text}");
}
