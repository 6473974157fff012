//! Rules for the content of source files: where SQL may be, and that a type name has one meaning in its crate.

use std::collections::BTreeMap;

use crate::repository::{Tree, source, sources};

const STORE: &str = "crates/callhistory-store";
/// The modules of the store that contain SQL.
const SQL_MODULES: [&str; 12] = [
    "sqlite/read/",
    "sqlite/write/statements",
    "sqlite/write/columns",
    "sqlite/write/reindex",
    "sqlite/write/idempotency",
    "sqlite/write/originals",
    "sqlite/columnar/",
    "sqlite/admin/",
    "postgres/read/",
    "postgres/write/reindex",
    "postgres/write/statements",
    "postgres/admin/",
];
/// Other files with SQL: parts of statements that both engines share, the migrations and settings of a database that is opened,
/// and the row of its epoch.
const SQL_EXCEPTIONS: [&str; 4] = ["sql", "sqlite/open", "postgres/open", "postgres/epoch"];
const SQL_WORDS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// The first word of SQL in a file.
struct SqlWord(Option<String>);

/// The types and traits that a file defines.
struct TypeNames(Vec<String>);

/// Checks that SQL is in the modules for SQL only.
pub(crate) fn sql(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in sources(tree) {
        let Some((STORE, inside)) = source(path) else { continue };
        if SQL_MODULES.iter().any(|module| inside.starts_with(module)) {
            continue;
        }
        let found = text.read_once(path, |text| {
            let mut words = code_lines(inside, text).flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()));
            SqlWord(words.find(|word| SQL_WORDS.contains(word)).map(str::to_owned))
        });
        match (&found.0, SQL_EXCEPTIONS.contains(&inside)) {
            (Some(word), false) => {
                faults.push(format!("{path}: contains SQL ({word}); move the statement into a module for SQL"));
            }
            (None, true) => faults.push(format!("{path}: has no SQL any more; remove it from SQL_EXCEPTIONS")),
            _ => {}
        }
    }
    faults
}

/// Checks that the sources of a crate define no two types or traits with the same name.
pub(crate) fn type_names(tree: &Tree) -> Vec<String> {
    let mut definitions: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    for (path, text) in sources(tree) {
        let Some((owner, inside)) = source(path) else { continue };
        for name in &text.read_once(path, |text| TypeNames(code_lines(inside, text).filter_map(type_name).collect())).0
        {
            definitions.entry((owner, name.clone())).or_default().push(path);
        }
    }
    let repeated = definitions.into_iter().filter(|(_, paths)| paths.len() > 1);
    repeated.map(|((_, name), paths)| format!("{}: each define {name}; rename one", paths.join(", "))).collect()
}

/// The type or trait that a line defines.
fn type_name(line: &str) -> Option<String> {
    let line = line.strip_prefix("pub(").and_then(|rest| rest.split_once(") ")).map_or(line, |(_, item)| item);
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let rest = ["struct ", "enum ", "trait "].iter().find_map(|keyword| line.strip_prefix(keyword))?;
    // A macro defines `$name`, which is not a name here.
    let name = rest.split(|c: char| !c.is_alphanumeric()).next()?;
    Some(name.to_owned()).filter(|name| !name.is_empty())
}

/// The lines of a file without indentation, comments and tests. The formatter puts each definition on a line of its own.
fn code_lines<'a>(inside: &str, text: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = if inside.ends_with("_tests") { "" } else { text };
    let code = lines.lines().map(str::trim_start).take_while(|line| *line != "mod tests {");
    code.filter(|line| !line.starts_with("//"))
}
