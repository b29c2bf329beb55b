#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tenonmq_tests::fuzzing::run("filter", bytes));
