//! A record: what is accepted is written as JSON that is accepted again and says the same, digit for digit; and a client can
//! read what is stored.
#![no_main]

use callhistory_model::{CallDraft, CallRecord};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    // The lenient reader of a client must survive whatever it gets.
    drop(serde_json::from_slice::<CallRecord>(json));
    let Ok(draft) = CallDraft::from_json(json) else { return };
    let written = serde_json::to_vec(&draft).expect("a draft serialises");
    let again = CallDraft::from_json(&written).expect("a written draft is accepted");
    assert_eq!(again, draft);
    assert_eq!(serde_json::to_vec(&again).expect("a draft serialises"), written);
    let Ok(record) = draft.into_record() else { return };
    let stored = record.to_json();
    let read: CallRecord = serde_json::from_slice(&stored).expect("a client reads a stored record");
    assert_eq!(read.to_json(), stored);
});
