//! One seeded fault for each rule.

use std::sync::LazyLock;

use xtask::{
    repository::{File, Tree, read_tree},
    tidy::check,
};

fn tree() -> Tree {
    static TREE: LazyLock<Tree> = LazyLock::new(|| read_tree(xtask::root()).unwrap());
    TREE.clone()
}

#[test]
fn the_repository_is_tidy() {
    let tree = tree();
    assert!(tree.len() > 40, "the tree was not read");
    assert_eq!(check(&tree), Vec::<String>::new());
}

/// Changes one file of the real tree and returns what the rules then say.
fn seeded(path: &str, change: impl FnOnce(&str) -> String) -> Vec<String> {
    let mut tree = tree();
    let text = change(tree.get(path).map_or("", |file| file));
    tree.insert(path.to_owned(), text.into());
    check(&tree)
}

fn assert_found(faults: &[String], expected: &str) {
    assert!(faults.len() == 1 && faults[0].contains(expected), "{expected}: {faults:?}");
}

/// An import of a higher layer also closes a cycle, which is an error of its own.
fn assert_among(faults: &[String], expected: &str) {
    assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:?}");
}

#[test]
fn each_rule_finds_its_fault() {
    let model = "crates/callhistory-model/src/lib.rs";
    let manifest = "crates/callhistory-model/Cargo.toml";
    let add = |line: &'static str| move |text: &str| format!("{text}{line}\n");
    let replace = |old: &'static str, new: &'static str| {
        move |text: &str| {
            assert!(text.contains(old), "{old} is not there to be replaced");
            text.replacen(old, new, 1)
        }
    };
    let long = |text: &str| format!("{text}{}", "// A line.\n".repeat(501 - text.lines().count()));
    assert_found(&seeded(model, long), "has 501 lines");
    assert_found(&seeded("crates/callhistory-test-support/src/sub/part.rs", add("//! Part.")), "lies in a folder");
    assert_found(&seeded("xtask/src/utils.rs", add("//! Things.")), "says nothing");
    assert_found(&seeded("xtask/src/service.rs", add("//! Things.")), "says nothing");
    assert_found(&seeded(model, add(concat!("#[al", "low(dead_code)]"))), "use #[expect");
    assert_found(&seeded(model, add(concat!("// TO", "DO: more"))), "do it");
    assert_found(&seeded(model, add(concat!("fn f() { to", "do!() }"))), "write what is missing");
    assert_found(&seeded(model, add(concat!("fn f() { unimple", "mented!() }"))), "write what is missing");
    assert_found(&seeded(model, add(concat!("fn f() { d", "bg!(1) }"))), "take it out");
    assert_found(&seeded(model, add(concat!("// What is under", " way."))), "in flight");
    assert_found(&seeded(model, add(concat!("fn a_fault_is", "_told_in_time() {}"))), "is reported");
    assert_found(&seeded(model, add(concat!("struct RequestsUnder", "Way;"))), "in flight");
    assert_eq!(seeded(model, add("// This told us nothing.")), Vec::<String>::new());
    assert_found(&seeded("docs/operating.md", add(concat!("The scope numbers", ":read."))), "phone-numbers:read");
    assert_found(&seeded(model, add(concat!("fn f() { if cfg!(debug", "_assertions) {} }"))), "an argument");
    assert_found(&seeded(model, add("fn f() {\t}")), "tab");
    assert_found(&seeded(model, |text| text.trim_end().to_owned()), "exactly one newline");
    assert_found(&seeded(model, |text| format!("{text}\n")), "exactly one newline");
    assert_found(&seeded(model, add("// end ")), "white space");
    assert_found(&seeded("README.md", |text| format!("{text}{}", "line\n".repeat(150))), "at most 150");
    assert_found(&seeded("README.md", replace("cargo xtask ci", "make")), "does not name");
    assert_found(&seeded("README.md", replace("(docs/api.md)", "(docs/gone.md)")), "docs/gone.md");
    assert_found(&seeded(manifest, replace("serde.workspace = true", "serde = \"1\"")), "root manifest");
    assert_found(&seeded(manifest, replace("version.workspace = true", "version = \"1.0.0\"")), "package.version");
    assert_found(&seeded(manifest, replace("[lints]\nworkspace = true", "[lints]")), "lints");
    let include = add(concat!("const TEXT: &str = include_", "str!(\"../../callhistory-client/src/lib.rs\");"));
    assert_found(&seeded(model, include), "outside of this crate");
    let path = add(concat!("#[pa", "th = \"../../../xtask/src/tidy.rs\"] mod tidy;"));
    assert_found(&seeded(model, path), "outside of this crate");
    assert_found(&seeded("data/calls.db", add("SQLite")), "do not commit");
    assert_found(&seeded("target/debug/calls", add("ELF")), "do not commit");
    assert_found(
        &seeded("crates/callhistory-store/migrations/postgres/V1__other.sql", add("-- x")),
        "differs in numbers",
    );
}

#[test]
fn imports_go_down_and_form_no_cycle() {
    let model = "crates/callhistory-model/src";
    let import =
        |path: &'static str| move |text: &str| text.replacen("use ", &format!("use crate::{path} as _;\nuse "), 1);
    // In the import, through a re-export, and inside a function.
    let scalar = format!("{model}/value/scalar.rs");
    assert_among(
        &seeded(&scalar, import("query::list::ListQuery")),
        "value/scalar.rs: imports crates/callhistory-model/src/query/list.rs",
    );
    assert_among(&seeded(&scalar, import("ImportReport")), "reply/import.rs, which is in a higher layer");
    let inside = |text: &str| format!("{text}\nfn f() {{\n    crate::examples::source_input();\n}}\n");
    assert_among(&seeded(&scalar, inside), "imports crates/callhistory-model/src/examples.rs");
    assert_among(
        &seeded(&format!("{model}/record/rules.rs"), import("record::{cost::CallCost}")),
        "imports form a cycle",
    );
    assert_among(&seeded(&format!("{model}/record/rules.rs"), import("CallCost")), "imports form a cycle");
    assert_among(&seeded("crates/callhistory-model/src/new_layer.rs", |_| "//! A file.\n".to_owned()), "has no layer");
    // A name in a comment or a string is no import.
    let words = |text: &str| format!("{text}\n// crate::query::list\nconst WORDS: &str = \"crate::query::list\";\n");
    assert_eq!(seeded(&scalar, words), Vec::<String>::new());
}

#[test]
fn sql_is_in_its_modules_only() {
    let statement = |text: &str| format!("{text}\nconst QUERY: &str = \"SELECT body FROM call\";\n");
    let store = "crates/callhistory-store/src";
    assert_found(&seeded(&format!("{store}/domain/page.rs"), statement), "domain/page.rs: contains SQL");
    assert_eq!(seeded(&format!("{store}/sqlite/read/get.rs"), statement), Vec::<String>::new());
    // Comments, attributes and tests may mention it.
    let mention = |text: &str| {
        format!(
            "{text}\n/// SELECT body\nfn f() {{}}\nmod tests {{\n    const QUERY: &str = \"SELECT body FROM call\";\n}}\n"
        )
    };
    assert_eq!(seeded(&format!("{store}/domain/page.rs"), mention), Vec::<String>::new());
}

#[test]
fn a_copy_of_a_file_has_the_faults_of_its_own_path() {
    let mut tree = tree();
    let file: File = "A line \n".to_owned().into();
    tree.insert("fuzz/seeds/line.txt".to_owned(), file.clone());
    assert_eq!(check(&tree), Vec::<String>::new());
    tree.insert("docs/line.md".to_owned(), file);
    assert_found(&check(&tree), "docs/line.md:1: has a tab or white space");
}

#[test]
fn a_type_name_has_one_meaning_in_its_crate() {
    let define = |text: &str| format!("{text}\npub(crate) enum CallInput {{}}\n");
    let faults = seeded("crates/callhistory-model/src/spelling.rs", define);
    assert_found(&faults, "each define CallInput");
    assert_eq!(seeded("crates/callhistory-server/src/ids.rs", define), Vec::<String>::new());
}

#[test]
fn each_edge_is_guarded() {
    let cases = [
        ("model", "tokio"),
        ("model", "rusqlite"),
        ("store", "axum"),
        ("store", "clap"),
        ("server", "rusqlite"),
        ("server", "reqwest"),
        ("client", "callhistory-server"),
        ("client", "callhistory-test-server"),
        ("test-server", "rusqlite"),
        ("client", "schemars"),
        ("client", "tokio-postgres"),
        ("openapi-compat", "jsonschema"),
        ("openapi-compat", "callhistory-model"),
        ("test-support", "callhistory-model"),
    ];
    for (owner, dependency) in cases {
        let path = format!("crates/callhistory-{owner}/Cargo.toml");
        let line = format!("[dependencies]\n{dependency} = {{ workspace = true }}\n");
        let faults = seeded(&path, |text| text.replacen("[dependencies]\n", &line, 1));
        assert_found(&faults, &format!("must never depend on {dependency}"));
    }
    let engine =
        |text: &str| text.replacen("[dependencies]\n", "[dependencies]\ncallhistory-store.workspace = true\n", 1);
    assert_found(&seeded("xtask/Cargo.toml", engine), "must never depend on callhistory-store");
    let page = |text: &str| format!("{text}\n[dependencies]\ncallhistory-model.workspace = true\n");
    assert_found(&seeded("crates/callhistory-console/Cargo.toml", page), "must never depend on callhistory-model");
    let path = "crates/callhistory-client/Cargo.toml";
    let on_unix = "\n[target.'cfg(unix)'.dependencies]\naxum.workspace = true\n";
    assert_found(&seeded(path, |text| format!("{text}{on_unix}")), "must never depend on axum");
    let pinned = "\n[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n";
    assert_found(&seeded(path, |text| format!("{text}{pinned}")), "root manifest");
    let feature = "[features]\ndescribed = [\"callhistory-model/schema\"]\n";
    assert_found(&seeded(path, |text| text.replacen("[features]\n", feature, 1)), "schemas");
    let schema = "callhistory-model = { workspace = true, features = [\"schema\"] }";
    assert_found(&seeded(path, |text| text.replace("callhistory-model.workspace = true", schema)), "schemas");
}

#[test]
fn each_operation_has_its_methods() {
    let path = "openapi/callhistory.json";
    let faults = seeded(path, |text| text.replace("\"get_call\"", "\"fetch_call\""));
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.contains("fetch_call")), "{faults:?}");
    // A private method is not the SDK's, and operations for operators need neither store nor SDK.
    let calls = "crates/callhistory-client/src/calls.rs";
    let faults = seeded(calls, |text| text.replace("pub async fn get_call(", "async fn get_call("));
    assert_found(&faults, "get_call has no SDK method");
    let health = r#""paths": { "/healthz": { "get": { "operationId": "healthz" } },"#;
    assert_eq!(seeded(path, |text| text.replacen("\"paths\": {", health, 1)), Vec::<String>::new());
    let mut tree = tree();
    tree.remove(path);
    let faults = check(&tree);
    assert!(faults.iter().any(|fault| fault.contains("openapi/callhistory.json: is missing")), "{faults:?}");
}

/// Names and files that are no plain text are seen too.
#[test]
fn the_tree_holds_every_file() {
    let root = tempfile::tempdir().unwrap();
    let git = std::process::Command::new("git").args(["init", "--quiet"]).current_dir(root.path()).status();
    assert!(git.unwrap().success());
    std::fs::write(root.path().join("calls.db"), b"SQLite format 3\0\xff\xfe").unwrap();
    std::fs::write(root.path().join("gr\u{fc}\u{df}e.md"), "Servus.\n").unwrap();
    let tree = read_tree(root.path()).unwrap();
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["calls.db", "gr\u{fc}\u{df}e.md"]);
    assert!(check(&tree).iter().any(|fault| fault.starts_with("calls.db: is made by")));
}
