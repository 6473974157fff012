//! The files of the repository as paths and texts, which a test can change.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// Every file that git tracks or would add, with its text.
pub type Tree = BTreeMap<String, String>;

/// Reads the files of a repository.
///
/// # Errors
///
/// Fails if git cannot list them.
pub fn read_tree(root: &Path) -> Result<Tree, String> {
    let output = Command::new("git").args(["ls-files", "-coz", "--exclude-standard"]).current_dir(root).output();
    let output = output.map_err(|error| format!("git ls-files: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    // A deleted file that is still in the index is left out; a file that is not text has an empty text.
    let read = |name: &str| Some(String::from_utf8(fs::read(root.join(name)).ok()?).unwrap_or_default());
    Ok(names.split_terminator('\0').filter_map(|name| Some((name.to_owned(), read(name)?))).collect())
}

/// The crate of a source file, and its path inside `src` without the extension.
pub(crate) fn source(path: &str) -> Option<(&str, &str)> {
    let (owner, inside) = path.strip_suffix(".rs")?.split_once("/src/")?;
    (owner.starts_with("crates/") || owner == "xtask").then_some((owner, inside))
}

/// The source files of the crates.
pub(crate) fn sources(tree: &Tree) -> impl Iterator<Item = (&String, &String)> {
    tree.iter().filter(|(path, _)| source(path).is_some())
}
