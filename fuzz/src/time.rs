//! A time: another parser accepts it as RFC 3339 with the same value, and its text is kept.
#![no_main]

use callhistory_model::{TimeZone, Timestamp};
use chrono::DateTime;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.as_str(), text);
        let other = DateTime::parse_from_rfc3339(text).expect("chrono reads it as well");
        assert_eq!(Some(time.unix_nanos()), other.timestamp_nanos_opt());
    }
    if let Ok(time) = Timestamp::parse_in_zone(text, TimeZone::UTC) {
        let written = time.as_str().parse::<Timestamp>().expect("a written moment is accepted");
        assert_eq!(written.unix_nanos(), time.unix_nanos());
    }
});
