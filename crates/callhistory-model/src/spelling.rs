//! Suggestions for misspelt names.

use crate::{FieldError, FieldErrorCode};

/// The value with this name in a table of all names.
pub(crate) fn by_name<T: Clone>(name: &str, table: &[(&str, T)]) -> Result<T, FieldError> {
    let value = table.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    value.ok_or_else(|| unknown_value(name, &table.iter().map(|(known, _)| *known).collect::<Vec<_>>()))
}

/// The error of a value that is not in a list of known values.
pub(crate) fn unknown_value(text: &str, known: &[&str]) -> FieldError {
    let guess = nearest_name(text, known.iter().copied()).map(|known| format!("; did you mean {known:?}?"));
    let detail = format!("{text:?} is not one of {}{}", known.join(", "), guess.unwrap_or_default());
    FieldError::new(FieldErrorCode::Malformed, detail)
}

/// The known name that is most similar to a misspelt one: at most two edits away, in either case of letters.
pub fn nearest_name<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The cost of the distance grows with the length of both names: a hostile name is not compared.
    if name.len() > 64 {
        return None;
    }
    let distance = |known: &str| strsim::osa_distance(&name.to_lowercase(), &known.to_lowercase());
    known.map(|known| (distance(known), known)).min().filter(|(distance, _)| *distance <= 2).map(|(_, known)| known)
}
