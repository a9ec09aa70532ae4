//! Any bytes as a request and what the evidence says of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| policy_fuzz::evaluate(bytes));
