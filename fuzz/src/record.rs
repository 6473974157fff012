//! A record: an accepted input is written as JSON that is accepted and equal, digit for digit. A client can read the stored
//! record.
#![no_main]

use callhistory_model::{CallInput, CallRecord, Handling};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    // The lenient parser of a client must not panic.
    drop(serde_json::from_slice::<CallRecord>(json));
    let Ok(parsed) = CallInput::parse(json, Handling::Lenient) else { return };
    let input = parsed.input;
    let written = serde_json::to_vec(&input).expect("an input serialises");
    let again = CallInput::parse(&written, Handling::Strict).expect("a written input is accepted");
    assert!(!again.is_changed);
    let again = again.input;
    assert_eq!(again, input);
    assert_eq!(serde_json::to_vec(&again).expect("an input serialises"), written);
    let Ok(record) = input.into_record() else { return };
    let stored = record.to_json();
    let read: CallRecord = serde_json::from_slice(&stored).expect("a client reads a stored record");
    assert_eq!(read.to_json(), stored);
});
