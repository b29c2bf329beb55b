//! The simulated disk: real files in memory, of which it is known what would survive the machine.
//!
//! Killing the process loses nothing of a mapping. When the machine dies, each sector that was written since its file was
//! synced is there or not. A disk can be full, and a sync can fail.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tenonmq_storage::{
    Clock, ManualClock,
    fs::{DirEntry, FileSystem, OpenMode, RealFs, Space},
};

use super::dice::Dice;

/// What is written as a whole, or not at all.
const SECTOR: usize = 512;
pub(crate) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Default)]
struct State {
    /// Content at the last sync. What is not here was never synced.
    synced: BTreeMap<PathBuf, Vec<u8>>,
    /// By the simulated clock.
    created: BTreeMap<PathBuf, i64>,
    is_full: bool,
    syncs_fail: bool,
    used_percent: u64,
    boots: u64,
}

pub(super) struct SimDisk {
    root: PathBuf,
    clock: Arc<ManualClock>,
    /// Whether the machine may die, so that it must be known what was synced.
    may_die: bool,
    state: Mutex<State>,
}

impl SimDisk {
    pub(super) fn new(root: &Path, clock: Arc<ManualClock>, may_die: bool) -> Self {
        Self { root: root.to_owned(), clock, may_die, state: Mutex::default() }
    }

    pub(super) fn set_full(&self, is_full: bool) {
        self.state.lock().is_full = is_full;
    }

    pub(super) fn set_used_percent(&self, percent: u64) {
        self.state.lock().used_percent = percent;
    }

    pub(super) fn fail_syncs(&self, fail: bool) {
        self.state.lock().syncs_fail = fail;
    }

    /// The machine dies while no process has a file open.
    pub(super) fn lose_power(&self, dice: &mut Dice) -> io::Result<()> {
        let mut state = self.state.lock();
        state.boots += 1;
        for folder in ["commitlog", "consumequeue", "index"] {
            each_file(&self.root.join(folder), &mut |path| {
                let now = std::fs::read(path)?;
                let kept = state.synced.get(path);
                let after = after_power_loss(&now, kept, dice);
                if after != now {
                    std::fs::write(path, &after)?;
                }
                state.synced.insert(path.to_owned(), after);
                Ok(())
            })?;
        }
        // files that are written whole: old content or new
        for (path, kept) in &state.synced {
            let is_mapped = path.strip_prefix(&self.root).is_ok_and(|path| path.components().count() > 1);
            if !is_mapped && path.exists() && dice.percent(50) {
                std::fs::write(path, kept)?;
            }
        }
        Ok(())
    }

    fn synced(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.syncs_fail {
            return Err(io::Error::other("the simulated disk does not sync"));
        }
        if self.may_die {
            state.synced.insert(path.to_owned(), std::fs::read(path)?);
        }
        Ok(())
    }

    fn has_room(&self) -> io::Result<()> {
        let is_full = self.state.lock().is_full;
        if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// What is left of a file: each sector that was written since the last sync, or what was there before.
pub(crate) fn after_power_loss(now: &[u8], kept: Option<&Vec<u8>>, dice: &mut Dice) -> Vec<u8> {
    let mut after = kept.cloned().unwrap_or_default();
    after.resize(now.len(), 0);
    let share = [0, 30, 70, 100][dice.below(4)];
    for (new, old) in now.chunks(SECTOR).zip(after.chunks_mut(SECTOR)) {
        if new != old && dice.percent(share) {
            old.copy_from_slice(new);
        }
    }
    after
}

pub(crate) fn each_file(folder: &Path, work: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in RealFs.list(folder)? {
        let path = folder.join(&entry.name);
        if entry.is_dir { each_file(&path, work)? } else { work(&path)? }
    }
    Ok(())
}

impl FileSystem for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        let is_new = mode == OpenMode::CreateNew;
        let file = RealFs.open(path, mode)?;
        if is_new {
            self.state.lock().created.insert(path.to_owned(), self.clock.now_ms());
        }
        Ok(file)
    }

    fn preallocate(&self, file: &File, path: &Path, offset: u64, len: u64) -> io::Result<()> {
        self.has_room()?;
        RealFs.preallocate(file, path, offset, len)
    }

    fn zero_range(&self, file: &File, path: &Path, offset: u64, len: u64) -> io::Result<()> {
        RealFs.zero_range(file, path, offset, len)
    }

    fn set_len(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        RealFs.set_len(file, path, len)
    }

    fn sync_data(&self, _file: &File, path: &Path) -> io::Result<()> {
        self.synced(path)
    }

    fn sync_mapped(&self, path: &Path, _flush: &dyn Fn() -> io::Result<()>) -> io::Result<()> {
        self.synced(path)
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new(BOOT_ID) {
            return Ok(format!("boot {}\n", self.state.lock().boots).into_bytes());
        }
        RealFs.read(path)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        RealFs.write(path, content)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Some(content) = state.synced.remove(from) {
            state.synced.insert(to.to_owned(), content);
        }
        RealFs.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.synced.remove(path);
        state.created.remove(path);
        RealFs.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state.lock().synced.retain(|file, _| !file.starts_with(path));
        RealFs.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = RealFs.list(path)?;
        let state = self.state.lock();
        // a file was written last when the next one was begun
        let mut written = self.clock.now_ms();
        for entry in entries.iter_mut().rev() {
            let since_epoch = std::time::Duration::from_millis(written.max(0).cast_unsigned());
            entry.modified = std::time::UNIX_EPOCH + since_epoch;
            written = state.created.get(&path.join(&entry.name)).copied().unwrap_or(written);
        }
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> bool {
        RealFs.exists(path)
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let used = self.state.lock().used_percent.min(100);
        Ok(Space { total: 100 << 20, available: (100 - used) << 20 })
    }
}
