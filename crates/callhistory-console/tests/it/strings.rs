//! The texts: each in both languages, each used.

use std::collections::{BTreeMap, BTreeSet};

use callhistory_console::find;

use crate::files::{own_files, text};

/// The string literals of a module in double quotes, with their escapes as they are.
fn literals(source: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        let start = at;
        at += line.len();
        if line.trim_start().starts_with("//") || line.trim_start().starts_with("/*") {
            continue;
        }
        let bytes = line.as_bytes();
        let mut open = None;
        let mut index = 0;
        while index < bytes.len() {
            match (bytes[index], open) {
                (b'\\', Some(_)) => index += 1,
                (b'"', None) => open = Some(index + 1),
                (b'"', Some(from)) => {
                    found.push((start + index + 1, &line[from..index]));
                    open = None;
                }
                _ => {}
            }
            index += 1;
        }
        assert!(open.is_none(), "a text must be on one line: {line}");
    }
    found
}

/// The texts of a language by their key.
fn strings(language: &str) -> BTreeMap<&'static str, &'static str> {
    let path = format!("strings/{language}.js");
    let source = text(&find(&path).unwrap());
    let mut strings = BTreeMap::new();
    let mut key = None;
    for (end, literal) in literals(source) {
        if source[end..].trim_start().starts_with(':') {
            key = Some(literal);
        } else if let Some(key) = key.take() {
            assert_eq!(strings.insert(key, literal), None, "{path}: {key} is there twice");
        }
    }
    assert!(strings.len() > 40, "{path} was not read");
    strings
}

/// The parameters of a text, such as `{count}`.
fn parameters(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

#[test]
fn each_text_is_in_both_languages() {
    let (en, de) = (strings("en"), strings("de"));
    let missing = |one: &BTreeMap<&'static str, _>, other: &BTreeMap<_, _>| {
        one.keys().filter(|key| !other.contains_key(*key)).copied().collect::<Vec<_>>()
    };
    assert_eq!(missing(&en, &de), Vec::<&str>::new(), "German lacks texts");
    assert_eq!(missing(&de, &en), Vec::<&str>::new(), "English lacks texts");
    for (key, text) in &en {
        assert!(!text.trim().is_empty() && !de[key].trim().is_empty(), "{key} is empty");
        assert_eq!(parameters(text), parameters(de[key]), "{key}");
    }
}

/// A key is used if a module has it, or its beginning in a template: `` `shell.theme.${name}` ``.
#[test]
fn each_text_is_used() {
    let strings = strings("en");
    let modules: Vec<_> = own_files(".js").filter(|asset| !asset.path.starts_with("strings/")).map(text).collect();
    let is_used = |key: &str| {
        let plural =
            [".zero", ".one", ".two", ".few", ".many", ".other"].iter().find_map(|form| key.strip_suffix(form));
        let names = [Some(key), plural];
        names.into_iter().flatten().any(|name| {
            let literal = format!("\"{name}\"");
            let is_literal = modules.iter().any(|module| module.contains(&literal));
            let begins = |at: usize| format!("`{}${{", &name[..=at]);
            is_literal
                || name.match_indices('.').any(|(at, _)| {
                    let begin = begins(at);
                    modules.iter().any(|module| module.contains(&begin))
                })
        })
    };
    let unused: Vec<_> = strings.keys().filter(|key| !is_used(key)).collect();
    assert_eq!(unused, Vec::<&&str>::new(), "no module uses these texts");
}

/// A misspelt key would be shown to people as it is.
#[test]
fn each_key_has_a_text() {
    let strings = strings("en");
    let mut count = 0;
    for asset in own_files(".js").filter(|asset| !asset.path.starts_with("strings/")) {
        let source = text(asset);
        for (at, start) in source.match_indices("t(\"") {
            if source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let key = source[at + start.len()..].split('"').next().unwrap();
            let is_known = strings.contains_key(key) || strings.contains_key(format!("{key}.other").as_str());
            assert!(is_known, "{}: there is no text {key}", asset.path);
            count += 1;
        }
    }
    assert!(count > 20, "the keys were not found");
}
