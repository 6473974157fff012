//! Conditions on the members of `analyzedData`.

use std::cmp::Ordering;

use serde_json::value::RawValue;

use crate::{
    JsonObject,
    decode::object,
    json::kind,
    problem::{FieldError, FieldErrorCode},
    query::{check_path, unknown_value},
    value::Scalar,
};

const MAX_CONDITIONS: usize = 32;
const MAX_CHOICES: usize = 100;
const OPERATORS: [&str; 7] = ["gt", "gte", "lt", "lte", "ne", "in", "exists"];

/// One thing that a member of `analyzedData` must be.
///
/// A member that is an array is as demanded where one of its items is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnalysisClause {
    /// The member; one inside another has its path with dots.
    pub member: String,
    /// What it must be.
    pub test: AnalysisOperator,
}

/// A test of one member. Numbers are compared exactly, texts by the order of their characters; values of two kinds are
/// never in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnalysisOperator {
    /// Is one of these.
    In(Vec<Scalar>),
    /// Is not this, or is not there.
    Not(Scalar),
    /// Is greater (`true`: or equal).
    Greater(Scalar, bool),
    /// Is less (`true`: or equal).
    Less(Scalar, bool),
    /// Is there, or with `false` is not.
    Exists(bool),
}

impl AnalysisOperator {
    /// Whether one value passes a comparison.
    #[must_use]
    pub fn holds(&self, value: &Scalar) -> bool {
        match self {
            Self::In(choices) => choices.contains(value),
            Self::Not(other) => value != other,
            Self::Greater(bound, equal) => match value.compare(bound) {
                Some(Ordering::Greater) => true,
                Some(Ordering::Equal) => *equal,
                _ => false,
            },
            Self::Less(bound, equal) => match value.compare(bound) {
                Some(Ordering::Less) => true,
                Some(Ordering::Equal) => *equal,
                _ => false,
            },
            Self::Exists(expected) => *expected,
        }
    }
}

impl AnalysisClause {
    /// Reads the documented JSON object: members of `analyzedData`, each with a value to equal or with an object of
    /// operators.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, at its place.
    pub fn parse(json: &str) -> Result<Vec<Self>, FieldError> {
        let json: JsonObject = json.parse()?;
        let mut conditions = Vec::new();
        for (member, value) in object(json.as_str())? {
            let here = |error: FieldError| error.prefix_pointer(&format!("/{}", crate::json::escape_pointer(&member)));
            if member.is_empty() {
                return Err(FieldError::new(FieldErrorCode::TooShort, "has a member without a name"));
            }
            check_path(&member).map_err(here)?;
            let tests =
                if value.starts_with('{') { operators(value) } else { scalar(value).map(|one| vec![equals(one)]) };
            let tests = tests.map_err(here)?;
            conditions.extend(tests.into_iter().map(|test| Self { member: member.clone(), test }));
        }
        if conditions.is_empty() {
            return Err(FieldError::new(FieldErrorCode::TooShort, "has no condition"));
        }
        if conditions.len() > MAX_CONDITIONS {
            let detail = format!("has {} conditions; at most {MAX_CONDITIONS} are accepted", conditions.len());
            return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
        }
        Ok(conditions)
    }

    /// The conditions as the parameter writes them.
    #[must_use]
    pub fn to_json(conditions: &[Self]) -> String {
        let mut members: Vec<(&str, Vec<String>)> = Vec::new();
        for condition in conditions {
            let bound = |name: &str, value: &Scalar| format!("\"{name}\":{}", value.to_json());
            let text = match &condition.test {
                AnalysisOperator::In(choices) => {
                    format!("\"in\":[{}]", choices.iter().map(Scalar::to_json).collect::<Vec<_>>().join(","))
                }
                AnalysisOperator::Not(value) => bound("ne", value),
                AnalysisOperator::Greater(value, equal) => bound(if *equal { "gte" } else { "gt" }, value),
                AnalysisOperator::Less(value, equal) => bound(if *equal { "lte" } else { "lt" }, value),
                AnalysisOperator::Exists(expected) => format!("\"exists\":{expected}"),
            };
            match members.iter_mut().find(|(member, _)| *member == condition.member) {
                Some((_, tests)) => tests.push(text),
                None => members.push((&condition.member, vec![text])),
            }
        }
        let members = members
            .iter()
            .map(|(member, tests)| format!("{}:{{{}}}", serde_json::Value::from(*member), tests.join(",")));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }
}

fn equals(value: Scalar) -> AnalysisOperator {
    AnalysisOperator::In(vec![value])
}

fn scalar(json: &str) -> Result<Scalar, FieldError> {
    Scalar::from_json(json).ok_or_else(|| {
        let detail = format!("is {}; a string, a number, a boolean or null is expected", kind(json));
        FieldError::new(FieldErrorCode::WrongType, detail)
    })
}

/// A bound that has an order: a number or a text.
fn bound(json: &str) -> Result<Scalar, FieldError> {
    match scalar(json)? {
        value @ (Scalar::Number(_) | Scalar::Text(_)) => Ok(value),
        _ => Err(FieldError::new(
            FieldErrorCode::WrongType,
            format!("is {}; a number or a string is expected", kind(json)),
        )),
    }
}

fn operators(json: &str) -> Result<Vec<AnalysisOperator>, FieldError> {
    let mut tests = Vec::new();
    for (name, value) in object(json)? {
        let test = match name.as_str() {
            "gt" => bound(value).map(|bound| AnalysisOperator::Greater(bound, false)),
            "gte" => bound(value).map(|bound| AnalysisOperator::Greater(bound, true)),
            "lt" => bound(value).map(|bound| AnalysisOperator::Less(bound, false)),
            "lte" => bound(value).map(|bound| AnalysisOperator::Less(bound, true)),
            "ne" => scalar(value).map(AnalysisOperator::Not),
            "in" => choices(value).map(AnalysisOperator::In),
            "exists" => match value {
                "true" | "false" => Ok(AnalysisOperator::Exists(value == "true")),
                _ => Err(FieldError::new(
                    FieldErrorCode::WrongType,
                    format!("is {}; a boolean is expected", kind(value)),
                )),
            },
            other => Err(unknown_value(other, &OPERATORS)),
        };
        tests.push(test.map_err(|error| error.prefix_pointer(&format!("/{}", crate::json::escape_pointer(&name))))?);
    }
    if tests.is_empty() {
        return Err(FieldError::new(FieldErrorCode::TooShort, "has no operator"));
    }
    Ok(tests)
}

fn choices(json: &str) -> Result<Vec<Scalar>, FieldError> {
    let items: Vec<&RawValue> = serde_json::from_str(json)
        .map_err(|_| FieldError::new(FieldErrorCode::WrongType, format!("is {}; an array is expected", kind(json))))?;
    if items.is_empty() || items.len() > MAX_CHOICES {
        let detail = format!("has {} values; 1 to {MAX_CHOICES} are accepted", items.len());
        return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
    }
    items.into_iter().map(|item| scalar(item.get())).collect()
}
