//! A key: what is accepted is exactly the text of a key that could have been created.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| callhistory_server::fuzzing::assert_only_keys_parse(text));
