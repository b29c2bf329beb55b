//! Whatever bytes arrive: one body for each kind of input, driven by random cases on stable Rust and by `cargo fuzz`.
//!
//! A body takes any bytes and panics when a promise is broken: what decodes is encoded and decoded to the same thing, an
//! error says which field, and what is held stays in proportion to the input. `tests/tests/fuzzing.rs` runs them all for a
//! moment; `fuzz/` wraps each for libFuzzer, which `fuzz/run` starts with the same [`Target::seeds`].

mod batch;
mod config_files;
mod filter;
mod frame;
mod headers;
mod records;
pub mod recovery;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Longest input that is taken from a seed, in bytes.
pub const MAX_INPUT: usize = 8 << 10;

/// One kind of input.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, also that of its file in `fuzz/fuzz_targets` and of its folder in `fuzz/seeds`.
    pub name: &'static str,
    /// What is tried with some bytes.
    pub body: fn(&[u8]),
    /// Captured bytes to begin with: folders and files below the repository's root.
    captured: &'static [&'static str],
    /// Random cases of one short run.
    pub cases: u32,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target { name: "frame", body: frame::frames, captured: &["golden/wire"], cases: 1500 },
    Target { name: "headers", body: headers::headers, captured: &["golden/wire"], cases: 1000 },
    Target { name: "records", body: records::records, captured: LOGS, cases: 1500 },
    Target { name: "batch", body: batch::batches, captured: &[], cases: 1500 },
    Target { name: "filter", body: filter::filters, captured: &[], cases: 1500 },
    Target { name: "config_files", body: config_files::config_files, captured: CONFIGS, cases: 200 },
    Target { name: "recovery", body: recovery::recovery, captured: &[], cases: 60 },
];

const LOGS: &[&str] =
    &["golden/store/clean/data/commitlog", "golden/store/killed/data/commitlog", "golden/store/ext/data/commitlog"];
const CONFIGS: &[&str] = &["golden/store/clean/data/config", "golden/store/ext/data/config"];

impl Target {
    /// The target of that name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// What there is to begin with, in the order of the paths: captured bytes, then `fuzz/seeds/<name>`, where inputs that once
    /// broke a promise are kept too.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn seeds(&self) -> io::Result<Vec<Vec<u8>>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut files = Vec::new();
        for folder in self.captured {
            list(&root.join(folder), &mut files)?;
        }
        let own = root.join("fuzz/seeds").join(self.name);
        if own.is_dir() {
            list(&own, &mut files)?;
        }
        files.sort();
        let cut = |mut bytes: Vec<u8>| {
            bytes.truncate(MAX_INPUT);
            bytes
        };
        files.iter().map(|file| fs::read(file).map(cut)).collect()
    }
}

/// What a fuzz target does with some bytes.
///
/// # Panics
/// A promise is broken, or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    (Target::named(name).expect("a target").body)(bytes);
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => list(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}
