//! The example in the README.

use std::path::Path;

#[test]
fn the_readme_contains_the_quickstart() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap_or_default();
    let block = format!("```rust\n{}```\n", include_str!("../../examples/quickstart.rs"));
    assert!(readme.contains(&block), "README.md must hold crates/callhistory-client/examples/quickstart.rs:\n{block}");
}
