//! An API key: only the text of a key that could have been created is accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| callhistory_server::fuzzing::assert_only_keys_parse(text));
