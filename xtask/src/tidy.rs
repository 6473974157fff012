//! The house rules. Each rule looks at the tree as paths and texts, so that a test can seed a fault for each.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use toml::Table;

use crate::{
    imports,
    repository::{Tree, read_tree, source, sources},
    source_rules,
};

const MAX_FILE_LINES: usize = 500;
const MAX_README_LINES: usize = 150;
/// A crate with fewer files needs no folders.
const FILES_BEFORE_FOLDERS: usize = 12;
const NAMES_THAT_SAY_NOTHING: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "types", "misc", "manager"];
/// Libraries of others, which are not changed.
const VENDORED: &str = "/assets/vendor/";
const DRIVERS: [&str; 4] = ["rusqlite", "tokio-postgres", "deadpool-postgres", "sqlx"];

/// What a crate must never depend on, besides the drivers where it may not have them.
const FORBIDDEN: [(&str, bool, &[&str]); 9] = [
    (
        "callhistory-model",
        false,
        &["tokio", "axum", "reqwest", "hyper", "callhistory-store", "callhistory-server", "callhistory-client"],
    ),
    (
        "callhistory-store",
        true,
        &["axum", "utoipa", "schemars", "reqwest", "clap", "callhistory-server", "callhistory-client"],
    ),
    ("callhistory-server", false, &["reqwest", "callhistory-client", "callhistory-test-server"]),
    (
        "callhistory-client",
        false,
        &["axum", "utoipa", "schemars", "callhistory-store", "callhistory-server", "callhistory-test-server"],
    ),
    ("callhistory-test-server", false, &["axum", "reqwest"]),
    // The page knows the service by its public API only.
    (
        "callhistory-console",
        false,
        &[
            "tokio",
            "axum",
            "hyper",
            "callhistory-model",
            "callhistory-store",
            "callhistory-server",
            "callhistory-client",
        ],
    ),
    // Tests of every crate use it, so it may depend on none of them.
    (
        "callhistory-test-support",
        true,
        &["callhistory-model", "callhistory-store", "callhistory-server", "callhistory-client"],
    ),
    // A tool for any document, which builds in seconds.
    (
        "callhistory-openapi-compat",
        false,
        &[
            "tokio",
            "axum",
            "reqwest",
            "jsonschema",
            "callhistory-model",
            "callhistory-store",
            "callhistory-server",
            "callhistory-client",
        ],
    ),
    // What checks the repository must not wait for an engine to compile.
    ("xtask", false, &["axum", "tokio", "callhistory-store", "callhistory-server", "callhistory-client"]),
];

/// Checks the repository at `root`.
///
/// # Errors
///
/// One line for each broken rule: where, what, and what mends it.
pub fn run(root: &Path) -> Result<(), String> {
    let tree = read_tree(root)?;
    let faults = check(&tree);
    if faults.is_empty() {
        println!("{:>10} {} files", "Tidy", tree.len());
        return Ok(());
    }
    Err(faults.iter().map(|fault| format!("{:>10} {fault}", "Untidy")).collect::<Vec<_>>().join("\n"))
}

/// Every broken rule of a tree.
#[must_use]
pub fn check(tree: &Tree) -> Vec<String> {
    let of_files = tree.iter().flat_map(|(path, file)| {
        let faults = file.read_once(path, |text| {
            FileFaults([words, old_words, layout, inclusions].map(|rule| rule(path, text)).concat())
        });
        faults.0.clone()
    });
    let rules = [
        sizes,
        folders,
        names,
        manifests,
        edges,
        imports::check,
        source_rules::sql,
        source_rules::type_names,
        operations,
        migrations,
        readme,
        built,
    ];
    of_files.chain(rules.into_iter().flat_map(|rule| rule(tree))).collect()
}

/// What is wrong in a file, whatever is in the others.
struct FileFaults(Vec<String>);

fn sizes(tree: &Tree) -> Vec<String> {
    let long = sources(tree).filter(|(_, text)| text.lines().count() > MAX_FILE_LINES);
    long.map(|(path, text)| {
        format!(
            "{path}: has {} lines; split it where it has two purposes (at most {MAX_FILE_LINES})",
            text.lines().count()
        )
    })
    .collect()
}

fn folders(tree: &Tree) -> Vec<String> {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (owner, inside) in tree.keys().filter_map(|path| source(path)) {
        files.entry(owner).or_default().push(inside);
    }
    let small = files.iter().filter(|(_, files)| files.len() < FILES_BEFORE_FOLDERS);
    small
        .flat_map(|(owner, files)| files.iter().filter(|file| file.contains('/')).map(move |file| (owner, file)))
        .map(|(owner, file)| {
            format!(
                "{owner}/src/{file}.rs: lies in a folder; a crate of fewer than {FILES_BEFORE_FOLDERS} files is flat"
            )
        })
        .collect()
}

fn names(tree: &Tree) -> Vec<String> {
    let empty = |path: &str| {
        let (_, inside) = source(path)?;
        inside.split('/').find(|part| NAMES_THAT_SAY_NOTHING.contains(part) || *part == "service").map(str::to_owned)
    };
    tree.keys()
        .filter_map(|path| Some(format!("{path}: {:?} says nothing; name what is in it", empty(path)?)))
        .collect()
}

fn words(path: &str, text: &str) -> Vec<String> {
    // In two parts, so that this file does not find itself.
    let words = [
        (concat!("#[al", "low("), "use #[expect(…, reason = \"…\")]"),
        (concat!("#![al", "low("), "use #![expect(…, reason = \"…\")]"),
        (concat!("TO", "DO"), "do it, or say in the documentation what is not done"),
        (concat!("FIX", "ME"), "mend it"),
        (concat!("XX", "X"), "say what is meant"),
        (concat!("to", "do!("), "write what is missing"),
        (concat!("unimple", "mented!("), "write what is missing"),
        (concat!("d", "bg!("), "take it out"),
    ];
    let is_checked = |path: &str| {
        let endings = [".rs", ".toml", ".yml", ".yaml", ".md", ".js", ".mjs", ".css", ".html", ".ts", ".py"];
        endings.iter().any(|end| path.ends_with(end)) && !path.contains(VENDORED)
    };
    if !is_checked(path) {
        return Vec::new();
    }
    let found = words.iter().flat_map(|(word, mend)| text.match_indices(word).map(move |(at, _)| (at, word, mend)));
    found.map(|(at, word, mend)| format!("{path}:{}: {word}: {mend}", text[..at].matches('\n').count() + 1)).collect()
}

/// Old names and phrases, each with its replacement. A phrase is found in names too, such as `so_long` or `SoLong`.
fn old_words(path: &str, text: &str) -> Vec<String> {
    // In two parts, so that this file does not find itself.
    let phrases = [
        (concat!("under", " way"), "in flight, or in progress"),
        (concat!("made", " anew"), "rebuilt"),
        (concat!("broken", " off"), "aborted"),
        (concat!("breaks", " off"), "aborts, or is aborted"),
        (concat!("is", " told"), "is notified, or is reported"),
        (concat!("so", " many"), "the number, or this number of"),
        (concat!("the", " seam"), "the storage interface"),
        (concat!("from", " afar"), "by positions"),
    ];
    let names = [
        (concat!("numbers", ":read"), "phone-numbers:read"),
        (concat!("put", "_call"), "replace_call"),
        (concat!("patch", "_call"), "update_call"),
        (concat!("call", "_metrics"), "get_call_metrics"),
        (concat!("call", "_changes"), "list_call_changes"),
        (concat!("Call", "Draft"), "CallInput"),
        (concat!("Fault", "Code"), "FieldErrorCode"),
        (concat!("Cro", "wd"), "ConnectionLimiter"),
        (concat!("Sur", "round"), "RequestLayer"),
        (concat!("Wit", "ness"), "ContractObserver"),
        (concat!("Creation", "Key"), "IdempotencyKeyHeader"),
        (concat!("spend", "_records"), "charge_records"),
        (concat!("page_of", "_few"), "page_by_filter_then_sort"),
        (concat!("page_by", "_looks"), "page_by_bounded_scan"),
        (concat!("is", "_passing"), "is_transient"),
        (concat!("open", "_set"), "extensible_enum"),
        (concat!("debug", "_assertions)"), "an argument: tests run the code that users run"),
    ];
    let phrases = phrases.map(|(phrase, better)| (forms(phrase), better));
    let is_checked = |path: &str| {
        let endings = [".rs", ".md", ".json", ".sql", ".toml", ".yml", ".yaml", ".js", ".css", ".html"];
        let has_words = endings.iter().any(|end| path.ends_with(end)) && !path.contains(VENDORED);
        has_words && !path.starts_with("fuzz/seeds/") && !path.ends_with("package-lock.json")
    };
    if !is_checked(path) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let starts = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'));
    let found = names.iter().flat_map(|(name, better)| text.match_indices(name).map(move |(at, _)| (at, name, better)));
    let found = found.filter(|(at, ..)| starts(*at)).map(|(at, name, better)| (at, *name, better));
    let in_phrases = phrases.iter().flat_map(|(forms, better)| {
        find_phrase(text, forms).into_iter().map(move |at| (at, forms[0].as_str(), better))
    });
    for (at, word, better) in found.chain(in_phrases) {
        let line = text[..at].matches('\n').count() + 1;
        faults.push(format!("{path}:{line}: {word:?}: write {better:?}"));
    }
    faults
}

/// A phrase, and its forms in names.
fn forms(phrase: &str) -> [String; 3] {
    let capitalized = |word: &str| word[..1].to_uppercase() + &word[1..];
    [phrase.to_owned(), phrase.replace(' ', "_"), phrase.split(' ').map(capitalized).collect()]
}

/// Where a phrase or one of its forms begins. Only the last form, in CamelCase, may follow a letter.
fn find_phrase(text: &str, forms: &[String; 3]) -> Vec<usize> {
    let mut found = Vec::new();
    for (form, is_camel) in forms.iter().zip([false, false, true]) {
        let starts = |at: usize| is_camel || !text[..at].ends_with(char::is_alphanumeric);
        let ends = |at: usize| !text[at..].starts_with(char::is_lowercase);
        let places = text.match_indices(form.as_str()).map(|(at, _)| at);
        found.extend(places.filter(|at| starts(*at) && ends(at + form.len())));
    }
    found
}

fn layout(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    // The inputs of the fuzz targets and the libraries of others are what they are to the byte.
    if text.is_empty() || path.starts_with("fuzz/seeds/") || path.contains(VENDORED) {
        return faults;
    }
    if !text.ends_with('\n') || text.ends_with("\n\n") {
        faults.push(format!("{path}: must end with exactly one newline"));
    }
    let lines = text.lines().zip(1..).filter(|_| !path.starts_with("LICENSE"));
    for (line, number) in lines {
        if line.ends_with([' ', '\t', '\r']) || (path.ends_with(".rs") && line.contains('\t')) {
            faults.push(format!("{path}:{number}: has a tab or white space at its end"));
        }
    }
    faults
}

/// The manifest of a member, with the name of its crate.
struct Manifest {
    name: String,
    table: Table,
}

/// The manifests of the members. The fuzz targets are a workspace of their own.
fn members(tree: &Tree) -> impl Iterator<Item = (&String, Arc<Option<Manifest>>)> {
    let manifests = tree.iter().filter(|(path, _)| path.ends_with("/Cargo.toml") && !path.starts_with("fuzz/"));
    manifests.map(|(path, file)| {
        let read = |text: &str| {
            let table: Table = text.parse().ok()?;
            let name = table.get("package")?.get("name")?.as_str()?.to_owned();
            Some(Manifest { name, table })
        };
        (path, file.read_once(path, read))
    })
}

/// The dependencies of a kind, those of single platforms included.
fn dependencies<'a>(manifest: &'a Table, kind: &'a str) -> impl Iterator<Item = (&'a String, &'a toml::Value)> {
    let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten();
    let of_targets = targets.filter_map(move |(_, target)| target.get(kind));
    manifest.get(kind).into_iter().chain(of_targets).filter_map(toml::Value::as_table).flatten()
}

fn manifests(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, manifest) in members(tree) {
        let Some(Manifest { table: manifest, .. }) = &*manifest else { continue };
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            // With a version, a dependency of the tests on their own crate would have to be published before it.
            let is_itself = |value: &toml::Value| value.get("path").and_then(toml::Value::as_str) == Some(".");
            let others = dependencies(manifest, kind).filter(|(_, value)| !inherits(value) && !is_itself(value));
            for (name, _) in others {
                faults.push(format!("{path}: {name}: versions belong in the root manifest; write workspace = true"));
            }
        }
        let package = manifest.get("package").and_then(|value| value.as_table());
        for key in ["version", "edition", "license", "rust-version"] {
            if !package.and_then(|package| package.get(key)).is_some_and(inherits) {
                faults.push(format!("{path}: package.{key} must be inherited from the workspace"));
            }
        }
        if !manifest.get("lints").is_some_and(inherits) {
            faults.push(format!("{path}: must inherit the lints of the workspace"));
        }
    }
    faults
}

fn inherits(value: &toml::Value) -> bool {
    value.get("workspace").and_then(toml::Value::as_bool) == Some(true)
}

fn edges(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, manifest) in members(tree) {
        let Some(Manifest { name, table: manifest }) = &*manifest else { continue };
        let Some((_, may_have_driver, forbidden)) = FORBIDDEN.iter().find(|(owner, ..)| owner == name) else {
            continue;
        };
        let drivers: &[&str] = if *may_have_driver { &[] } else { &DRIVERS };
        for (dependency, _) in dependencies(manifest, "dependencies") {
            if forbidden.contains(&dependency.as_str()) || drivers.contains(&dependency.as_str()) {
                faults.push(format!("{path}: {name} must never depend on {dependency}"));
            }
        }
        if matches!(name.as_str(), "callhistory-client" | "callhistory-store") && asks_for_schemas(manifest) {
            faults.push(format!("{path}: {name} must not compile the schemas of the model"));
        }
    }
    faults
}

/// A crate is what lies in its folder: no file of another one is compiled into it.
fn inclusions(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !path.ends_with(".rs") {
        return faults;
    }
    let depth_of_crate = if path.starts_with("crates/") { 2 } else { 1 };
    let depth = path.matches('/').count().saturating_sub(depth_of_crate);
    // A formatter may break the line before the name of the file.
    let text: String = text.split_whitespace().collect();
    for start in [concat!("include_", "str!("), concat!("include_", "bytes!("), concat!("#[pa", "th=")] {
        for rest in text.split(start).skip(1) {
            let Some(file) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
                faults.push(format!("{path}: {start} takes more than a name; write the name of the file"));
                continue;
            };
            if file.matches("../").count() > depth || file.starts_with('/') {
                faults.push(format!("{path}: {file} lies outside of this crate; move it, or depend on its crate"));
            }
        }
    }
    faults
}

/// Whether a crate switches on the model's feature `schema`, at the dependency or through a feature of its own.
fn asks_for_schemas(manifest: &Table) -> bool {
    let lists = |value: &toml::Value, word: &str| {
        value.as_array().is_some_and(|words| words.iter().any(|have| have.as_str() == Some(word)))
    };
    let mut models = dependencies(manifest, "dependencies").filter(|(name, _)| *name == "callhistory-model");
    let mut features = manifest.get("features").and_then(toml::Value::as_table).into_iter().flatten();
    models.any(|(_, model)| model.get("features").is_some_and(|words| lists(words, "schema")))
        || features.any(|(_, words)| lists(words, "callhistory-model/schema"))
}

/// The operations of the API by their ids; those for operators lie outside `/v2/`.
struct OperationIds(Result<Vec<String>, String>);

fn operation_ids(text: &str) -> Result<Vec<String>, String> {
    let contract: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("openapi/callhistory.json: {error}"))?;
    let paths = contract["paths"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(route, _)| route.starts_with("/v2/"))
        .flat_map(|(_, path)| path.as_object().into_iter().flatten());
    Ok(paths.filter_map(|(_, operation)| Some(operation["operationId"].as_str()?.to_owned())).collect())
}

/// The asynchronous functions of a file, each with the word before it.
struct AsyncFunctions(BTreeSet<String>);

fn async_functions(text: &str) -> BTreeSet<String> {
    let start = "async fn ";
    let functions = text.match_indices(start).filter_map(|(at, _)| {
        let name = text.get(at + start.len()..)?.split('(').next()?;
        Some(format!("{}{start}{name}", if text[..at].ends_with("pub ") { "pub " } else { "" }))
    });
    functions.collect()
}

const CONTRACT: &str = "openapi/callhistory.json";

fn operations(tree: &Tree) -> Vec<String> {
    let Some(contract) = tree.get(CONTRACT) else {
        return vec![format!("{CONTRACT}: is missing; run cargo xtask openapi generate")];
    };
    let ids = contract.read_once(CONTRACT, |text| OperationIds(operation_ids(text)));
    let ids = match &ids.0 {
        Ok(ids) => ids,
        Err(fault) => return vec![fault.clone()],
    };
    let places = [
        ("crates/callhistory-server/src/", "", "handler"),
        ("crates/callhistory-store/src/store.rs", "", "store method"),
        ("crates/callhistory-client/src/", "pub ", "SDK method"),
    ];
    let mut faults = Vec::new();
    for id in ids {
        for (prefix, visibility, role) in places {
            let [private, public] = ["", "pub "].map(|word| format!("{word}async fn {id}"));
            let mut files = sources(tree).filter(|(path, _)| path.starts_with(prefix));
            let has_function = files.any(|(path, file)| {
                let functions = file.read_once(path, |text| AsyncFunctions(async_functions(text)));
                functions.0.contains(&public) || visibility.is_empty() && functions.0.contains(&private)
            });
            if !has_function {
                faults.push(format!("{prefix}: the operation {id} has no {role} of this name"));
            }
        }
    }
    faults
}

fn migrations(tree: &Tree) -> Vec<String> {
    let mut engines: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for rest in tree.keys().filter_map(|path| path.strip_prefix("crates/callhistory-store/migrations/")) {
        if let Some((engine, file)) = rest.split_once('/') {
            engines.entry(engine).or_default().push(file);
        }
    }
    let Some((first, files)) = engines.first_key_value() else { return vec!["there are no migrations".to_owned()] };
    let other = engines.iter().filter(|(_, others)| *others != files);
    other
        .map(|(engine, _)| {
            format!("crates/callhistory-store/migrations/{engine}: differs in numbers or names from {first}")
        })
        .collect()
}

fn readme(tree: &Tree) -> Vec<String> {
    let text = tree.get("README.md").map_or("", |file| file);
    let mut faults = Vec::new();
    if text.lines().count() > MAX_README_LINES {
        faults.push(format!("README.md: has {} lines; at most {MAX_README_LINES} are read", text.lines().count()));
    }
    for command in ["cargo run --release -p callhistory-server", "cargo xtask ci"] {
        if !text.contains(command) {
            faults.push(format!("README.md: does not name {command:?}"));
        }
    }
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://"));
    faults.extend(
        links
            .filter(|link| !tree.contains_key(*link))
            .map(|link| format!("README.md: links to {link}, which is not there")),
    );
    faults
}

fn built(tree: &Tree) -> Vec<String> {
    let made = |path: &str| {
        path.starts_with("target/") || [".db", ".sqlite", ".sqlite3"].iter().any(|end| path.ends_with(end))
    };
    tree.keys()
        .filter(|path| made(path))
        .map(|path| format!("{path}: is made by a build or a run; do not commit it"))
        .collect()
}
