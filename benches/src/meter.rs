//! What the server's process used while it was measured, read from `/proc`.

use std::{fs, io, time::Duration};

/// The start of a measurement.
pub struct ServerMeter {
    pid: u32,
    cpu: Duration,
}

/// The end of one.
#[derive(Debug, Clone, Copy)]
pub struct ServerUse {
    /// User and system time of all threads.
    pub cpu: Duration,
    /// Private pages, clean and dirty, in bytes: mappings of files do not count.
    pub private_bytes: u64,
}

impl ServerMeter {
    /// Begins with what the process has used so far.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn start(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, cpu: cpu(pid)? })
    }

    /// What it used since.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn stop(&self) -> io::Result<ServerUse> {
        Ok(ServerUse { cpu: cpu(self.pid)?.saturating_sub(self.cpu), private_bytes: private_bytes(self.pid)? })
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("cannot read {what}"))
}

/// Fields 14 and 15 of `stat` in clock ticks; the command name before them may hold anything, so count from its end.
fn cpu(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).ok_or_else(|| malformed("stat"))?;
    let mut fields = rest.split_whitespace().skip(11).map(str::parse::<u64>);
    let (Some(Ok(user)), Some(Ok(system))) = (fields.next(), fields.next()) else { return Err(malformed("stat")) };
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_micros((user + system) * 1_000_000 / ticks_per_second))
}

fn private_bytes(pid: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let of_files_too = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let anonymous = of_files_too("Anonymous:").ok_or_else(|| malformed("smaps_rollup"))?;
    Ok(anonymous * 1024)
}
