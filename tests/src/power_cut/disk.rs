//! A disk that knows what a power cut leaves.
//!
//! Files are real ones. Content is safe once its file was synced, a name once its directory was. At the cut each sector
//! that was written since is there or not, and each name that is not safe may be what it was before. A sync of a mapped
//! range counts for the whole file. What is removed stays removed.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use tenonmq_storage::fs::{DirEntry, FileSystem, OpenMode, RealFs, Space};

use crate::simulation::{
    dice::Dice,
    disk::{BOOT_ID, after_power_loss, each_file},
};

#[derive(Default)]
struct State {
    /// Content at the last sync. What is not here was never synced.
    synced: BTreeMap<PathBuf, Vec<u8>>,
    /// Names that are not safe, and what they stood for when they were: nothing, or this content.
    names: BTreeMap<PathBuf, Option<Vec<u8>>>,
    /// Files that were opened or written here. Of others it is not known what was synced; a cut leaves them.
    known: std::collections::BTreeSet<PathBuf>,
    is_off: bool,
}

pub(super) struct PowerDisk {
    root: PathBuf,
    boot: u64,
    state: Mutex<State>,
}

impl PowerDisk {
    /// An empty disk.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), boot: 0, state: Mutex::default() }
    }

    /// Cuts the power: nothing is synced any more. What is left is another disk, over another directory.
    pub(super) fn cut(&self, left: &Path, dice: &mut Dice) -> io::Result<Self> {
        let mut state = self.state.lock();
        state.is_off = true;
        let mut synced = BTreeMap::new();
        std::fs::create_dir_all(left)?;
        each_file(&self.root, &mut |path| {
            let now = match std::fs::read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()), // removed just now
                read => read?,
            };
            let Some(after) = state.left_of(path, now, dice) else { return Ok(()) };
            let target = left.join(path.strip_prefix(&self.root).map_err(io::Error::other)?);
            if let Some(folder) = target.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&target, &after)?;
            synced.insert(target, after);
            Ok(())
        })?;
        let known = synced.keys().cloned().collect();
        let state = State { synced, known, ..State::default() };
        Ok(Self { root: left.to_owned(), boot: self.boot + 1, state: Mutex::new(state) })
    }

    fn synced(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.has_power()?;
        let content = std::fs::read(path)?;
        state.synced.insert(path.to_owned(), content);
        Ok(())
    }
}

impl State {
    fn has_power(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("the power was cut")) } else { Ok(()) }
    }

    fn left_of(&self, path: &Path, now: Vec<u8>, dice: &mut Dice) -> Option<Vec<u8>> {
        if !self.known.contains(path) {
            return Some(now);
        }
        if let Some(before) = self.names.get(path)
            && dice.percent(30)
        {
            return before.clone();
        }
        let kept = self.synced.get(path);
        let mut after = after_power_loss(&now, kept, dice);
        if let Some(kept) = kept
            && kept.len() < after.len()
            && dice.percent(50)
        {
            after.truncate(kept.len()); // the new length was not synced either
        }
        Some(after)
    }

    /// A name that was not there, or is about to stand for something else.
    fn name_changes(&mut self, path: &Path) {
        if !self.names.contains_key(path) {
            let before = if path.exists() { self.synced.get(path).cloned() } else { None };
            self.names.insert(path.to_owned(), before);
        }
        self.known.insert(path.to_owned());
    }
}

impl FileSystem for PowerDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        let mut state = self.state.lock();
        state.has_power()?;
        if matches!(mode, OpenMode::CreateNew | OpenMode::CreateOrOpen) && !path.exists() {
            state.name_changes(path);
        }
        state.known.insert(path.to_owned());
        RealFs.open(path, mode)
    }

    fn preallocate(&self, file: &File, path: &Path, offset: u64, len: u64) -> io::Result<()> {
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

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.has_power()?;
        state.names.retain(|name, _| name.parent() != Some(path));
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new(BOOT_ID) {
            return Ok(format!("boot {}\n", self.boot).into_bytes());
        }
        RealFs.read(path)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        state.has_power()?;
        if !path.exists() {
            state.name_changes(path);
        }
        state.known.insert(path.to_owned());
        RealFs.write(path, content)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.has_power()?;
        state.name_changes(to);
        match state.synced.remove(from) {
            Some(content) => state.synced.insert(to.to_owned(), content),
            None => state.synced.remove(to),
        };
        state.names.remove(from);
        RealFs.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.has_power()?;
        state.synced.remove(path);
        state.names.remove(path);
        RealFs.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.has_power()?;
        state.synced.retain(|file, _| !file.starts_with(path));
        RealFs.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        RealFs.list(path)
    }

    fn exists(&self, path: &Path) -> bool {
        RealFs.exists(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        RealFs.space(path)
    }
}
