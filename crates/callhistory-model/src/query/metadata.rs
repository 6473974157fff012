//! Members of `metadata` in queries: what a filter asks of one, and the values by which metrics group calls.

use crate::{Scalar, visit_members};

/// Longest text by which calls are grouped, in bytes: it is part of a query.
const MAX_GROUPED_BYTES: usize = 1024;

/// What a filter asks of the member of `metadata` at a path.
///
/// As a parameter: a value, which a number, a boolean or `null` has as well as the text that is spelled like it; `*` for any value,
/// `!*` for none. After a backslash, a value is only a text: `\*`, `\7`. After `=`, it is the only value of the path, and
/// `=[VALUE]` is one of several.
///
/// ```
/// use callhistory_model::{MetadataTest, Scalar};
///
/// assert_eq!(MetadataTest::parse("!*"), MetadataTest::Absent);
/// assert_eq!(MetadataTest::parse(r"\*"), MetadataTest::Any(vec![Scalar::Text("*".to_owned())]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataTest {
    /// The path has a value, which may be `null`, an object or an array.
    Present,
    /// The path has no value.
    Absent,
    /// The path has one of these values, perhaps among others.
    Any(Vec<Scalar>),
    /// The path has one of these values and no other.
    Only(Vec<Scalar>),
    /// The path has an object, an array, several values, or one that is too long; and one of these values, if there are any.
    Several(Vec<Scalar>),
}

impl MetadataTest {
    /// The meaning of the value of a parameter.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        match (value, value.strip_prefix('=')) {
            ("*", _) => Self::Present,
            ("!*", _) => Self::Absent,
            (_, Some(rest)) => match rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some("") => Self::Several(Vec::new()),
                Some(inner) => Self::Several(scalars(inner)),
                None => Self::Only(scalars(rest)),
            },
            _ => Self::Any(scalars(value)),
        }
    }
}

fn scalars(text: &str) -> Vec<Scalar> {
    text.strip_prefix('\\').map_or_else(|| Scalar::readings(text), |text| vec![Scalar::Text(text.to_owned())])
}

/// The scalar of a JSON text, if calls are grouped by it: an object, an array and a long text are not.
#[must_use]
pub fn grouped_scalar(json: &str) -> Option<Scalar> {
    let scalar = Scalar::from_json(json)?;
    let label = label(&scalar);
    (label.len() <= MAX_GROUPED_BYTES && !label.contains('\0')).then_some(scalar)
}

fn label(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Text(text) => text.clone(),
        Scalar::Number(number) => number.to_plain(),
        other => other.to_json(),
    }
}

/// The value of a path of `metadata` by which metrics group calls: the filter of a group finds exactly its calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetadataValue {
    /// One value. A number and the text that is spelled like it are one value, as in filters.
    Single {
        /// The value as text.
        text: String,
        /// Whether the value is a text that spells a number in another way: `5.0`.
        is_text: bool,
    },
    /// An object, an array, several values, or one that is too long.
    Several,
}

impl MetadataValue {
    /// How groups without a single value are labelled.
    pub const SEVERAL: &'static str = "[]";

    /// The value at a path of `metadata`; `None` if there is none.
    #[must_use]
    pub fn at(metadata: &str, path: &str) -> Option<Self> {
        let mut found: Option<Self> = None;
        visit_members(metadata, &mut |have, json| {
            if have == path {
                let is_first = found.is_none();
                found = Some(if is_first { Self::of(json) } else { Self::Several });
            }
        });
        found
    }

    fn of(json: &str) -> Self {
        let Some(scalar) = grouped_scalar(json) else { return Self::Several };
        let text = label(&scalar);
        let is_text =
            matches!(scalar, Scalar::Text(_)) && Scalar::readings(&text)[1..].iter().any(|other| label(other) != text);
        Self::Single { text, is_text }
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Single { text, .. } => text,
            Self::Several => Self::SEVERAL,
        }
    }

    /// The value of the parameter that finds the calls of a group, of those that another value of the parameter finds.
    #[must_use]
    pub fn to_parameter(&self, within: Option<&str>) -> String {
        match self {
            Self::Single { text, is_text } => {
                // A filter of texts alone has no numbers, which the value would find as well.
                let is_text = *is_text || within.is_some_and(|value| value.trim_start_matches('=').starts_with('\\'));
                let escape = if is_text || text.starts_with(['\\', '[']) { "\\" } else { "" };
                format!("={escape}{text}")
            }
            Self::Several => match within.map(|value| (value, MetadataTest::parse(value))) {
                Some((value, MetadataTest::Any(_))) => format!("=[{value}]"),
                Some((value, MetadataTest::Several(_))) => value.to_owned(),
                _ => "=[]".to_owned(),
            },
        }
    }
}
