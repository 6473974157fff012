//! Reading a document: JSON or YAML, OpenAPI 3.0 or 3.1.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use semver::Version;
use serde_json::{Value, value::RawValue};

use crate::{
    references::{escape, references},
    upgrade::upgrade,
    yaml,
};

/// A document that can be compared.
#[derive(Debug, Clone)]
pub struct Document {
    /// The document as OpenAPI 3.1.
    pub(crate) value: Value,
    /// Every reference in it, each once.
    pub(crate) references: Vec<String>,
    lines: Lines,
}

/// Where the lines of the values come from.
#[derive(Debug, Clone)]
enum Lines {
    None,
    Json(String),
    Yaml(BTreeMap<String, usize>),
}

impl Document {
    /// Reads a file of JSON or YAML.
    ///
    /// # Errors
    ///
    /// Says why the file cannot be read, or is not an OpenAPI document.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        Self::parse(&text)
    }

    /// Parses a text of JSON (which starts with `{`) or YAML.
    ///
    /// # Errors
    ///
    /// Says why the text is not an OpenAPI document.
    ///
    /// # Examples
    ///
    /// ```
    /// use callhistory_openapi_compat::Document;
    ///
    /// assert!(Document::parse("openapi: 3.1.0\npaths: {}\n").is_ok());
    /// assert!(Document::parse("swagger: '2.0'\npaths: {}\n").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with('{') {
            let value = serde_json::from_str(text).map_err(|error| format!("is not valid JSON: {error}"))?;
            return Self::new(value, Lines::Json(text.to_owned()));
        }
        let (value, lines) = yaml::parse(text).map_err(|error| format!("is not valid YAML: {error}"))?;
        Self::new(value, Lines::Yaml(lines))
    }

    /// A document that is in memory; its findings have no lines.
    ///
    /// # Errors
    ///
    /// Says why the value is not an OpenAPI document.
    pub fn from_value(value: Value) -> Result<Self, String> {
        Self::new(value, Lines::None)
    }

    fn new(mut value: Value, lines: Lines) -> Result<Self, String> {
        let version = value["openapi"].as_str().unwrap_or_default();
        let (is_old, is_known) = (version.starts_with("3.0."), version.starts_with("3.1."));
        if !(is_old || is_known) {
            let is_swagger = value.get("swagger").is_some();
            let what = if is_swagger { "Swagger".to_owned() } else { format!("{:?}", value["openapi"].to_string()) };
            return Err(format!("is not an OpenAPI 3.0 or 3.1 document, but {what}"));
        }
        // OpenAPI 3.1 allows a document that has webhooks only.
        let has_paths = value["paths"].is_object();
        if !(has_paths || is_known && value["paths"].is_null() && value["webhooks"].is_object()) {
            return Err("has no paths".to_owned());
        }
        if is_old {
            upgrade(&mut value);
        }
        let references = references(&value).into_iter().map(str::to_owned).collect();
        Ok(Self { value, references, lines })
    }

    /// The document as OpenAPI 3.1.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.value
    }

    /// The version of the API, `info.version`, as it is written in the document.
    #[must_use]
    pub fn version_text(&self) -> &str {
        self.value["info"]["version"].as_str().unwrap_or_default()
    }

    /// The version of the API; none if it is not a semantic version. `1.2` counts as `1.2.0`.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        let text = self.version_text();
        let text = text.strip_prefix('v').unwrap_or(text);
        let candidates = [text.to_owned(), format!("{text}.0"), format!("{text}.0.0")];
        candidates.iter().find_map(|text| Version::parse(text).ok())
    }

    /// The lines of these JSON pointers, or of the nearest values around them.
    pub(crate) fn lines<'a>(&self, pointers: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
        match &self.lines {
            Lines::None => BTreeMap::new(),
            Lines::Yaml(lines) => pointers
                .filter_map(|pointer| Some((pointer, nearest(pointer, |part| lines.get(part).copied())?)))
                .collect(),
            Lines::Json(text) => {
                let wanted: BTreeSet<&str> = pointers.collect();
                let mut offsets = BTreeMap::new();
                locate(text, text, "", &wanted, &mut offsets);
                let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
                let line = |offset: usize| starts.partition_point(|start| *start < offset) + 1;
                let of = |pointer| nearest(pointer, |part| offsets.get(part).copied()).map(line);
                wanted.into_iter().filter_map(|pointer| Some((pointer, of(pointer)?))).collect()
            }
        }
    }
}

/// What is known of a pointer or, where nothing is, of the nearest one around it.
fn nearest(pointer: &str, known: impl Fn(&str) -> Option<usize>) -> Option<usize> {
    let mut part = pointer;
    loop {
        if let Some(found) = known(part) {
            return Some(found);
        }
        part = part.rsplit_once('/')?.0;
    }
}

/// Finds where the values of the pointers begin in a text of JSON. Only the values around them are parsed again.
fn locate(text: &str, part: &str, pointer: &str, wanted: &BTreeSet<&str>, offsets: &mut BTreeMap<String, usize>) {
    let below = format!("{pointer}/");
    let Some(offset) = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize) else { return };
    offsets.insert(pointer.to_owned(), offset);
    // Pointers below this one follow it in order, with others such as `/a-b` between `/a` and `/a/b`.
    if !wanted.range(below.as_str()..).next().is_some_and(|next| next.starts_with(&below)) {
        return;
    }
    if let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(part) {
        for (name, member) in members {
            let inside = format!("{below}{}", escape(&name));
            if wanted.range(inside.as_str()..).next().is_some_and(|next| next.starts_with(&inside)) {
                locate(text, member.get(), &inside, wanted, offsets);
            }
        }
    } else if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(part) {
        for (index, item) in items.into_iter().enumerate() {
            locate(text, item.get(), &format!("{below}{index}"), wanted, offsets);
        }
    }
}
