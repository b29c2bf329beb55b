//! Lives of a broker's transactions, made from seeds. More of them: `cargo run -p tenonmq-tests --bin simulation -- --seeds N`.

use tenonmq_tests::simulation::{Mutation, run, run_all};

#[test]
fn ten_thousand_lives_keep_every_promise() {
    if let Err(failure) = run_all(0..10_000, None) {
        panic!("{failure}");
    }
}

#[test]
fn every_mistake_is_found_within_a_few_hundred_lives() {
    for mutation in Mutation::all() {
        let found = run_all(0..400, Some(*mutation)).map(drop);
        let failure = found.expect_err(&format!("{} is not found", mutation.name()));
        println!("{}: seed {}, {}", mutation.name(), failure.seed, failure.violation.invariant);
        assert!(!failure.history.is_empty(), "the failing seed can be played again");
    }
}

#[test]
fn a_seed_does_the_same_thing_again() {
    for seed in 0..40 {
        let (one, other) = (run(seed, None, false), run(seed, None, false));
        assert_eq!(one.ok(), other.ok(), "seed {seed}");
    }
}
