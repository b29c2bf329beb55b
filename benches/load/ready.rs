//! How long a server takes from the start of its process to its first answer.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use clap::Args;
use serde_json::json;
use tenonmq_benches::ServerMeter;
use tenonmq_protocol::{
    code::RequestCode,
    frame::Serialization,
    message::OffsetMessageId,
    writer::{Envelope, FrameWriter},
};

use crate::{
    peer::Peer,
    report,
    workload::{Sender, Settings, invalid, pipeline, queue_of},
};

/// What is replaced in the arguments by the data directory.
const DIR: &str = "{dir}";
/// A server that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_micros(200);

/// What is asked for.
#[derive(Args, Clone)]
pub(crate) struct Plan {
    /// Folder for the data directories: one is made in it for each round, and removed.
    #[arg(long)]
    dir: PathBuf,
    /// Where the server will listen.
    #[arg(long, default_value = "127.0.0.1:10911")]
    broker: SocketAddr,
    /// Starts to be measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// GiB of log to be sent before, once; then each round begins with `kill -9`. 0: each begins with an empty directory.
    #[arg(long, default_value_t = 0)]
    fill_gib: u64,
    /// Body bytes of the messages that fill the log.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Topic for them; it must exist, with eight queues at least.
    #[arg(long, default_value = "BenchmarkTest")]
    topic: String,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Command that starts the server, with its arguments; `{dir}` stands for the data directory. It must not put the
    /// server into the background.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Measures and prints.
pub(crate) fn run(plan: &Plan) -> io::Result<()> {
    let rounds = plan.rounds.max(1);
    let mut starts = if plan.fill_gib > 0 { after_kills(plan, rounds)? } else { on_nothing(plan, rounds)? };
    let private: Vec<u64> = starts.iter().map(|start| start.private_bytes).collect();
    let mut millis: Vec<f64> = starts.drain(..).map(|start| start.took.as_secs_f64() * 1000.0).collect();
    let in_order = millis.clone();
    millis.sort_by(f64::total_cmp);
    let median = millis.get(millis.len() / 2).copied().unwrap_or_default();
    let figures = json!({
        "workload": "ready",
        "parameters": { "fill_gib": plan.fill_gib, "size": plan.size, "command": plan.command },
        "milliseconds": in_order,
        "median_ms": median,
        "private_bytes": private,
    });
    let text = format!("Ready: {median:.1} ms from start to first answer (median of {rounds}: {in_order:.1?})\n");
    report::print(plan.json, &text, figures);
    Ok(())
}

/// One measured start.
struct Start {
    took: Duration,
    private_bytes: u64,
}

fn on_nothing(plan: &Plan, rounds: usize) -> io::Result<Vec<Start>> {
    let round = |_| {
        let folder = tempfile::tempdir_in(&plan.dir)?;
        Server::start(plan, folder.path())?.measured()
    };
    (0..rounds).map(round).collect()
}

fn after_kills(plan: &Plan, rounds: usize) -> io::Result<Vec<Start>> {
    let folder = tempfile::tempdir_in(&plan.dir)?;
    let mut server = Server::start(plan, folder.path())?;
    fill(plan)?;
    server.kill()?;
    (0..rounds).map(|_| Server::start(plan, folder.path())?.measured()).collect()
}

/// A running server; it is killed when this goes.
struct Server {
    child: Child,
    took: Duration,
}

impl Server {
    /// Starts it and waits for its first answer.
    fn start(plan: &Plan, folder: &Path) -> io::Result<Self> {
        if TcpStream::connect(plan.broker).is_ok() {
            return Err(io::Error::other(format!("something listens on {} already", plan.broker)));
        }
        let store = folder.join("store");
        let words: Vec<String> = plan.command.iter().map(|word| word.replace(DIR, &store.to_string_lossy())).collect();
        let (program, arguments) = words.split_first().ok_or_else(|| io::Error::other("no command"))?;
        let log = File::create(folder.join("output"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = Instant::now();
        let mut server = Self { child: command.spawn()?, took: Duration::ZERO };
        while !answers(plan.broker) {
            if let Some(status) = server.child.try_wait()? {
                let said = std::fs::read_to_string(folder.join("output")).unwrap_or_default();
                return Err(io::Error::other(format!("the server ended with {status}: {said}")));
            }
            if started.elapsed() > PATIENCE {
                return Err(io::Error::other("the server does not answer"));
            }
            thread::sleep(PAUSE);
        }
        server.took = started.elapsed();
        Ok(server)
    }

    fn measured(mut self) -> io::Result<Start> {
        let private_bytes = ServerMeter::start(self.child.id())?.stop()?.private_bytes;
        self.kill()?;
        Ok(Start { took: self.took, private_bytes })
    }

    /// As `kill -9` does.
    fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.kill();
    }
}

/// Whether it says how it is (GET_BROKER_RUNTIME_INFO).
fn answers(broker: SocketAddr) -> bool {
    let ask = || {
        let mut peer = Peer::connect(broker)?;
        let mut frame = BytesMut::new();
        let envelope = Envelope::request(RequestCode::GET_BROKER_RUNTIME_INFO, 0);
        FrameWriter::begin(&mut frame, Serialization::Json, &envelope).finish(0);
        let write = |_, out: &mut Vec<u8>| out.extend_from_slice(&frame);
        pipeline::some(&mut peer, 1, 1, write, |_| Ok(()))
    };
    ask().is_ok()
}

/// Sends until the log is that long.
fn fill(plan: &Plan) -> io::Result<()> {
    let settings = Settings {
        broker: plan.broker,
        connections: 8,
        in_flight: 32,
        size: plan.size.max(1),
        batch: 1,
        topic: plan.topic.clone(),
        broker_name: String::new(),
        delay_level: 0,
        batch_ack: false,
    };
    let wanted = i64::try_from(plan.fill_gib << 30).map_err(io::Error::other)?;
    thread::scope(|scope| {
        let senders: Vec<_> = (0..settings.connections)
            .map(|index| {
                scope.spawn({
                    let settings = &settings;
                    move || send_until(settings, index, wanted)
                })
            })
            .collect();
        let ended = |sender: thread::ScopedJoinHandle<'_, io::Result<()>>| {
            sender.join().unwrap_or_else(|_| Err(io::Error::other("a sender died")))
        };
        senders.into_iter().try_for_each(ended)
    })
}

fn send_until(settings: &Settings, index: usize, wanted: i64) -> io::Result<()> {
    let mut peer = Peer::connect(settings.broker)?;
    let mut sender = Sender::new(settings, queue_of(index));
    let mut reached = 0;
    while reached < wanted {
        let write = |opaque, out: &mut Vec<u8>| sender.write(opaque, out);
        pipeline::some(&mut peer, settings.in_flight, 4096, write, |answer| {
            let id = OffsetMessageId::from_str(answer.fields.text("msgId").map_err(invalid)?).map_err(invalid)?;
            reached = reached.max(id.offset);
            Ok(())
        })?;
    }
    Ok(())
}
