//! Single wrong bits in a data directory, a sample of them. All of them: `cargo run -p tenonmq-tests --bin bit_flips`.

use tenonmq_tests::{
    bit_flips::{Report, Subject},
    tiny_store::{self, Kind},
};

/// Bits that are tried of each directory.
const SAMPLE: usize = 160;

fn sample(kind: Kind, verified: bool) -> Report {
    sample_of(&Subject::new(tiny_store::write(kind), kind, verified).expect("a directory"))
}

fn sample_of(subject: &Subject) -> Report {
    assert!(subject.messages() > 15, "{} messages", subject.messages());
    let mut report = Report::default();
    // A step that has no factor with 8: every bit of a byte has its turn.
    for n in (0..subject.bits()).step_by((subject.bits() / SAMPLE) | 1) {
        let bit = subject.bit(n).expect("a bit");
        let finding = subject.flip(&bit).expect("a copy");
        report.add(subject.part(&bit), bit, &finding);
    }
    report
}

#[test]
fn with_checksums_over_records_no_wrong_bit_makes_a_wrong_message() {
    for killed in [false, true] {
        let report = sample(Kind { record_crc: true, killed }, true);
        assert_eq!(report.broken_promises(true), [""; 0], "{report}");
    }
}

#[test]
fn with_checksums_over_bodies_only_what_they_do_not_cover_comes_out_wrong() {
    let report = sample(Kind { record_crc: false, killed: false }, true);
    assert_eq!(report.broken_promises(false), [""; 0], "{report}");
}

#[test]
fn of_apache_s_directories_only_what_its_format_does_not_cover_comes_out_wrong() {
    for variant in ["clean", "killed"] {
        let report = sample_of(&Subject::golden(variant, true).expect("a directory"));
        assert_eq!(report.broken_promises(false), [""; 0], "{report}");
    }
}

#[test]
fn of_apache_s_directory_with_checksums_over_records_no_wrong_bit_makes_a_wrong_message() {
    let report = sample_of(&Subject::golden("ext", true).expect("a directory"));
    assert_eq!(report.broken_promises(true), [""; 0], "{report}");
}
