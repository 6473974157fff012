//! The cases of the rules of callhistory-openapi-compat, for its tests and for a comparison with redocly.

use std::{collections::BTreeSet, fs, path::Path};

use json_patch::Patch;
use serde::Deserialize;
use serde_json::Value;

/// One case: a small edit of a contract, and what it must be found to break.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the edit does.
    pub name: String,
    /// A change of the base before the edit.
    #[serde(default)]
    given: Patch,
    edit: Patch,
    /// Each breaking or unknown finding as `#/pointer: rule`.
    pub expect: BTreeSet<String>,
    /// The notes in the same form, where the case is about them.
    pub notes: Option<BTreeSet<String>>,
    /// Why the result of redocly differs.
    pub redocly: Option<String>,
    /// The contract that all cases edit.
    #[serde(skip)]
    base: Value,
}

impl Case {
    /// The old and the new contract.
    ///
    /// # Errors
    ///
    /// Says which edit does not apply.
    pub fn contracts(&self) -> Result<(Value, Value), String> {
        let describe = |error: json_patch::PatchError| format!("{:?}: {error}", self.name);
        let mut old = self.base.clone();
        json_patch::patch(&mut old, &self.given).map_err(describe)?;
        let mut new = old.clone();
        json_patch::patch(&mut new, &self.edit).map_err(describe)?;
        Ok((old, new))
    }
}

/// Every case below the root of the repository.
///
/// # Errors
///
/// Says which file cannot be read.
pub fn cases(root: &Path) -> Result<Vec<Case>, String> {
    let folder = root.join("crates/callhistory-openapi-compat/tests/it/cases");
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let base: Value = serde_json::from_str(&read(&folder.join("base.json"))?).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for file in fs::read_dir(&folder).map_err(|error| error.to_string())?.flatten() {
        let path = file.path();
        if path.ends_with("base.json") {
            continue;
        }
        let cases: Vec<Case> =
            serde_json::from_str(&read(&path)?).map_err(|error| format!("{}: {error}", path.display()))?;
        all.extend(cases.into_iter().map(|case| Case { base: base.clone(), ..case }));
    }
    Ok(all)
}
