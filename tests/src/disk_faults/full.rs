//! A disk that is really full.
//!
//! The script's broker stands on a small file system that something else fills up beside it ([`Ballast`]): sends are
//! refused, what settles open work goes on, sends are taken again when there is room; then it fills up once more, the
//! broker is killed, and everything that was acknowledged is there.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use tenonmq_storage::fs::{FileSystem, RealFs, is_disk_full};

use super::{Checked, Run, bench::Broker, judge, script::Script};

/// A larger file system is not filled up.
const LARGEST: u64 = 1 << 30;
/// Messages after which a disk that is full should have refused one.
const MOST: usize = 2_000;

/// What happened on a full disk.
#[derive(Debug)]
pub struct FullDisk {
    /// Sends that were taken although nothing was left: in files made before.
    pub taken: usize,
    /// The answer to the first one that was not.
    pub refusal: String,
    /// Requests that settle open work, answered with success meanwhile.
    pub settled: usize,
    /// What a start over the full disk says; nothing when it succeeds.
    pub start: Option<String>,
}

/// Fills up the file system of `folder` beside a broker in it.
///
/// # Errors
/// A promise was not kept, or the file system is larger than 1 GiB.
pub fn fill(folder: &Path, is_sync: bool) -> Checked<FullDisk> {
    let total = RealFs.space(folder).map_err(|error| error.to_string())?.total;
    if total > LARGEST {
        return Err(format!("{} lies on a file system of {total} bytes: too many to fill up", folder.display()));
    }
    let data = tempfile::tempdir_in(folder).map_err(|error| error.to_string())?;
    let mut script = Script::on_a_real_disk(data.path(), Run { strike: None, is_sync });
    let mut broker = script.start()?.ok_or("no start")?;
    prepare(&mut script, &mut broker)?;
    let halves: Vec<_> = (0..10).filter_map(|_| script.half(&broker)).collect();

    let ballast = Ballast::fill(folder).map_err(|error| error.to_string())?;
    let (taken, refusal) = until_refused(&mut script, &broker)?;
    let refused = script.ledger.refusals.len();
    let before = script.ledger.acknowledged;
    for (number, half) in halves.into_iter().enumerate() {
        script.decide(&broker, half, number % 2 == 0);
        script.commit(&broker, "orders", 0, 5 + i64::try_from(number).unwrap_or(0));
    }
    script.commit(&broker, "bills", 0, 1); // a queue that has none yet
    script.pop(&broker, 2, 2);
    script.pass(&mut broker, 1);
    if let Some(refusal) = script.ledger.refusals.get(refused) {
        return Err(format!("open work is not settled while the disk is full: {refusal}"));
    }
    let settled = script.ledger.acknowledged - before;
    drop(ballast);
    script.pass(&mut broker, 20);
    goes_on(&mut script, &broker)?;

    let ballast = Ballast::fill(folder).map_err(|error| error.to_string())?;
    until_refused(&mut script, &broker)?;
    drop(broker); // killed
    let start = script.start_once().err();
    drop(ballast);
    for is_last in [false, true] {
        let mut broker = script.start()?.ok_or("no start")?;
        judge::directory(&mut script, &mut broker, is_last)?;
        if !is_last {
            goes_on(&mut script, &broker)?;
        }
        if !broker.stop() {
            return Err("a broker with room again did not stop in order".into());
        }
    }
    Ok(FullDisk { taken, refusal, settled, start })
}

fn prepare(script: &mut Script<'_>, broker: &mut Broker) -> Checked {
    script.create_topic(broker, "orders", 2);
    script.create_topic(broker, "bills", 1);
    script.create_group(broker, super::script::GROUP);
    for number in 0..60 {
        script.send(broker, "orders", number % 2, &[("KEYS", "k")]);
    }
    for _ in 0..20 {
        script.send(broker, "bills", 0, &[]); // fewer than the judge pops at once
    }
    script.commit(broker, "orders", 0, 3);
    script.pop(broker, 3, 1);
    script.pass(broker, 1);
    script.ledger.refusals.first().map_or(Ok(()), |refusal| Err(format!("refused with room enough: {refusal}")))
}

/// Sends until the disk takes no more: how many were taken, and why the next one was not.
fn until_refused(script: &mut Script<'_>, broker: &Broker) -> Checked<(usize, String)> {
    let refused = script.ledger.refusals.len();
    for taken in 0..MOST {
        script.send(broker, "orders", 0, &[]);
        if let Some(refusal) = script.ledger.refusals.get(refused) {
            return if refusal.contains("disk full") {
                Ok((taken, refusal.clone()))
            } else {
                Err(format!("a refusal that does not say that the disk is full: {refusal}"))
            };
        }
    }
    Err(format!("{MOST} sends were taken by a disk that is full"))
}

fn goes_on(script: &mut Script<'_>, broker: &Broker) -> Checked {
    let refused = script.ledger.refusals.len();
    for number in 0..30 {
        script.send(broker, "orders", number % 2, &[]);
    }
    script.transaction(broker, Some(true));
    script.ledger.refusals.get(refused).map_or(Ok(()), |refusal| Err(format!("refused with room again: {refusal}")))
}

/// A file that takes all the room there is.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(folder: &Path) -> io::Result<Self> {
        let ballast = Self(folder.join("ballast"));
        let file = File::create(&ballast.0)?;
        let (mut at, mut step) = (0_u64, 1_usize << 20);
        while step >= 512 {
            match file.write_all_at(&vec![0xB; step], at) {
                Ok(()) => at += step as u64,
                Err(error) if is_disk_full(&error) => step /= 2,
                Err(error) => return Err(error),
            }
        }
        file.sync_data().or_else(|error| if is_disk_full(&error) { Ok(()) } else { Err(error) })?;
        Ok(ballast)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
