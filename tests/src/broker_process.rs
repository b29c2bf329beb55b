//! The broker as a process of its own, for those who kill it.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Why a run ends before its verdict.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Longest start or stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Retries come after one second; undecided transactions are asked about after one.
const SETTINGS: &str = "\
bindAddress=127.0.0.1
brokerIP1=127.0.0.1
brokerName=broker-a
messageDelayLevel=1s 2s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s
transactionTimeOut=1000
transactionCheckInterval=1000
transactionCheckMax=100
";

/// A broker with its name server, on fixed ports over one directory.
pub struct BrokerProcess {
    program: PathBuf,
    folder: PathBuf,
    name_server_port: u16,
    child: Child,
}

impl BrokerProcess {
    /// Starts it over a new directory below `folder`, with more `settings`, lines of Apache's file format.
    ///
    /// # Errors
    /// It does not say that it is ready; what it logged last.
    pub async fn start(program: &Path, folder: &Path, settings: &str) -> Result<Self, Failure> {
        let (name_server_port, broker_port) = (free_port()?, free_port()?);
        let store = folder.join("store");
        let settings = format!("{SETTINGS}{settings}listenPort={broker_port}\nstorePathRootDir={}\n", store.display());
        fs::write(folder.join("broker.conf"), settings)?;
        let child = launch(program, folder, name_server_port).await?;
        Ok(Self { program: program.to_owned(), folder: folder.to_owned(), name_server_port, child })
    }

    /// What every such broker is set to, beside its ports and its directory.
    pub fn settings() -> impl Iterator<Item = (&'static str, &'static str)> {
        SETTINGS.lines().filter_map(|line| line.split_once('='))
    }

    /// `host:port` of the name server.
    pub fn name_server(&self) -> String {
        format!("127.0.0.1:{}", self.name_server_port)
    }

    /// SIGKILL. One that has ended already is fine.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after a kill.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn revive(&mut self) -> Result<(), Failure> {
        self.child = launch(&self.program, &self.folder, self.name_server_port).await?;
        Ok(())
    }

    /// Starts it again after a kill, and kills it when so much time has passed, however far it is.
    ///
    /// # Errors
    /// The system's, or that it ended by itself.
    pub async fn kill_while_it_starts(&mut self, after: Duration) -> Result<(), Failure> {
        self.child = spawn(&self.program, &self.folder, self.name_server_port)?;
        let mut out = self.child.stdout.take().ok_or("the broker has no output")?;
        let reader = thread::spawn(move || io::copy(&mut out, &mut io::sink()));
        tokio::time::sleep(after).await;
        self.is_running()?;
        self.kill()?;
        drop(reader.join()); // the pipe is closed
        Ok(())
    }

    /// Asks it to stop in order, and does not wait.
    ///
    /// # Errors
    /// It has ended by itself.
    pub fn ask_to_stop(&mut self) -> Result<(), Failure> {
        self.is_running()?;
        Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status()?;
        Ok(())
    }

    /// That it has not ended by itself.
    ///
    /// # Errors
    /// It has.
    pub fn is_running(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            Some(status) => {
                Err(format!("the broker has ended by itself with {status}{}", end_of_log(&self.folder)).into())
            }
            None => Ok(()),
        }
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// It had ended before, or ends with a failure, or not in time.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        self.ask_to_stop()?;
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

fn spawn(program: &Path, folder: &Path, name_server_port: u16) -> Result<Child, Failure> {
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let child = Command::new(program)
        .arg("--config")
        .arg(folder.join("broker.conf"))
        .args(["--namesrv-port", &name_server_port.to_string()])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(child)
}

async fn launch(program: &Path, folder: &Path, name_server_port: u16) -> Result<Child, Failure> {
    let mut child = spawn(program, folder, name_server_port)?;
    let out = child.stdout.take().ok_or("the broker has no output")?;
    let ready = tokio::task::spawn_blocking(move || says_ready(out)).await?;
    if ready {
        return Ok(child);
    }
    child.kill()?;
    child.wait()?;
    Err(format!("the broker does not start{}", end_of_log(folder)).into())
}

fn end_of_log(folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let end: Vec<&str> = log.lines().rev().take(10).collect();
    format!("; the end of its log, last line first:\n{}", end.join("\n"))
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
