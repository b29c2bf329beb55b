//! Turns over every bit of a tiny data directory, one at a time, and prints what became of each part.

use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use tenonmq_tests::{
    bit_flips::{Report, Subject},
    tiny_store::{self, Kind},
};

#[derive(Parser)]
struct Args {
    /// Every how many-th bit; 1 is all of them.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// The directory of a broker that was killed.
    #[arg(long)]
    killed: bool,
    /// Records carry the checksum over all of them (enabledAppendPropCRC, forceVerifyPropCRC).
    #[arg(long)]
    record_crc: bool,
    /// Records are compared with their checksums whenever they are read (verifyRecordsOnRead).
    #[arg(long)]
    verified: bool,
    /// A captured directory of Apache instead: clean, killed or ext.
    #[arg(long)]
    golden: Option<String>,
    /// Only files whose path holds this.
    #[arg(long, default_value = "")]
    file: String,
}

fn main() {
    let args = Args::parse();
    let kind = Kind { record_crc: args.record_crc, killed: args.killed };
    let subject = match args.golden.as_deref() {
        None => Subject::new(tiny_store::write(kind), kind, args.verified),
        Some("killed") => Subject::golden("killed", args.verified),
        Some("ext") => Subject::golden("ext", args.verified),
        Some(_) => Subject::golden("clean", args.verified),
    };
    let subject = subject.expect("a directory");
    println!("{} bits, {} messages", subject.bits(), subject.messages());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut report = Report::default();
        while let Some(bit) = subject.bit(next.fetch_add(args.every.max(1), Ordering::Relaxed)) {
            if bit.file.to_string_lossy().contains(&args.file) {
                let finding = subject.flip(&bit).expect("a copy");
                report.add(subject.part(&bit), bit, &finding);
            }
        }
        report
    };
    let report = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut report = work();
        report.merge(other.join().expect("nothing panics"));
        report
    });
    print!("{report}");
    let guarded = args.record_crc || args.golden.as_deref() == Some("ext");
    let broken = report.broken_promises(guarded && args.verified);
    broken.iter().for_each(|promise| eprintln!("{promise}"));
    if args.verified && !broken.is_empty() {
        std::process::exit(1);
    }
}
