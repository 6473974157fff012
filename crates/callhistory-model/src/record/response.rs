//! The parser of records in responses.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{CallRecord, value::raw_json::Members};

impl<'de> Deserialize<'de> for CallRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let exact = serde_json::from_str::<ExactRecord>(json.get());
        exact.map(|ExactRecord(record)| record).or_else(|error| {
            // Something is not as this version expects it. Without an ID it is no record at all.
            match serde_json::from_str::<Members<'_>>(json.get()) {
                Ok(Members(members)) if members.iter().any(|(name, _)| name == "_id") => Ok(Self::read_any(members)),
                _ => Err(serde::de::Error::custom(error)),
            }
        })
    }
}

/// A record of a response in which each known member has the type of this version.
struct ExactRecord(CallRecord);

impl<'de> Deserialize<'de> for ExactRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RecordVisitor;

        impl<'de> Visitor<'de> for RecordVisitor {
            type Value = CallRecord;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a call record")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CallRecord, A::Error> {
                CallRecord::read_exact(map)
            }
        }

        deserializer.deserialize_map(RecordVisitor).map(Self)
    }
}
