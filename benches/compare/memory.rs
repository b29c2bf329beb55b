//! Memory that a virtual machine has not used yet is dear: its host backs each page at the first touch, whoever touches
//! it. What is free is read through the page cache once, so that all servers find memory as after a day of work.

use std::{
    error::Error,
    fs::{self, File},
    io::Read,
    path::Path,
};

/// Left to the servers' heaps while the cache is full.
const SPARE: u64 = 1 << 30;

/// Touches what is available, by reading a file without content.
pub(crate) fn touch(work: &Path) -> Result<(), Box<dyn Error>> {
    let path = work.join("memory");
    let file = File::create(&path)?;
    file.set_len(available()?.saturating_sub(SPARE))?;
    let outcome = read(&path);
    fs::remove_file(path)?;
    outcome
}

fn read(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

fn available() -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).ok_or("no MemAvailable")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
