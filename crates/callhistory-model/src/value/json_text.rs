//! Any JSON value as text.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Any JSON value as text, unchecked. A client keeps unknown members in this form.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl JsonText {
    /// `null`.
    pub(crate) fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// The text of a number.
    #[expect(clippy::expect_used, reason = "the callers format numbers")]
    pub(super) fn of_number(text: &str) -> Self {
        Self(RawValue::from_string(text.to_owned()).expect("a formatted number is JSON"))
    }
}

impl From<Box<RawValue>> for JsonText {
    fn from(json: Box<RawValue>) -> Self {
        Self(json)
    }
}

impl PartialEq for JsonText {
    /// Equal if the texts are: `{"a":1}` is not `{"a":1.0}`.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for JsonText {}
