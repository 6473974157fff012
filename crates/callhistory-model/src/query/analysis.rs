//! The clauses of `postAnalysis`: tests of members of `analyzedData`.

use serde_json::value::RawValue;

use crate::{
    FieldError, FieldErrorCode, JsonObject,
    spelling::unknown_value,
    value::{
        raw_json::{object, object_text, wrong_type},
        scalar::{Scalar, check_path},
    },
};

const MAX_CLAUSES: usize = 32;
const MAX_CHOICES: usize = 100;
const OPERATORS: [&str; 7] = ["gt", "gte", "lt", "lte", "ne", "in", "exists"];

/// One clause of `postAnalysis`: a member of `analyzedData` and a test.
///
/// An array matches if one of its items matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnalysisClause {
    /// The path of the member, with dots for nested members; at most 1024 bytes.
    pub member: String,
    /// The test.
    pub test: AnalysisOperator,
}

/// A test of one member. Numbers are compared exactly, strings by code points; values of different types have no
/// order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum AnalysisOperator {
    /// Equals one of these; 1 to 100.
    In(Vec<Scalar>),
    /// Differs from this, or is absent.
    Not(Scalar),
    /// Is greater; with `true`, or equal.
    Greater(Scalar, bool),
    /// Is less; with `true`, or equal.
    Less(Scalar, bool),
    /// Is present; with `false`, is absent.
    Exists(bool),
}

impl AnalysisOperator {
    /// Whether a value passes the test.
    #[must_use]
    pub fn holds(&self, value: &Scalar) -> bool {
        match self {
            Self::In(choices) => choices.contains(value),
            Self::Not(other) => value != other,
            Self::Greater(bound, or_equal) => {
                value.compare(bound).is_some_and(|order| order.is_gt() || *or_equal && order.is_eq())
            }
            Self::Less(bound, or_equal) => {
                value.compare(bound).is_some_and(|order| order.is_lt() || *or_equal && order.is_eq())
            }
            Self::Exists(expected) => *expected,
        }
    }
}

impl AnalysisClause {
    /// Parses a JSON object: members of `analyzedData`, each with a value that it must equal or with an object of
    /// operators.
    ///
    /// # Errors
    ///
    /// The first error, with its location.
    pub fn parse(json: &str) -> Result<Vec<Self>, FieldError> {
        let json: JsonObject = json.parse()?;
        let mut clauses = Vec::new();
        for (member, value) in object(json.as_str())? {
            let here = |error: FieldError| error.in_member(&member);
            if member.is_empty() {
                return Err(FieldError::new(FieldErrorCode::TooShort, "has a member with an empty name"));
            }
            check_path(&member).map_err(here)?;
            let tests = if value.starts_with('{') {
                operators(value)
            } else {
                scalar(value).map(|value| vec![AnalysisOperator::In(vec![value])])
            };
            let tests = tests.map_err(here)?;
            clauses.extend(tests.into_iter().map(|test| Self { member: member.to_string(), test }));
        }
        if clauses.is_empty() {
            return Err(FieldError::new(FieldErrorCode::TooShort, "is empty; at least one member is expected"));
        }
        if clauses.len() > MAX_CLAUSES {
            let detail = format!("has {} clauses; at most {MAX_CLAUSES} are accepted", clauses.len());
            return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
        }
        Ok(clauses)
    }

    /// The clauses as the value of the parameter.
    #[must_use]
    pub fn to_json(clauses: &[Self]) -> String {
        let mut members: Vec<(&str, Vec<String>)> = Vec::new();
        for clause in clauses {
            let bound = |name: &str, value: &Scalar| format!("\"{name}\":{}", value.to_json());
            let text = match &clause.test {
                AnalysisOperator::In(choices) => {
                    format!("\"in\":[{}]", choices.iter().map(Scalar::to_json).collect::<Vec<_>>().join(","))
                }
                AnalysisOperator::Not(value) => bound("ne", value),
                AnalysisOperator::Greater(value, equal) => bound(if *equal { "gte" } else { "gt" }, value),
                AnalysisOperator::Less(value, equal) => bound(if *equal { "lte" } else { "lt" }, value),
                AnalysisOperator::Exists(expected) => format!("\"exists\":{expected}"),
            };
            match members.iter_mut().find(|(member, _)| *member == clause.member) {
                Some((_, tests)) => tests.push(text),
                None => members.push((&clause.member, vec![text])),
            }
        }
        object_text(members.iter().map(|(member, tests)| (member, format!("{{{}}}", tests.join(",")))))
    }
}

fn scalar(json: &str) -> Result<Scalar, FieldError> {
    Scalar::from_json(json).ok_or_else(|| wrong_type(json, "a string, a number, a boolean or null"))
}

/// Parses a bound that has an order: a number or a string.
fn bound(json: &str) -> Result<Scalar, FieldError> {
    match scalar(json)? {
        value @ (Scalar::Number(_) | Scalar::Text(_)) => Ok(value),
        _ => Err(wrong_type(json, "a number or a string")),
    }
}

fn operators(json: &str) -> Result<Vec<AnalysisOperator>, FieldError> {
    let mut tests = Vec::new();
    for (name, value) in object(json)? {
        let test = match name.as_ref() {
            "gt" => bound(value).map(|bound| AnalysisOperator::Greater(bound, false)),
            "gte" => bound(value).map(|bound| AnalysisOperator::Greater(bound, true)),
            "lt" => bound(value).map(|bound| AnalysisOperator::Less(bound, false)),
            "lte" => bound(value).map(|bound| AnalysisOperator::Less(bound, true)),
            "ne" => scalar(value).map(AnalysisOperator::Not),
            "in" => choices(value).map(AnalysisOperator::In),
            "exists" => match scalar(value) {
                Ok(Scalar::Bool(expected)) => Ok(AnalysisOperator::Exists(expected)),
                _ => Err(wrong_type(value, "a boolean")),
            },
            other => Err(unknown_value(other, &OPERATORS)),
        };
        tests.push(test.map_err(|error| error.in_member(&name))?);
    }
    if tests.is_empty() {
        let detail = format!("has no operator; use one of {}", OPERATORS.join(", "));
        return Err(FieldError::new(FieldErrorCode::TooShort, detail));
    }
    Ok(tests)
}

fn choices(json: &str) -> Result<Vec<Scalar>, FieldError> {
    let items: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| wrong_type(json, "an array"))?;
    if items.is_empty() || items.len() > MAX_CHOICES {
        let detail = format!("has {} values; 1 to {MAX_CHOICES} are accepted", items.len());
        return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
    }
    items.into_iter().map(|item| scalar(item.get())).collect()
}
