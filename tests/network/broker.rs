//! The broker's process, its gauges and its memory.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::Failure;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker over a new directory.
pub(crate) struct BrokerProcess {
    pub(crate) address: SocketAddr,
    http: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl BrokerProcess {
    pub(crate) fn start(program: &Path) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let (http, port) = (free_port()?, free_port()?);
        let settings = format!(
            "bindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nnamesrvListenPort=0\nlistenPort={port}\nhttpPort={http}\n\
             storePathRootDir={}\n",
            folder.path().join("store").display()
        );
        fs::write(folder.path().join("broker.conf"), settings)?;
        let mut child = Command::new(program)
            .arg("--config")
            .arg(folder.path().join("broker.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()?;
        let out = child.stdout.take().ok_or("the broker has no output")?;
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if line.starts_with("ready") {
                    let _ = tell.send(()); // nobody waits any more when it took too long
                }
            }
        });
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let broker = Self { address: address(port), http: address(http), child, _folder: folder };
        told.recv_timeout(PATIENCE).map_err(|_| "the broker does not start")?;
        Ok(broker)
    }

    /// A gauge of the main port.
    pub(crate) fn gauge(&self, name: &str) -> Result<u64, Failure> {
        let mut page = String::new();
        let mut stream = TcpStream::connect(self.http)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut page)?;
        let is_row = |line: &&str| line.starts_with(name) && line.contains("port=\"main\"");
        let row = page.lines().find(is_row).ok_or_else(|| format!("no {name} in the metrics"))?;
        Ok(row.rsplit(' ').next().unwrap_or_default().parse::<f64>()? as u64)
    }

    /// Private memory in MiB.
    pub(crate) fn memory(&self) -> Result<u64, Failure> {
        Ok(self.memory_reader()()?)
    }

    /// Reads that, on any thread.
    pub(crate) fn memory_reader(&self) -> impl Fn() -> io::Result<u64> + Send + use<> {
        let path = format!("/proc/{}/status", self.child.id());
        move || {
            let status = fs::read_to_string(&path)?;
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
            let kib: u64 = line.trim().trim_end_matches(" kB").parse().map_err(io::Error::other)?;
            Ok(kib / 1024)
        }
    }

    /// How long it took until nothing was left of all peers.
    pub(crate) async fn is_forgotten(&self) -> Result<Duration, Failure> {
        let begin = Instant::now();
        for name in ["tenonmq_connections", "tenonmq_requests_held", "tenonmq_stuck_bytes"] {
            while self.gauge(name)? > 0 {
                if begin.elapsed() > PATIENCE {
                    return Err(format!("{name} stays at {}", self.gauge(name)?).into());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(begin.elapsed())
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        drop(self.child.kill()); // what it holds is in a directory that goes too
        drop(self.child.wait());
    }
}

/// A port that is free now, with the one two below it.
fn free_port() -> Result<u16, Failure> {
    for _ in 0..50 {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port - 2)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".into())
}
