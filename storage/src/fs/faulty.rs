//! A file system that fails on request, for tests.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use parking_lot::Mutex;

use super::{DirEntry, FileSystem, Gate, OpenMode, RealFs, Space, Strike};

/// Kinds of operation that [`FaultyFs`] can make fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Opening an existing file.
    Open,
    /// Creating a file.
    Create,
    /// Reserving blocks.
    Preallocate,
    /// Making a file durable.
    Sync,
    /// Making a directory durable.
    SyncDir,
    /// Renaming.
    Rename,
    /// Removing a file or directory.
    Remove,
    /// Writing a whole file or a part of it.
    Write,
    /// Writing to blocks that were reserved before.
    WriteReserved,
    /// Setting the length of a file.
    SetLen,
    /// Reading a whole file or a part of it.
    Read,
    /// Listing a directory, or asking for the space of the partition.
    List,
    /// Creating a directory.
    CreateDir,
}

impl Op {
    /// Whether it needs space on the disk that was not reserved before.
    pub(super) fn takes_space(self) -> bool {
        matches!(self, Self::Create | Self::CreateDir | Self::Preallocate | Self::Write)
    }
}

/// When and how an operation fails.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// This many calls still succeed first.
    pub after: u64,
    /// This many calls fail then; `u64::MAX` for all.
    pub times: u64,
    /// What the failing calls answer.
    pub kind: io::ErrorKind,
}

#[derive(Debug, Default)]
struct Plan {
    faults: HashMap<Op, Fault>,
    calls: HashMap<Op, u64>,
    total: u64,
    strike: Option<Strike>,
    /// What the last call was that failed.
    struck: Option<String>,
    space: Option<Space>,
}

/// The real file system with faults in it. Without a fault set it behaves as [`RealFs`].
#[derive(Debug, Default)]
pub struct FaultyFs {
    plan: Mutex<Plan>,
    /// Whether syncs that do not fail do nothing.
    lazy: bool,
    /// Where syncs wait while a test keeps it closed.
    syncs: Gate,
}

impl FaultyFs {
    /// A file system without faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, but what would make data durable does nothing: tests do not pull the plug, and disks are slow.
    pub fn lazy() -> Self {
        Self { lazy: true, ..Self::default() }
    }

    /// Makes every further `op` fail with `kind`.
    pub fn fail(&self, op: Op, kind: io::ErrorKind) {
        self.fail_with(op, Fault { after: 0, times: u64::MAX, kind });
    }

    /// Makes `op` fail as `fault` says, counted from now.
    pub fn fail_with(&self, op: Op, fault: Fault) {
        self.plan.lock().faults.insert(op, fault);
    }

    /// Ends the fault of `op`.
    pub fn heal(&self, op: Op) {
        self.plan.lock().faults.remove(&op);
    }

    /// Makes [`FileSystem::space`] answer this instead of the truth; `None` for the truth.
    pub fn set_space(&self, space: Option<Space>) {
        self.plan.lock().space = space;
    }

    /// How often `op` was asked for, failed calls included.
    pub fn calls(&self, op: Op) -> u64 {
        self.plan.lock().calls.get(&op).copied().unwrap_or(0)
    }

    /// How many calls of any kind there were, failed ones included.
    pub fn total_calls(&self) -> u64 {
        self.plan.lock().total
    }

    /// Lets trouble begin at the call with its number; `None` repairs the disk.
    pub fn strike(&self, strike: Option<Strike>) {
        self.plan.lock().strike = strike;
    }

    /// The last call that a [`Strike`] made fail: its kind and path.
    pub fn struck(&self) -> Option<String> {
        self.plan.lock().struck.clone()
    }

    /// The door before every sync: a disk is slow while it is closed.
    pub fn syncs(&self) -> &Gate {
        &self.syncs
    }

    fn check(&self, op: Op, path: &Path) -> io::Result<()> {
        let mut plan = self.plan.lock();
        *plan.calls.entry(op).or_default() += 1;
        let number = plan.total;
        plan.total += 1;
        if let Some(kind) = plan.strike.and_then(|strike| strike.answer(number, op)) {
            plan.struck = Some(format!("{op:?} {}", path.display()));
            return Err(io::Error::new(kind, format!("injected fault: {op:?}, call {number}")));
        }
        let Some(fault) = plan.faults.get_mut(&op) else { return Ok(()) };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        if fault.times == 0 {
            return Ok(());
        }
        if fault.times != u64::MAX {
            fault.times -= 1;
        }
        Err(io::Error::new(fault.kind, format!("injected fault: {op:?}")))
    }
}

impl FaultyFs {
    /// Writes all, or the first half when it fails, as a disk does that fills up.
    fn write_some(&self, op: Op, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        let checked = self.check(op, path);
        let len = if checked.is_ok() { bytes.len() } else { bytes.len() / 2 };
        let written = RealFs.write_at(file, path, bytes.get(..len).unwrap_or_default(), offset);
        checked.and(written)
    }
}

impl FileSystem for FaultyFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        let creates = match mode {
            OpenMode::CreateNew => true,
            OpenMode::CreateOrOpen => !path.exists(),
            OpenMode::Read | OpenMode::ReadWrite => false,
        };
        self.check(if creates { Op::Create } else { Op::Open }, path)?;
        RealFs.open(path, mode)
    }

    fn preallocate(&self, file: &File, path: &Path, offset: u64, len: u64) -> io::Result<()> {
        self.check(Op::Preallocate, path)?;
        RealFs.preallocate(file, path, offset, len)
    }

    fn zero_range(&self, file: &File, path: &Path, offset: u64, len: u64) -> io::Result<()> {
        self.check(Op::Write, path)?;
        RealFs.zero_range(file, path, offset, len)
    }

    fn set_len(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.check(Op::SetLen, path)?;
        RealFs.set_len(file, path, len)
    }

    fn read_at(&self, file: &File, path: &Path, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check(Op::Read, path)?;
        RealFs.read_at(file, path, bytes, offset)
    }

    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_some(Op::Write, file, path, bytes, offset)
    }

    fn write_reserved(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_some(Op::WriteReserved, file, path, bytes, offset)
    }

    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        self.syncs.pass();
        self.check(Op::Sync, path)?;
        if self.lazy { Ok(()) } else { RealFs.sync_data(file, path) }
    }

    fn sync_mapped(&self, path: &Path, flush: &dyn Fn() -> io::Result<()>) -> io::Result<()> {
        self.syncs.pass();
        self.check(Op::Sync, path)?;
        if self.lazy { Ok(()) } else { flush() }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Op::SyncDir, path)?;
        if self.lazy { Ok(()) } else { RealFs.sync_dir(path) }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.check(Op::Read, path)?;
        RealFs.read(path)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if let Err(error) = self.check(Op::Write, path) {
            let first = content.get(..content.len() / 2).unwrap_or_default();
            let opened = RealFs.open(path, OpenMode::CreateOrOpen);
            drop(opened.and_then(|file| RealFs.write_at(&file, path, first, 0)));
            return Err(error);
        }
        RealFs.write(path, content)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Op::Rename, to)?;
        RealFs.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check(Op::Remove, path)?;
        RealFs.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.check(Op::Remove, path)?;
        RealFs.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.check(Op::CreateDir, path)?;
        RealFs.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.check(Op::List, path)?;
        RealFs.list(path)
    }

    fn exists(&self, path: &Path) -> bool {
        RealFs.exists(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.check(Op::List, path)?;
        let planned = self.plan.lock().space;
        planned.map_or_else(|| RealFs.space(path), Ok)
    }
}
