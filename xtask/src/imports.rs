//! Imports inside a crate: no cycle of files, and no import of a higher layer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};

use crate::repository::Tree;

/// The layers of a crate from bottom to top. A file belongs to the layer with the longest matching prefix, and imports from its
/// own layer or from lower ones. Files of one layer must not form a cycle.
const LAYERS: [(&str, &[&[&str]]); 5] = [
    (
        "crates/callhistory-model",
        &[
            &["value/json_text", "value/text_traits"],
            &["reply_struct", "value/extensible_enum"],
            &["field_error", "field_warning", "spelling"],
            &["value"],
            &["record"],
            &["query"],
            &["reply"],
            &["examples", "schema"],
            &["lib"],
        ],
    ),
    (
        "crates/callhistory-client",
        &[
            &["retry", "time"],
            &["error"],
            &["options", "stream", "tls", "trace", "version"],
            &["client"],
            &["builder"],
            &["transport"],
            &["calls"],
            &["originals", "list", "search", "metrics", "import", "export", "changes"],
            &["spool/entry", "spool/error", "spool/status"],
            &["spool/journal"],
            &["spool/message", "spool/queue"],
            &["spool/sender", "spool/thread"],
            &["blocking", "spool", "test_util"],
            &["lib"],
        ],
    ),
    (
        "crates/callhistory-openapi-compat",
        &[
            &["finding", "references"],
            &["yaml", "upgrade"],
            &["document"],
            &["comparison"],
            &["schema", "security"],
            &["operation"],
            &["contract"],
            &["report"],
            &["lib"],
        ],
    ),
    (
        "crates/callhistory-store",
        &[
            &["error", "url", "diagnostic", "api_keys", "partial_file", "record_bytes"],
            &["results"],
            &["call_write"],
            &["domain/mutation"],
            &["store"],
            &["domain"],
            &["concurrency"],
            &["sql"],
            &["sqlite", "postgres"],
            &["admin"],
            &["lib"],
        ],
    ),
    (
        "crates/callhistory-server",
        &[
            &["error", "ids", "gunzip", "import/format"],
            &["headers", "export"],
            &["auth"],
            &[
                "http/limits",
                "http/allowed_hosts",
                "http/compression",
                "http/cors",
                "http/public_url",
                "console/recording_hosts",
                "http/body_budget",
                "http/timeout_stream",
                "followers",
                "http/linger",
                "http/frame_budget",
                "http/problem_stream",
                "http/tls",
                "http/server",
            ],
            &["telemetry"],
            &["state"],
            &["http/extract", "http/middleware", "http", "auth/caller"],
            &["import"],
            &["openapi", "console"],
            &["faults"],
            &["api"],
            &["config"],
            &["commands"],
            &["lib"],
            &["main"],
        ],
    ),
];

type ModulePath = Vec<String>;

/// One crate: its files by the path of their module, the root being the empty path.
struct Crate<'a> {
    root: &'a str,
    files: BTreeMap<ModulePath, &'a str>,
    /// The names that a module re-exports, with the paths that they stand for.
    reexports: BTreeMap<ModulePath, BTreeMap<String, ModulePath>>,
}

/// A path that a file refers to, from the root of its crate.
struct Reference {
    path: ModulePath,
    is_reexport: bool,
}

/// The references of a file, or why it is not Rust.
struct References(Result<Vec<Reference>, String>);

impl References {
    fn iter(&self) -> impl Iterator<Item = &Reference> {
        self.0.iter().flatten()
    }
}

/// Checks the imports of every crate of the tree.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let roots: BTreeSet<&str> = tree.keys().filter_map(|path| path.split_once("/src/")).map(|(root, _)| root).collect();
    roots.into_iter().filter(|root| !root.starts_with("fuzz")).flat_map(|root| check_crate(tree, root)).collect()
}

fn check_crate(tree: &Tree, root: &str) -> Vec<String> {
    let prefix = format!("{root}/src/");
    let mut files = BTreeMap::new();
    let mut references = BTreeMap::new();
    let mut faults = Vec::new();
    for (path, text) in tree.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix)) {
        let Some(name) = path.strip_prefix(&prefix).and_then(|name| name.strip_suffix(".rs")) else { continue };
        // A program imports its library as another crate.
        if name == "main" && tree.contains_key(&format!("{prefix}lib.rs")) {
            continue;
        }
        let module: ModulePath = if matches!(name, "lib" | "main") {
            ModulePath::new()
        } else {
            name.split('/').map(str::to_owned).collect()
        };
        let parsed = text.read_once(path, |text| References(read_references(text, &module)));
        match &parsed.0 {
            Ok(_) => drop(references.insert(module.clone(), Arc::clone(&parsed))),
            Err(error) => faults.push(format!("{path}: is not Rust: {error}")),
        }
        files.insert(module, path.as_str());
    }
    let mut reexports: BTreeMap<ModulePath, BTreeMap<String, ModulePath>> = BTreeMap::new();
    for (module, references) in &references {
        for reference in references.iter().filter(|reference| reference.is_reexport) {
            if let Some(name) = reference.path.last() {
                reexports.entry(module.clone()).or_default().insert(name.clone(), reference.path.clone());
            }
        }
    }
    let owner = Crate { root, files, reexports };
    let edges: BTreeMap<&ModulePath, BTreeSet<ModulePath>> = references
        .iter()
        .map(|(module, references)| {
            let targets = references
                .iter()
                .filter(|reference| !reference.is_reexport)
                .map(|reference| owner.resolve(&reference.path, 0));
            (module, targets.filter(|target| target != module).collect())
        })
        .collect();
    faults.extend(owner.cycles(&edges));
    faults.extend(owner.upward_imports(&edges));
    faults
}

impl Crate<'_> {
    /// The module of the file that defines what a path names.
    fn resolve(&self, path: &[String], depth: usize) -> ModulePath {
        let mut module = ModulePath::new();
        for (at, name) in path.iter().enumerate() {
            let mut child = module.clone();
            child.push(name.clone());
            if self.files.contains_key(&child) {
                module = child;
                continue;
            }
            let reexport = self.reexports.get(&module).and_then(|names| names.get(name));
            // The bound guards against a re-export that names itself.
            if let Some(reexport) = reexport.filter(|reexport| depth < 8 && reexport[..] != path[..=at]) {
                let rest: ModulePath = reexport.iter().chain(&path[at + 1..]).cloned().collect();
                return self.resolve(&rest, depth + 1);
            }
            break;
        }
        module
    }

    fn file(&self, module: &ModulePath) -> &str {
        self.files.get(module).copied().unwrap_or(self.root)
    }

    /// Each cycle of files once, starting with its first file.
    fn cycles(&self, edges: &BTreeMap<&ModulePath, BTreeSet<ModulePath>>) -> Vec<String> {
        let mut found = BTreeMap::new();
        for start in edges.keys() {
            let mut paths = vec![vec![(*start).clone()]];
            let mut seen = BTreeSet::new();
            while let Some(path) = paths.pop() {
                for next in path.last().and_then(|last| edges.get(last)).into_iter().flatten() {
                    if next == *start {
                        let members: BTreeSet<_> = path.iter().cloned().collect();
                        found.entry(members).or_insert_with(|| path.clone());
                    } else if seen.insert(next.clone()) {
                        paths.push(path.iter().cloned().chain([next.clone()]).collect());
                    }
                }
            }
        }
        let arrow =
            |path: &Vec<ModulePath>| path.iter().map(|module| self.file(module)).collect::<Vec<_>>().join(" -> ");
        found
            .values()
            .map(|path| format!("{}: imports form a cycle; move the shared part into a lower file", arrow(path)))
            .collect()
    }

    fn upward_imports(&self, edges: &BTreeMap<&ModulePath, BTreeSet<ModulePath>>) -> Vec<String> {
        let Some((_, layers)) = LAYERS.iter().find(|(root, _)| *root == self.root) else { return Vec::new() };
        let layer = |module: &ModulePath| {
            let name = if module.is_empty() { "lib".to_owned() } else { module.join("/") };
            let matching = layers.iter().enumerate().flat_map(|(at, names)| names.iter().map(move |layer| (layer, at)));
            let fits =
                |layer: &str| name == layer || name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('/'));
            matching.filter(|(layer, _)| fits(layer)).max_by_key(|(layer, _)| layer.len()).map(|(_, at)| at)
        };
        let mut faults = Vec::new();
        for (module, targets) in edges {
            let Some(own) = layer(module) else {
                faults.push(format!("{}: has no layer; name it in xtask/src/imports.rs", self.file(module)));
                continue;
            };
            for target in targets.iter().filter(|target| layer(target).is_some_and(|other| other > own)) {
                faults.push(format!(
                    "{}: imports {}, which is in a higher layer",
                    self.file(module),
                    self.file(target)
                ));
            }
        }
        faults
    }
}

/// Every path that starts with `crate`, `self` or `super`, in imports and in code. A path that starts with a child module
/// counts only in imports.
fn read_references(text: &str, module: &ModulePath) -> Result<Vec<Reference>, String> {
    let tokens: TokenStream = text.parse().map_err(|error: LexError| error.to_string())?;
    let mut references = Vec::new();
    collect(&tokens.into_iter().collect::<Vec<_>>(), module, &mut references);
    Ok(references)
}

fn collect(tokens: &[TokenTree], module: &ModulePath, references: &mut Vec<Reference>) {
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(word) if word == "use" => {
                let is_reexport = at > 0 && is_visibility(&tokens[..at]);
                at = collect_path(tokens, at + 1, module, None, is_reexport, references);
            }
            TokenTree::Ident(word) if word == "mod" => {
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    let inner: ModulePath = module.iter().cloned().chain([name.to_string()]).collect();
                    collect(&body.stream().into_iter().collect::<Vec<_>>(), &inner, references);
                    at += 2;
                }
                at += 1;
            }
            TokenTree::Ident(word)
                if ["crate", "super", "self"].iter().any(|start| word == start) && is_separator(tokens, at + 1) =>
            {
                at = collect_path(tokens, at, module, None, false, references);
            }
            TokenTree::Group(group) => {
                collect(&group.stream().into_iter().collect::<Vec<_>>(), module, references);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Whether the tokens end in `pub` or `pub(…)`.
fn is_visibility(tokens: &[TokenTree]) -> bool {
    match tokens {
        [.., TokenTree::Ident(word)] => word == "pub",
        [.., TokenTree::Ident(word), TokenTree::Group(_)] => word == "pub",
        _ => false,
    }
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    colon(tokens.get(at)) && colon(tokens.get(at + 1))
}

/// Reads one path, with all the branches of an import; returns where it ends.
fn collect_path(
    tokens: &[TokenTree],
    mut at: usize,
    module: &ModulePath,
    base: Option<&ModulePath>,
    is_reexport: bool,
    references: &mut Vec<Reference>,
) -> usize {
    let mut path = base.cloned();
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => {
                let name = word.to_string();
                path = Some(match (path, name.as_str()) {
                    (None, "crate") => ModulePath::new(),
                    (None, "self") => module.clone(),
                    (None, "super") => module[..module.len().saturating_sub(1)].to_vec(),
                    (Some(path), "super") => path[..path.len().saturating_sub(1)].to_vec(),
                    (Some(path), "self") => path,
                    // A child module, or another crate, which resolves to the file itself.
                    (None, _) => module.iter().cloned().chain([name]).collect(),
                    (Some(path), _) => path.into_iter().chain([name]).collect(),
                });
                at += 1;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let branches: Vec<_> = group.stream().into_iter().collect();
                let mut next = 0;
                while next < branches.len() {
                    next = collect_path(&branches, next, module, path.as_ref(), is_reexport, references) + 1;
                    while matches!(branches.get(next - 1), Some(TokenTree::Ident(_))) {
                        // `as` and the new name.
                        next += 1;
                    }
                }
                return at + 1;
            }
            _ => break,
        }
        if !is_separator(tokens, at) {
            break;
        }
        at += 2;
    }
    if let Some(path) = path {
        references.push(Reference { path, is_reexport });
    }
    at
}
