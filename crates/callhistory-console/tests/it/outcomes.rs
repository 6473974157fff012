//! The words of the outcomes, which the page needs where the API returns the status only.

use std::{collections::BTreeMap, fs, path::Path};

use callhistory_console::find;

use crate::files::text;

/// The words of each outcome in the table of docs/data-model.md.
fn documented() -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/data-model.md");
    let document = fs::read_to_string(path).unwrap();
    let (_, section) = document.split_once("\n## Statuses").unwrap();
    let rows =
        section.lines().skip(1).take_while(|line| !line.starts_with("## ")).filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (outcome, words) = row.split_once("` | ").unwrap();
        (
            outcome.to_owned(),
            words.split_whitespace().filter(|word| !matches!(*word, "·" | "|")).map(str::to_owned).collect(),
        )
    })
    .filter(|(outcome, _): &(String, _)| outcome != "unknown")
    .collect()
}

/// The words of each outcome in the module.
fn known() -> BTreeMap<String, Vec<String>> {
    let module = text(&find("parts/outcome.js").unwrap());
    let (_, table) = module.split_once("STATUS_WORDS = {").unwrap();
    let rows =
        table.lines().take_while(|line| !line.starts_with("};")).filter_map(|line| line.trim().split_once(": \""));
    rows.map(|(outcome, words)| {
        let words = words.trim_end_matches("\",").split(' ').map(str::to_owned).collect();
        (outcome.trim_matches('"').to_owned(), words)
    })
    .collect()
}

#[test]
fn the_page_knows_the_words_of_each_outcome() {
    let documented = documented();
    assert_eq!(documented.len(), 7, "the table was not read");
    assert_eq!(known(), documented);
}
