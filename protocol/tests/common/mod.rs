//! The captured frames and what was recorded about each.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// One captured frame.
#[allow(dead_code, reason = "not every test looks at everything")]
pub(crate) struct Captured {
    /// Folder under `golden/wire`, empty for the first run.
    pub(crate) folder: &'static str,
    /// The whole frame.
    pub(crate) bytes: Vec<u8>,
    /// What was recorded about it.
    pub(crate) line: Value,
}

/// All captured frames of all runs.
pub(crate) fn captured() -> Vec<Captured> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/wire"));
    let mut all = Vec::new();
    for folder in ["", "extra-run", "acting-master", "compressed-register"] {
        let folder_path = root.join(folder);
        let mut files: HashMap<String, Vec<u8>> = HashMap::new();
        for line in fs::read_to_string(folder_path.join("index.jsonl")).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let name = line["file"].as_str().unwrap();
            let file = files.entry(name.to_owned()).or_insert_with(|| fs::read(folder_path.join(name)).unwrap());
            let start = line["offset"].as_u64().unwrap() as usize;
            let bytes = file[start..start + line["length"].as_u64().unwrap() as usize].to_vec();
            all.push(Captured { folder, bytes, line });
        }
    }
    all
}
