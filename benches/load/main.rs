//! A load generator for remoting brokers: ours, Apache's, and a null server that stores nothing.
//!
//! ```text
//! load send        --broker 127.0.0.1:10911 --connections 8 --in-flight 32 --seconds 10 [--batch 32 --size 128] [--pid PID] [--json]
//! load transaction --broker 127.0.0.1:10911 --connections 8 --in-flight 32
//! load send        --broker 127.0.0.1:10911 --rate 20000          also: transaction. An open loop, for latencies
//! load pull        --broker 127.0.0.1:10911 --connections 8
//! load offset      --broker 127.0.0.1:10911 --connections 8 --in-flight 32
//! load send-back   --broker 127.0.0.1:10911 --connections 8 --in-flight 32 [--dead-letters | --delay-level N]
//! load pop         --broker 127.0.0.1:10911 --connections 8 [--batch-ack]
//! load timer       --broker 127.0.0.1:10911 --topic T --timers 1000000 --rate 50000 --lead 60
//! load pending     --broker 127.0.0.1:10911 --count 1000000 [--pid PID]
//! load fill        --broker 127.0.0.1:10911 [--topics 10000 --queues 8] [--idle-connections 10000] [--groups 1000]
//!                  [--pending 1000000] [--timers 1000000] [--hold SECONDS]
//! load fill        --log-gib 100 --store DIR                      no broker runs on DIR yet
//! load ready       --dir DIR [--fill-gib 10] -- target/release/tenonmq --set storePathRootDir={dir} …
//! load null        --listen 127.0.0.1:7911                        answers every request with success: the floor
//! load baseline sendfile  --listen 127.0.0.1:7912                 to be measured by `load pull`
//! load baseline fdatasync --dir DIR
//! ```
//!
//! | workload | one operation |
//! |---|---|
//! | `send` | one message stored and answered; with `--batch` above 1, one of the messages of a SEND_BATCH_MESSAGE, whose latency is the request's |
//! | `transaction` | a half message, then its commit, both answered |
//! | `pull` | one message of a pull of `--batch` |
//! | `offset` | one UPDATE_CONSUMER_OFFSET, answered |
//! | `send-back` | one CONSUMER_SEND_MSG_BACK of a stored message: to the retry topic, after a delay that outlasts the run (level 9, 5 minutes of the default levels), or at once to the dead letters |
//! | `pop` | one message popped (`--batch`, at most 32, in one request) and acknowledged, by a request of its own or with `--batch-ack` all by one; every connection pops a queue of its own |
//! | `timer` | one message with TIMER_DELIVER_MS, sent at least `--lead` seconds before the first is due; lateness is the store timestamp of the delivered copy minus the time asked for. Private memory is read before the first send and while all are pending |
//! | `pending` | one half message of a producer group that nobody belongs to. Run `send` and `transaction` before and after it: what they cost must not depend on it. With `--pid` private memory is read before and after, then the idle server's CPU time and what it writes |
//!
//! Each connection is one thread that keeps `in-flight` requests outstanding: it reads what has arrived, and answers the
//! replies of one read with as many new requests in one write. With `--pid` the server's CPU time per operation and its
//! private memory are measured from `/proc`. Private memory is `Anonymous` of `smaps_rollup` (and swap): pages that
//! belong to this process alone, as heaps and stacks do. Mapped files, the log's above all, do not count, whether dirty
//! or not; the heap of a JVM does, and so do the pages of its files that it changed for itself.

mod baseline;
mod cli;
mod fill;
mod null;
mod peer;
mod ready;
mod report;
mod run;
mod workload;

use std::{error::Error, process::ExitCode};

use clap::Parser;

use cli::{Baseline, Cli, Mode, pending_plan, timer_plan};
use workload::{Kind, Settings, pending, timer};

fn main() -> ExitCode {
    match work(Cli::parse().mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work(mode: Mode) -> Result<(), Box<dyn Error>> {
    match mode {
        Mode::Send { load, pace } => run::run(Kind::Send, &load, pace, load.settings(Kind::Send)),
        Mode::Transaction { load, pace } => run::run(Kind::Transaction, &load, pace, load.settings(Kind::Transaction)),
        Mode::Pull(load) => run::closed(Kind::Pull, &load, load.settings(Kind::Pull)),
        Mode::Offset(load) => run::closed(Kind::Offset, &load, load.settings(Kind::Offset)),
        Mode::SendBack { load, dead_letters, delay_level } => {
            let delay_level = if dead_letters { -1 } else { i32::from(delay_level) };
            run::closed(Kind::SendBack, &load, Settings { delay_level, ..load.settings(Kind::SendBack) })
        }
        Mode::Pop { load, batch_ack } => {
            run::closed(Kind::Pop, &load, Settings { batch_ack, ..load.settings(Kind::Pop) })
        }
        Mode::Timer { load, timers, rate, lead } => {
            let outcome = timer::run(&load.settings(Kind::Pull), timer_plan(timers, rate, lead), load.pid)?;
            report::print(load.json, &outcome, outcome.json());
            if outcome.is_complete() { Ok(()) } else { Err("not every message came exactly once".into()) }
        }
        Mode::Pending { load, count, settle, idle } => {
            let outcome = pending::run(&load.settings(Kind::Send), pending_plan(count, settle, idle), load.pid)?;
            report::print(load.json, &outcome, outcome.json());
            Ok(())
        }
        Mode::Fill { load, state } => Ok(fill::run(&load, &state)?),
        Mode::Ready(plan) => Ok(ready::run(&plan)?),
        Mode::Null { listen } => Ok(null::serve(listen)?),
        Mode::Baseline(Baseline::Fdatasync(plan)) => Ok(baseline::fdatasync::run(&plan)?),
        Mode::Baseline(Baseline::Sendfile { listen, dir, size }) => {
            Ok(baseline::sendfile::serve(listen, &dir, size.max(1))?)
        }
    }
}
