//! The repository as the rules see it: paths and texts, so that a test can change one of them.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// Every file that git knows or would add, with its text.
pub type Tree = BTreeMap<String, String>;

/// Reads the files of a repository.
///
/// # Errors
///
/// Fails where git cannot list them.
pub fn read_tree(root: &Path) -> Result<Tree, String> {
    let output = Command::new("git").args(["ls-files", "-coz", "--exclude-standard"]).current_dir(root).output();
    let output = output.map_err(|error| format!("git ls-files: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    // A file that was deleted and not yet committed is not there; one that is not text counts by its name alone.
    let read = |name: &str| Some(String::from_utf8(fs::read(root.join(name)).ok()?).unwrap_or_default());
    Ok(names.split_terminator('\0').filter_map(|name| Some((name.to_owned(), read(name)?))).collect())
}

/// The crate and the path inside its `src`, for source files.
pub(crate) fn source(path: &str) -> Option<(&str, &str)> {
    let (owner, inside) = path.strip_suffix(".rs")?.split_once("/src/")?;
    (owner.starts_with("crates/") || owner == "xtask").then_some((owner, inside))
}

pub(crate) fn sources(tree: &Tree) -> impl Iterator<Item = (&String, &String)> {
    tree.iter().filter(|(path, _)| source(path).is_some())
}
