//! A merge patch: the result equals that of another implementation of RFC 7396.
#![no_main]

use callhistory_model::{CallPatch, CallRecord, Handling, examples};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|json: &[u8]| {
    let Ok(patch) = CallPatch::parse(json, Handling::Strict) else { return };
    let record: CallRecord = serde_json::from_str(examples::COMPLETE_EXAMPLE).expect("the example is a record");
    let Ok(parsed) = patch.apply(&record, Handling::Strict) else { return };
    // Values in another form are read, which is more than a merge.
    if !parsed.warnings.is_empty() {
        return;
    }
    let mut expected: Value = serde_json::from_slice(&record.to_json()).expect("a record is JSON");
    // Numbers are compared as floats: another target checks their digits.
    let Ok(patch) = serde_json::from_slice::<Value>(json) else { return };
    json_patch::merge(&mut expected, &patch);
    let mut found: Value = serde_json::to_value(&parsed.input).expect("an input serialises");
    for side in [&mut expected, &mut found] {
        let members = side.as_object_mut().expect("a record is an object");
        members.remove("createdAt");
        members.remove("updatedAt");
    }
    assert_eq!(found, expected);
});
