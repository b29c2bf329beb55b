//! A sample of what the program `disk_faults` tries.

use tenonmq_tests::disk_faults::{Run, Strike, Trouble, run};

/// How far apart the calls of the sample are: a prime, so that it does not walk in step with the script.
const STRIDE: usize = 61;

#[test]
fn what_was_acknowledged_outlives_a_disk_that_fails_at_any_call() {
    for (is_sync, first) in [(false, 0), (true, 30)] {
        let whole = run(Run { strike: None, is_sync }).unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(whole.refused, 0, "a whole disk refuses nothing");
        for (at, trouble) in (first..whole.calls).step_by(STRIDE).zip(Trouble::ALL.into_iter().cycle()) {
            let strike = Some(Strike { at, trouble });
            run(Run { strike, is_sync }).unwrap_or_else(|broken| panic!("{broken}"));
        }
    }
}
