//! The stream of an import: its records do not depend on its chunks, and have about as many bytes as the stream.
#![no_main]

use callhistory_server::fuzzing::split_in_chunks;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first two bytes are the format and the size of the chunks.
    let [form, chunk, stream @ ..] = input else { return };
    let is_csv = form % 4 == 3;
    let whole = split_in_chunks(stream, is_csv, stream.len().max(1));
    let parts = split_in_chunks(stream, is_csv, usize::from(*chunk).max(1));
    assert_eq!(parts, whole);
    let bytes: usize = whole.iter().filter_map(|(_, text)| text.as_ref()).map(Vec::len).sum();
    // A stream in UTF-16 can grow by a half.
    assert!(is_csv || bytes <= 2 * stream.len());
});
