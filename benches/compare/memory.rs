//! Memory that a virtual machine has not used yet is dear: its host backs each page at the first touch, and takes it back
//! soon after it is free. So that all servers find memory as after weeks of work, the page cache is kept full.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Left to the servers' heaps while the cache is full.
const SPARE: u64 = 1 << 30;

/// Fills the page cache with a file without content, which gives way to whatever else needs the memory.
#[derive(Default)]
pub(crate) struct FullCache(Option<PathBuf>);

impl FullCache {
    /// One for all the memory that is available now, or none if it should be left as it is.
    pub(crate) fn new(work: &Path, as_found: bool) -> Result<Self, Box<dyn Error>> {
        if as_found {
            return Ok(Self::default());
        }
        let path = work.join("memory");
        File::create(&path)?.set_len(available()?.saturating_sub(SPARE))?;
        Ok(Self(Some(path)))
    }

    /// Brings in what is not there, or not any more.
    pub(crate) fn fill(&self) -> io::Result<()> {
        let Some(path) = &self.0 else { return Ok(()) };
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 1 << 20];
        while file.read(&mut buffer)? > 0 {}
        Ok(())
    }
}

impl Drop for FullCache {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path); // it takes no room on the disk
        }
    }
}

fn available() -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).ok_or("no MemAvailable")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
