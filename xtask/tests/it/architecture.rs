//! The invariants of ARCHITECTURE.md name the tests that hold them.

use xtask::repository::read_tree;

#[test]
fn the_tests_of_the_invariants_exist() {
    let tree = read_tree(xtask::root()).unwrap();
    let names = tree["ARCHITECTURE.md"].split('`').filter(|text| text.contains(".rs::"));
    let missing = names.clone().filter(|name| {
        let (file, test) = name.split_once("::").unwrap();
        let file = if file.starts_with("xtask/") { file.to_owned() } else { format!("crates/callhistory-{file}") };
        !tree.get(&file).is_some_and(|text| text.contains(&format!("fn {test}(")))
    });
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&str>::new(), "ARCHITECTURE.md names tests that do not exist");
    assert!(names.count() > 20);
}

/// With `arbitrary_precision`, which any dependency could switch on, this object is the number 1.
#[test]
fn json_numbers_cannot_be_forged() {
    let forged: serde_json::Value = serde_json::from_str(r#"{"$serde_json::private::Number":"1"}"#).unwrap();
    assert!(forged.is_object());
}
