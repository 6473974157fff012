//! The contract in `openapi/`: generated from the code, and checked against the code, the rules and the last release.

use std::{fs, path::Path};

use callhistory_openapi_compat::{Document, Finding, Report as Comparison, Severity, compare};
use clap::Subcommand;
use semver::Version;
use serde_json::Value;

use super::lint::lint;
use crate::server_command;

const CONTRACT: &str = "openapi/callhistory.json";
const RELEASED: &str = "openapi/released.json";
/// Differences of one file that are shown.
const MAX_DIFFERENCES: usize = 20;
/// Characters of a value that are shown.
const MAX_SHOWN_CHARS: usize = 100;

/// What to do with the contract.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Write openapi/ from the code
    Generate,
    /// Check that openapi/ is what the code generates, follows the rules, and breaks nothing that was released
    ///
    /// Exit code 0 if all checks pass, 3 if `generate` fixes everything, 1 if a rule is violated or a caller broken, 2 if a file
    /// cannot be read.
    Check,
    /// Make the contract the released one; needs a raised version
    Release,
}

/// The result of an action: the exit code of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All checks pass.
    Fine = 0,
    /// The committed files are not what the code generates; `generate` fixes them.
    Stale = 3,
    /// A rule is violated, or a caller would break.
    Broken = 1,
    /// A file cannot be read or written.
    Unreadable = 2,
}

/// One line of a report, with its explanation.
#[derive(Debug)]
struct Notice {
    outcome: Outcome,
    verb: &'static str,
    file: String,
    /// JSON pointers into the file, each with a finding.
    places: Vec<(Option<String>, String)>,
    /// The command to run next.
    next: Option<String>,
}

/// The findings of an action.
#[derive(Debug, Default)]
pub struct Report(Vec<Notice>);

impl Report {
    fn add(&mut self, outcome: Outcome, verb: &'static str, file: &str) -> &mut Notice {
        self.0.push(Notice { outcome, verb, file: file.to_owned(), places: Vec::new(), next: None });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// The most severe outcome: `generate` does not fix a broken contract.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let severity = [Outcome::Unreadable, Outcome::Broken, Outcome::Stale];
        let found = |outcome: &Outcome| self.0.iter().any(|notice| notice.outcome == *outcome);
        severity.into_iter().find(found).unwrap_or(Outcome::Fine)
    }

    /// The report as aligned text.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().map(Notice::text).collect()
    }
}

impl Notice {
    fn text(&self) -> String {
        let mut text = format!("{:>10} {}\n", self.verb, self.file);
        for (pointer, detail) in &self.places {
            let line = format!("{}{detail}", place(pointer.as_deref()));
            text.push_str(&format!("{:>10} {}\n", "", line.replace(" \n", "\n").replace('\n', "\n           ")));
        }
        if let Some(next) = &self.next {
            text.push_str(&format!("{:>10} {next}\n", "run"));
        }
        text
    }
}

/// The prefix of a finding: its JSON pointer.
fn place(pointer: Option<&str>) -> String {
    pointer.map(|pointer| format!("#{pointer}: ")).unwrap_or_default()
}

/// The files of `openapi/` as the code generates them, by their paths below the root of the repository.
#[derive(Debug)]
pub struct Generated(Vec<(String, String)>);

impl Generated {
    /// Runs the server, which writes its contract.
    ///
    /// # Errors
    ///
    /// Fails when it cannot.
    pub fn by_server(server: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let status = server_command(server).args(["openapi", "--write"]).arg(folder.path()).status();
        let status = status.map_err(|error| format!("{}: {error}", server.display()))?;
        if !status.success() {
            return Err("the server did not write its contract".to_owned());
        }
        Self::read(folder.path())
    }

    /// Reads generated files from a folder.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read, or the contract is missing.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let describe = |error: std::io::Error| format!("{}: {error}", folder.display());
        let mut files = Vec::new();
        for file in fs::read_dir(folder).map_err(describe)? {
            let file = file.map_err(describe)?;
            let name = format!("openapi/{}", file.file_name().to_string_lossy());
            if name != RELEASED {
                files.push((name, fs::read_to_string(file.path()).map_err(describe)?));
            }
        }
        files.sort();
        let generated = Self(files);
        if generated.contract().is_empty() {
            Err(format!("{}: has no contract", folder.display()))
        } else {
            Ok(generated)
        }
    }

    /// The text of the contract.
    #[must_use]
    pub fn contract(&self) -> &str {
        self.0.iter().find(|(name, _)| name == CONTRACT).map_or("", |(_, text)| text)
    }
}

/// Runs an action in the repository at `root`, for which the code generates `generated`.
#[must_use]
pub fn run(root: &Path, action: &Action, generated: &Generated) -> Report {
    match action {
        Action::Generate => generate(root, generated),
        Action::Check => check(root, generated),
        Action::Release => release(root, generated),
    }
}

fn generate(root: &Path, generated: &Generated) -> Report {
    let mut report = Report::default();
    for (name, text) in &generated.0 {
        let path = root.join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == *text) {
            report.add(Outcome::Fine, "Fresh", name);
        } else if let Err(error) = fs::write(&path, text) {
            report.add(Outcome::Unreadable, "Failed", name).places.push((None, error.to_string()));
        } else {
            report.add(Outcome::Fine, "Updated", name);
        }
    }
    report
}

/// Checks the contract against the code, the rules and the last release.
#[must_use]
pub fn check(root: &Path, generated: &Generated) -> Report {
    let mut report = Report::default();
    check_files(root, generated, &mut report);
    check_rules(generated, &mut report);
    check_compatibility(root, generated, &mut report);
    report
}

fn check_files(root: &Path, generated: &Generated, report: &mut Report) {
    for (name, text) in &generated.0 {
        let committed = fs::read_to_string(root.join(name));
        if committed.as_ref().is_ok_and(|committed| committed == text) {
            report.add(Outcome::Fine, "Current", name);
            continue;
        }
        let notice = report.add(Outcome::Stale, "Stale", name);
        notice.places = match &committed {
            Ok(committed) => differences(committed, text),
            Err(error) => vec![(None, error.to_string())],
        };
        notice.next = Some("cargo xtask openapi generate".to_owned());
    }
    let files = fs::read_dir(root.join("openapi")).into_iter().flatten().flatten();
    for name in files.map(|file| format!("openapi/{}", file.file_name().to_string_lossy())) {
        if name != RELEASED && !generated.0.iter().any(|(known, _)| *known == name) {
            let notice = report.add(Outcome::Broken, "Unknown", &name);
            notice.places.push((None, "nothing generates this file: delete it".to_owned()));
        }
    }
}

fn check_rules(generated: &Generated, report: &mut Report) {
    let contract = serde_json::from_str(generated.contract()).unwrap_or_default();
    let errors = lint(&contract);
    if errors.is_empty() {
        report.add(Outcome::Fine, "Valid", CONTRACT);
        return;
    }
    let notice = report.add(Outcome::Broken, "Invalid", CONTRACT);
    notice.places = errors.into_iter().map(|(pointer, error)| (Some(pointer), error)).collect();
    notice.next = Some("fix the code, then cargo xtask openapi generate".to_owned());
}

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("is not valid JSON: {error}"))
}

fn version(contract: &Value) -> Result<Version, String> {
    let text = contract["info"]["version"].as_str().unwrap_or_default();
    Version::parse(text).map_err(|error| format!("the version {text:?} is not valid: {error}"))
}

fn check_compatibility(root: &Path, generated: &Generated, report: &mut Report) {
    let (comparison, released, version) = match compare_with_released(root, generated) {
        Ok(found) => found,
        Err(reason) => {
            let notice = report.add(Outcome::Unreadable, "Unreadable", RELEASED);
            notice.places.push((None, reason));
            notice.next = Some(
                "git restore openapi/released.json; before the first release, cargo xtask openapi release".to_owned(),
            );
            return;
        }
    };
    if comparison.is_compatible() {
        report.add(Outcome::Fine, "Compatible", CONTRACT);
        return;
    }
    let allowed = comparison.next_version().is_some_and(|next| version >= next);
    let outcome = if allowed { Outcome::Fine } else { Outcome::Broken };
    let notice = report.add(outcome, "Breaking", CONTRACT);
    notice.places = places(comparison.findings);
    if allowed {
        notice.places.push((None, format!("The version {version} says that it breaks the callers of {released}.")));
    } else {
        let advice = format!(
            "This breaks the callers of {released}. Undo it; or, if it has to be, raise the version in Cargo.toml to one that \
             says so."
        );
        notice.places.push((None, advice));
    }
}

/// The comparison, and the version of either contract.
fn compare_with_released(root: &Path, generated: &Generated) -> Result<(Comparison, Version, Version), String> {
    let old = Document::read(&root.join(RELEASED))?;
    let new = Document::parse(generated.contract())?;
    let version = |document: &Document| {
        document.version().ok_or_else(|| format!("the version {:?} is not valid", document.version_text()))
    };
    Ok((compare(&old, &new), version(&old)?, version(&new)?))
}

fn places(findings: Vec<Finding>) -> Vec<(Option<String>, String)> {
    let breaking = findings.into_iter().filter(|finding| finding.severity != Severity::Note);
    breaking.map(|finding| (Some(finding.pointer), format!("{}: {}", finding.rule, finding.detail))).collect()
}

fn release(root: &Path, generated: &Generated) -> Report {
    let mut report = Report::default();
    check_files(root, generated, &mut report);
    check_rules(generated, &mut report);
    let path = root.join(RELEASED);
    if path.exists() {
        check_compatibility(root, generated, &mut report);
    }
    if report.outcome() != Outcome::Fine {
        return report;
    }
    let text = generated.contract();
    let same = fs::read_to_string(&path).is_ok_and(|released| released == text);
    let versions =
        read(&path).and_then(|old| Ok((version(&old)?, version(&serde_json::from_str(text).unwrap_or_default())?)));
    match versions {
        _ if same => {
            report.add(Outcome::Fine, "Released", RELEASED);
            return report;
        }
        Ok((released, version)) if version <= released => {
            let notice = report.add(Outcome::Broken, "Refused", RELEASED);
            notice.places.push((
                Some("/info/version".to_owned()),
                format!("{released} was released with another contract: raise the version in Cargo.toml"),
            ));
            notice.next = Some("cargo xtask openapi generate, then cargo xtask openapi release".to_owned());
            return report;
        }
        _ => {}
    }
    match fs::write(&path, text) {
        Ok(()) => report.add(Outcome::Fine, "Released", RELEASED),
        Err(error) => {
            let notice = report.add(Outcome::Unreadable, "Failed", RELEASED);
            notice.places.push((None, error.to_string()));
            notice
        }
    };
    report
}

/// Where two JSON texts differ, with the values: what is committed with `-`, what is generated with `+`.
fn differences(committed: &str, generated: &str) -> Vec<(Option<String>, String)> {
    let (Ok(old), Ok(new)) = (serde_json::from_str(committed), serde_json::from_str(generated)) else {
        return vec![(None, "is not valid JSON".to_owned())];
    };
    let mut found = Vec::new();
    differ(&old, &new, String::new(), &mut found);
    if found.is_empty() {
        return vec![(None, "only white space, the order of members or the digits of numbers differ".to_owned())];
    }
    let more = found.len().saturating_sub(MAX_DIFFERENCES);
    found.truncate(MAX_DIFFERENCES);
    if more > 0 {
        found.push((None, format!("and {more} more")));
    }
    found
}

fn differ(old: &Value, new: &Value, pointer: String, found: &mut Vec<(Option<String>, String)>) {
    match (old, new) {
        _ if old == new => {}
        (Value::Object(before), Value::Object(after)) => {
            let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for name in names {
                let place = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                match (before.get(name), after.get(name)) {
                    (Some(old), Some(new)) => differ(old, new, place, found),
                    (old, new) => found.push((Some(place), change(old, new))),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (old, new)) in before.iter().zip(after).enumerate() {
                differ(old, new, format!("{pointer}/{index}"), found);
            }
        }
        _ => found.push((Some(pointer), change(Some(old), Some(new)))),
    }
}

/// A change in at most two lines. Of two long texts the part is shown in which they differ.
fn change(old: Option<&Value>, new: Option<&Value>) -> String {
    let (old, new) = (old.map(Value::to_string), new.map(Value::to_string));
    let (before, after) = (old.as_deref().unwrap_or_default(), new.as_deref().unwrap_or_default());
    let same = before.chars().zip(after.chars()).take_while(|(old, new)| old == new).count();
    let skip = same.saturating_sub(MAX_SHOWN_CHARS / 4);
    let shown = |sign: char, text: &str| {
        let part: String = text.chars().skip(skip).take(MAX_SHOWN_CHARS).collect();
        let (start, end) = (skip > 0, text.chars().count() > skip + MAX_SHOWN_CHARS);
        format!("\n{sign} {}{part}{}", if start { "…" } else { "" }, if end { "…" } else { "" })
    };
    let lines = old.iter().map(|text| shown('-', text)).chain(new.iter().map(|text| shown('+', text)));
    lines.collect()
}
