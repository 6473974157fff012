//! The program: exit codes, formats, accept files and revisions of git.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

const OLD: &str = "openapi: 3.1.0
info: {title: Calls, version: 0.1.3}
paths:
  /calls:
    get:
      responses:
        '200': {description: All.}
    post:
      responses:
        '201': {description: Made.}
";

/// Runs the program in a folder.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callhistory-openapi-compat"));
    let Output { status, stdout, stderr } = command.args(arguments).current_dir(folder).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

/// A folder with `old.yaml`, and `new.yaml` that lacks an operation and has another one.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("old.yaml"), OLD).unwrap();
    fs::write(folder.path().join("new.yaml"), OLD.replace("    post:", "    x-beta: true\n    put:")).unwrap();
    folder
}

#[test]
fn the_report_is_one_line_for_each_finding_and_a_verdict() {
    let folder = folder();
    let text = "breaking old.yaml:8 #/paths/~1calls/post: removed: the operation was removed
note     new.yaml:9 #/paths/~1calls/put: added: the operation is new
note     new.yaml:8 #/paths/~1calls/x-beta: annotation-changed: `x-beta` changed
1 breaking, 0 unknown, 2 notes; next version ≥ 0.2.0
";
    assert_eq!(run(folder.path(), &["old.yaml", "new.yaml"]), (Some(1), text.to_owned()));
    let same = "0 breaking, 0 unknown, 0 notes; next version ≥ 0.1.3\n";
    assert_eq!(run(folder.path(), &["old.yaml", "old.yaml"]), (Some(0), same.to_owned()));
    let (_, github) = run(folder.path(), &["--format", "github", "old.yaml", "new.yaml"]);
    let first =
        "::error file=old.yaml,line=8,title=removed::#/paths/~1calls/post: removed: the operation was removed\n";
    assert!(github.starts_with(first) && github.ends_with("next version ≥ 0.2.0\n"), "{github}");
    let (_, json) = run(folder.path(), &["--format", "json", "old.yaml", "new.yaml"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["compatible"], &json["nextVersion"]), (&Value::Bool(false), &"0.2.0".into()));
    assert_eq!((&json["findings"][0]["line"], &json["findings"][0]["document"]), (&8.into(), &"old".into()));
    assert_eq!((&json["counts"]["breaking"], &json["counts"]["notes"]), (&1.into(), &2.into()));
}

#[test]
fn what_cannot_be_read_is_exit_code_2() {
    let folder = folder();
    fs::write(folder.path().join("bad.yaml"), "openapi: [").unwrap();
    fs::write(folder.path().join("swagger.json"), r#"{"swagger": "2.0", "paths": {}}"#).unwrap();
    for (file, message) in
        [("bad.yaml", "is not valid YAML"), ("swagger.json", "Swagger"), ("none.json", "none.json: ")]
    {
        let (code, text) = run(folder.path(), &["old.yaml", file]);
        assert!(code == Some(2) && text.contains(message), "{file}: {text}");
    }
    assert_eq!(run(folder.path(), &["old.yaml"]).0, Some(2));
}

#[test]
fn a_finding_is_accepted_with_a_reason_as_long_as_it_is_one() {
    let folder = folder();
    let accept = |text: &str| {
        fs::write(folder.path().join("accept.yaml"), text).unwrap();
        run(folder.path(), &["--accept", "accept.yaml", "old.yaml", "new.yaml"])
    };
    let entry = "accept:\n  - pointer: '#/paths/~1calls/post'\n    rule: removed\n    reason: Never used.\n";
    let (code, text) = accept(entry);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("accepted old.yaml:8 #/paths/~1calls/post"), "{text}");
    assert!(text.ends_with("0 breaking, 0 unknown, 2 notes, 1 accepted; next version ≥ 0.1.4\n"), "{text}");
    for (wrong, message) in [
        (entry.replace("Never used.", "''"), "has no reason"),
        (entry.replace("post", "delete"), "fits no finding"),
        // A note needs no acceptance, so an entry for it is as stale as any.
        (entry.replace("post", "put").replace("removed", "added"), "fits no finding"),
        (entry.replace("rule", "rules"), "unknown field"),
    ] {
        let (code, text) = accept(&wrong);
        assert!(code == Some(2) && text.contains(message), "{wrong}: {text}");
    }
}

#[test]
fn a_file_is_compared_with_a_revision_of_git() {
    let folder = folder();
    let git = |arguments: &[&str]| {
        let names = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"];
        let status = Command::new("git").args(names).args(arguments).current_dir(folder.path()).status().unwrap();
        assert!(status.success(), "{arguments:?}");
    };
    let against_head = || run(folder.path(), &["--against", "HEAD", "old.yaml", "new.yaml"]);
    git(&["init", "--quiet"]);
    assert_eq!(against_head().0, Some(2), "there is no commit");
    git(&["add", "old.yaml"]);
    git(&["commit", "--quiet", "--message", "test: add a document"]);
    let (code, text) = against_head();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("new.yaml: is not in HEAD\n"), "{text}");
    fs::rename(folder.path().join("new.yaml"), folder.path().join("old.yaml")).unwrap();
    let (code, text) = run(folder.path(), &["--against", "HEAD", "old.yaml"]);
    assert!(code == Some(1) && text.contains("breaking HEAD:old.yaml:8 #/paths/~1calls/post"), "{text}");
}
