//! Processes that must not outlive this program.
//!
//! Children are known here from their start until they are waited for, so that their ids cannot have been given away. A
//! signal ends them all, then this program. Apache's script detaches its processes and leaves their ids in files: those
//! are looked up below the work folder, and trusted only if the command line names it too.

use std::{
    error::Error,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// A child that is killed and waited for when this goes.
pub(crate) struct Owned(Child);

impl Owned {
    /// Starts it with its output in `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let output = File::create(log)?;
        let errors = output.try_clone()?;
        Self::spawn(command.stdout(output).stderr(errors))
    }

    fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut running = RUNNING.lock();
        let child = command.stdin(Stdio::null()).spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", command.get_program().to_string_lossy()))
        })?;
        running.push(child.id());
        Ok(Self(child))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut running = RUNNING.lock();
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
        running.retain(|&id| id != self.0.id());
    }
}

/// Runs a command to its end, at most for `limit`, and returns what it printed; an error has the end of its error output.
pub(crate) fn run(command: &mut Command, limit: Duration, work: &Path) -> Result<String, Box<dyn Error>> {
    let (printed, complained) = (work.join("stdout"), work.join("stderr"));
    let mut child = Owned::spawn(command.stdout(File::create(&printed)?).stderr(File::create(&complained)?))?;
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.ended()? {
            break status;
        }
        if Instant::now() > end {
            return Err(format!("not finished after {} s", limit.as_secs()).into());
        }
        thread::sleep(Duration::from_millis(10));
    };
    if !status.success() {
        let text = String::from_utf8_lossy(&fs::read(&complained)?).trim().to_owned();
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no word of why");
        return Err(format!("{status}: {last}").into());
    }
    Ok(fs::read_to_string(printed)?)
}

/// From now on a signal ends every process that was started, then this one.
pub(crate) fn end_with_signals(work: &Path) -> io::Result<()> {
    let work = work.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        let running = RUNNING.lock(); // never given back: nothing starts any more
        running.iter().for_each(|&id| kill(id));
        clear(&work);
        eprintln!("compare: interrupted");
        std::process::exit(130);
    });
    Ok(())
}

/// Ends what Apache's script left below the work folder, and removes what is in it.
pub(crate) fn clear(work: &Path) {
    for folder in folders(work) {
        end_detached(&folder);
    }
    for folder in folders(work) {
        let _ = fs::remove_dir_all(folder); // what is left is in the way of nobody
    }
}

/// Ends the processes whose ids Apache's script left in `folder`. Their data is of no use to anybody, so they are killed.
pub(crate) fn end_detached(folder: &Path) {
    for name in ["broker", "namesrv"] {
        let file = folder.join(format!("{name}.pid"));
        let Some(id) = detached(&file, folder) else { continue };
        kill(id);
        while detached(&file, folder).is_some() {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_file(file); // the folder goes next
    }
}

/// The process in that file, if it is still the one that was started for `folder`.
pub(crate) fn detached(file: &Path, folder: &Path) -> Option<u32> {
    let id = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let line = fs::read(format!("/proc/{id}/cmdline")).ok()?; // empty once it is dead
    String::from_utf8_lossy(&line).contains(&*folder.to_string_lossy()).then_some(id)
}

fn folders(work: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(work).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn kill(id: u32) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    if let Some(id) = id {
        let _ = kill_process(id, Signal::KILL); // it may have ended
    }
}
