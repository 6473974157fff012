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
fn the_report_is_one_line_for_each_finding_and_a_summary() {
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
    assert!(text.ends_with("0 breaking, 0 unknown, 2 notes, 1 accepted; next version ≥ 0.2.0\n"), "{text}");
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

/// What git prints in a folder.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let names = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").args(names).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_entry_fits_a_finding_in_one_of_several_files() {
    let folder = folder();
    let (path, entry) = (folder.path(), "{rule: removed, reason: Never used., pointer: ");
    for name in ["one.yaml", "other.yaml"] {
        fs::write(path.join(name), OLD).unwrap();
    }
    git(path, &["init", "--quiet"]);
    git(path, &["add", "one.yaml", "other.yaml"]);
    git(path, &["commit", "--quiet", "--message", "test: add documents"]);
    fs::write(path.join("one.yaml"), OLD.replace("post:", "put:")).unwrap();
    fs::write(path.join("other.yaml"), OLD.replace("get:", "put:")).unwrap();
    let accept = |text: &str| {
        fs::write(path.join("accept.yaml"), text).unwrap();
        run(path, &["--against", "HEAD", "--accept", "accept.yaml", "one.yaml", "other.yaml"])
    };
    let both = format!("accept: [{entry}'#/paths/~1calls/post'}}, {entry}'#/paths/~1calls/get'}}]");
    let (code, text) = accept(&both);
    assert!(code == Some(0) && text.matches("1 accepted; next version ≥ 0.2.0").count() == 2, "{text}");
    let (code, text) = accept(&both.replace("/post", "/delete"));
    assert!(code == Some(2) && text.contains("#/paths/~1calls/delete: removed fits no finding"), "{text}");
}

#[test]
fn a_file_is_compared_with_a_revision_of_git() {
    let folder = folder();
    let git = |arguments: &[&str]| git(folder.path(), arguments);
    let against_head = || run(folder.path(), &["--against", "HEAD", "old.yaml", "new.yaml"]);
    git(&["init", "--quiet"]);
    assert_eq!(against_head().0, Some(2), "there is no commit");
    git(&["add", "old.yaml"]);
    git(&["commit", "--quiet", "--message", "test: add a document"]);
    let (code, text) = against_head();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("new.yaml: is not in HEAD\n"), "{text}");
    let mut json = Command::new(env!("CARGO_BIN_EXE_callhistory-openapi-compat"));
    json.args(["--against", "HEAD", "--format", "json", "old.yaml", "new.yaml"]).current_dir(folder.path());
    let output = json.output().unwrap().stdout;
    let reports: Result<Vec<_>, _> = serde_json::Deserializer::from_slice(&output).into_iter::<Value>().collect();
    assert_eq!(reports.unwrap().len(), 1, "a new file has no report, and its message is no JSON");
    fs::rename(folder.path().join("new.yaml"), folder.path().join("old.yaml")).unwrap();
    let (code, text) = run(folder.path(), &["--against", "HEAD", "old.yaml"]);
    assert!(code == Some(1) && text.contains("breaking HEAD:old.yaml:8 #/paths/~1calls/post"), "{text}");
    // A file of the revision that git cannot read is no new file.
    let object = git(&["rev-parse", "HEAD:old.yaml"]);
    let (start, rest) = object.trim().split_at(2);
    fs::remove_file(folder.path().join(".git/objects").join(start).join(rest)).unwrap();
    let (code, text) = run(folder.path(), &["--against", "HEAD", "old.yaml"]);
    assert!(code == Some(2) && text.contains("git show: "), "{text}");
}
