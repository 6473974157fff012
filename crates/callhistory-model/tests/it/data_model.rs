//! docs/data-model.md has every member with its bounds.

use callhistory_model::{CallFilter, CallOutcome, CallRecord, schema::json_schemas};
use serde_json::Value;

/// The number as the page writes it: 65536 is 65,536.
fn with_commas(number: i64) -> String {
    let digits = number.to_string();
    let comma = |at: usize| if at > 0 && (digits.len() - at).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(at, digit)| format!("{}{digit}", comma(at))).collect()
}

#[test]
fn the_page_has_every_member_with_its_bounds_and_filters() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/data-model.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .skip_while(|line| !line.starts_with("| `_id`"))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).skip(1).collect())
        .collect();
    let names: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(names, CallRecord::MEMBERS, "the members of docs/data-model.md");
    let schema = json_schemas().into_iter().find(|(name, _)| *name == "call-record").unwrap().1;
    for (name, row) in names.iter().zip(&rows) {
        let mut member = &schema["properties"][name];
        if let Some(reference) = member["$ref"].as_str() {
            member = schema.pointer(reference.trim_start_matches('#')).unwrap();
        }
        for bound in ["maxLength", "maximum", "exclusiveMaximum", "maxProperties"] {
            let Some(bound) = member[bound].as_i64().map(with_commas) else { continue };
            assert!(row[2].contains(&bound) || row[2].starts_with("as `"), "{name}: {:?} has no {bound}", row[2]);
        }
        let required = schema["required"].as_array().unwrap().contains(&Value::from(*name));
        assert_eq!(row[3], if required { "always" } else { "if given" }, "{name}");
    }
    for filter in CallFilter::PARAMETERS.iter().filter(|name| **name != "timezone") {
        assert!(rows.iter().any(|row| row[4].contains(&format!("`{filter}`"))), "no member is found by {filter}");
    }
}

#[test]
fn the_page_has_every_word_of_every_outcome() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/data-model.md")).unwrap();
    for (outcome, words) in CallOutcome::SYNONYMS {
        // The groups of live words are separated by a bar in the code, which ends a cell of a table.
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "·");
        assert!(page.contains(&format!("| `{outcome}` | {words} |")), "{outcome}: {words}");
    }
    assert_eq!(CallOutcome::SYNONYMS.len() + 1, CallOutcome::KNOWN.len(), "unknown has no words");
}
