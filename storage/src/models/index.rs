//! A file of the key index: whoever looks a key up while more are added finds what was there before.

use std::sync::Arc;

use super::RealFs;
use super::bench::{every_order, folder, spawn};
use crate::index::file::{IndexFile, Key, Layout, Wanted};

const HASH: u32 = 7;

fn key(physical: i64) -> Key {
    Key { hash: HASH, physical, timestamp: 1_000 }
}

#[test]
fn an_entry_is_found_while_others_come_into_its_slot() {
    every_order(|| {
        let folder = folder();
        let layout = Layout { slots: 1, entries: 4 };
        let file = Arc::new(IndexFile::create(&RealFs, &folder.path().join("index"), layout, None).unwrap());
        file.put(&RealFs, &[key(10)]).unwrap();
        let reader = {
            let file = Arc::clone(&file);
            spawn(move || {
                let mut found = Vec::new();
                file.query(Wanted { hash: HASH, begin_ms: 0, end_ms: i64::MAX }, |physical| {
                    found.push(physical);
                    true
                });
                assert!([[30, 20, 10].as_slice(), &[20, 10], &[10]].contains(&&*found), "{found:?}");
            })
        };
        file.put(&RealFs, &[key(20), key(30)]).unwrap();
        reader.join().unwrap();
    });
}
