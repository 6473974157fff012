//! The stream of an import: its records do not depend on its chunks, and have no more bytes than the stream.
#![no_main]

use callhistory_server::fuzzing::split_in_chunks;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first two bytes are the format and the size of the chunks.
    let [form, chunk, stream @ ..] = input else { return };
    let is_csv = form % 2 == 1;
    let whole = split_in_chunks(stream, is_csv, stream.len().max(1));
    let parts = split_in_chunks(stream, is_csv, usize::from(*chunk).max(1));
    assert_eq!(parts, whole);
    let bytes: usize = whole.iter().filter_map(|(_, text)| text.as_ref()).map(Vec::len).sum();
    assert!(is_csv || bytes <= stream.len());
});
