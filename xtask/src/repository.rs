//! The files of the repository as paths and texts, which a test can change.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, HashMap},
    fs,
    ops::Deref,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

/// Every file that git tracks or would add, with its text.
pub type Tree = BTreeMap<String, File>;

/// The text of a file, and what rules have read from it. A copy of a tree shares both, so only a file that is replaced is read again.
#[derive(Debug, Clone)]
pub struct File(Arc<(String, Mutex<Facts>)>);

/// By the path of the file and the type of the result.
type Facts = HashMap<(String, TypeId), Arc<dyn Any + Send + Sync>>;

impl From<String> for File {
    fn from(text: String) -> Self {
        Self(Arc::new((text, Mutex::default())))
    }
}

impl Deref for File {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.0
    }
}

impl File {
    /// What `read` makes of the text, which is read once for each path and type of result: a copy can have another path.
    pub(crate) fn read_once<T: Send + Sync + 'static>(&self, path: &str, read: impl FnOnce(&str) -> T) -> Arc<T> {
        let key = (path.to_owned(), TypeId::of::<T>());
        let mut facts = self.0.1.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = facts.get(&key).and_then(|fact| Arc::clone(fact).downcast().ok()) {
            return known;
        }
        let fact = Arc::new(read(self));
        facts.insert(key, Arc::clone(&fact) as Arc<dyn Any + Send + Sync>);
        fact
    }
}

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
    Ok(names.split_terminator('\0').filter_map(|name| Some((name.to_owned(), read(name)?.into()))).collect())
}

/// The crate of a source file, and its path inside `src` without the extension.
pub(crate) fn source(path: &str) -> Option<(&str, &str)> {
    let (owner, inside) = path.strip_suffix(".rs")?.split_once("/src/")?;
    (owner.starts_with("crates/") || owner == "xtask").then_some((owner, inside))
}

/// The source files of the crates.
pub(crate) fn sources(tree: &Tree) -> impl Iterator<Item = (&String, &File)> {
    tree.iter().filter(|(path, _)| source(path).is_some())
}
