//! The broker's process.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::Failure;

/// Longest start or stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Retries come after one second; undecided transactions are asked about after one.
const SETTINGS: &str = "\
bindAddress=127.0.0.1
brokerIP1=127.0.0.1
brokerName=broker-a
mappedFileSizeCommitLog=67108864
messageDelayLevel=1s 2s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s
transactionTimeOut=1000
transactionCheckInterval=1000
transactionCheckMax=100
";

/// A broker with its name server, on fixed ports over one directory.
pub(crate) struct BrokerProcess {
    program: PathBuf,
    folder: PathBuf,
    name_server_port: u16,
    child: Child,
}

impl BrokerProcess {
    pub(crate) async fn start(program: &Path, folder: &Path) -> Result<Self, Failure> {
        let (name_server_port, broker_port) = (free_port()?, free_port()?);
        let store = folder.join("store");
        let settings = format!("{SETTINGS}listenPort={broker_port}\nstorePathRootDir={}\n", store.display());
        fs::write(folder.join("broker.conf"), settings)?;
        let child = launch(program, folder, name_server_port).await?;
        Ok(Self { program: program.to_owned(), folder: folder.to_owned(), name_server_port, child })
    }

    pub(crate) fn name_server(&self) -> String {
        format!("127.0.0.1:{}", self.name_server_port)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after a kill.
    pub(crate) async fn revive(&mut self) -> Result<(), Failure> {
        self.child = launch(&self.program, &self.folder, self.name_server_port).await?;
        Ok(())
    }

    /// Stops it in order.
    pub(crate) async fn stop(&mut self) -> Result<(), Failure> {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("the broker has ended by itself with {status}").into());
        }
        Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status()?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("the broker ended with {status}").into()),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        Err("the broker does not stop".into())
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        drop(self.child.kill()); // if it still runs, the run has failed already
        drop(self.child.wait());
    }
}

async fn launch(program: &Path, folder: &Path, name_server_port: u16) -> Result<Child, Failure> {
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let mut child = Command::new(program)
        .arg("--config")
        .arg(folder.join("broker.conf"))
        .args(["--namesrv-port", &name_server_port.to_string()])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let out = child.stdout.take().ok_or("the broker has no output")?;
    let ready = tokio::task::spawn_blocking(move || says_ready(out)).await?;
    if ready {
        return Ok(child);
    }
    child.kill()?;
    child.wait()?;
    let log = fs::read_to_string(folder.join("log"))?;
    let end: Vec<&str> = log.lines().rev().take(10).collect();
    Err(format!("the broker does not start; the end of its log, last line first:\n{}", end.join("\n")).into())
}

/// Waits for the line that says so. All else that is printed is read and dropped, so that the broker never waits.
fn says_ready(out: ChildStdout) -> bool {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if line.starts_with("ready") {
                let _ = tell.send(()); // nobody waits any more when it took too long
            }
        }
    });
    told.recv_timeout(PATIENCE).is_ok()
}

/// A port that is free now, with the one two below it, which the broker takes too.
fn free_port() -> Result<u16, Failure> {
    for _ in 0..50 {
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port().clamp(2_000, 60_000) / 2 + 9_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port - 2) && free(port + 1) {
            return Ok(port);
        }
    }
    Err("no free port".into())
}
