//! A cursor: only texts that this database has issued are accepted.
#![no_main]

use callhistory_store::fuzzing::assert_only_given_cursors_open;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (i64, (u8, char), &str)| assert_only_given_cursors_open(input.0, input.1, input.2));
