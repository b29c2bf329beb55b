//! A moment of random input for each kind of it: what `cargo fuzz` does for longer (`fuzz/run`).

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use tenonmq_tests::fuzzing::{MAX_INPUT, Target};

/// How an input is made of a seed: bytes changed, cut out, repeated, or taken from another seed.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Number(Index, i32),
    Cut(Index, Index),
    Repeat(Index, Index),
    Splice(Index, Index, Index),
    Insert(Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let number = prop_oneof![Just(-1), Just(0), Just(i32::MAX), Just(i32::MIN), any::<i32>(), 1..300_i32];
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        (at(), number).prop_map(|(at, number)| Change::Number(at, number)),
        (at(), at()).prop_map(|(from, to)| Change::Cut(from, to)),
        (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
        (at(), at(), at()).prop_map(|(seed, from, to)| Change::Splice(seed, from, to)),
        (at(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
    ]
}

/// The bytes between two places.
fn between(len: usize, one: &Index, other: &Index) -> std::ops::Range<usize> {
    let (one, other) = (one.index(len + 1), other.index(len + 1));
    one.min(other)..one.max(other)
}

fn changed(seeds: &[Vec<u8>], seed: &Index, changes: &[Change]) -> Vec<u8> {
    let mut input = if seeds.is_empty() { Vec::new() } else { seed.get(seeds).clone() };
    for change in changes {
        let len = input.len();
        match change {
            Change::Set(at, byte) if len > 0 => input[at.index(len)] = *byte,
            Change::Flip(at, mask) if len > 0 => input[at.index(len)] ^= mask,
            Change::Number(at, number) if len >= 4 => {
                let at = at.index(len - 3);
                input[at..at + 4].copy_from_slice(&number.to_be_bytes());
            }
            Change::Cut(from, to) => drop(input.drain(between(len, from, to))),
            Change::Repeat(from, to) => input.extend_from_within(between(len, from, to)),
            Change::Splice(seed, from, to) if !seeds.is_empty() => {
                let other = seed.get(seeds);
                input.extend_from_slice(&other[between(other.len(), from, to)]);
            }
            Change::Insert(at, bytes) => {
                drop(input.splice(at.index(len + 1)..at.index(len + 1), bytes.iter().copied()));
            }
            _ => {}
        }
    }
    input.truncate(MAX_INPUT);
    input
}

/// Every seed as it is, and then as many random changes of them as the target takes in a short run.
fn run(name: &str) {
    let target = Target::named(name).expect("a target");
    let seeds = target.seeds().expect("the seeds");
    seeds.iter().for_each(|seed| (target.body)(seed));
    let config = Config { cases: target.cases, failure_persistence: None, ..Config::default() };
    let inputs = (any::<Index>(), prop::collection::vec(change(), 1..8));
    let inputs = inputs.prop_map(|(seed, changes)| changed(&seeds, &seed, &changes));
    let outcome = TestRunner::new(config).run(&inputs, |input| {
        (target.body)(&input);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn frames_of_any_bytes_are_read_or_refused() {
    run("frame");
}

#[test]
fn header_fields_of_any_text_are_read_or_named() {
    run("headers");
}

#[test]
fn log_records_of_any_bytes_are_read_or_refused() {
    run("records");
}

#[test]
fn batches_of_any_bytes_are_taken_apart_or_refused() {
    run("batch");
}

#[test]
fn expressions_of_any_text_are_compiled_or_refused() {
    run("filter");
}

#[test]
fn config_files_of_any_text_are_read_or_named() {
    run("config_files");
}

#[test]
fn a_damaged_directory_is_opened_and_read_through_or_named() {
    run("recovery");
}
