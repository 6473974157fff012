//! The result of a comparison: findings, what was accepted, the next version, and the formats for people and programs.

use std::{collections::BTreeMap, fmt, path::Path};

use semver::{BuildMetadata, Prerelease, Version};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Document,
    comparison::Comparison,
    finding::{Finding, Rule, Severity, Side},
    yaml,
};

/// The result of a comparison.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// What was found, the most severe first.
    pub findings: Vec<Finding>,
    /// What was found and accepted, with the reasons.
    pub accepted: Vec<(Finding, String)>,
    old_version: Option<Version>,
    old_version_text: String,
    is_equal: bool,
}

/// Compares two documents: does the new one serve the callers of the old one?
///
/// # Examples
///
/// ```
/// use callhistory_openapi_compat::{Document, Severity, compare};
///
/// let old = "{openapi: 3.1.0, info: {title: Calls, version: 1.4.0}, paths: {/calls: {get: {responses: {}}}}}";
/// let new = "{openapi: 3.1.0, info: {title: Calls, version: 1.5.0}, paths: {}}";
/// # let (old, new) = (&format!("---\n{old}"), &format!("---\n{new}"));
/// let report = compare(&Document::parse(old)?, &Document::parse(new)?);
///
/// assert!(!report.is_compatible());
/// assert_eq!(report.findings[0].severity, Severity::Breaking);
/// assert_eq!(report.findings[0].to_string(), "#/paths/~1calls: removed: the path was removed");
/// assert_eq!(report.summary(), "1 breaking, 0 unknown, 0 notes; next version ≥ 2.0.0");
/// # Ok::<(), String>(())
/// ```
#[must_use]
pub fn compare(old: &Document, new: &Document) -> Report {
    let mut comparison = Comparison::new(old, new);
    comparison.documents();
    let mut findings = comparison.into_findings();
    for (side, document) in [(Side::Old, old), (Side::New, new)] {
        let of_side = |finding: &&Finding| finding.document == side;
        let pointers: Vec<_> = findings.iter().filter(of_side).map(|finding| finding.pointer.clone()).collect();
        let lines = document.lines(pointers.iter().map(String::as_str));
        for finding in findings.iter_mut().filter(|finding| finding.document == side) {
            finding.line = lines.get(finding.pointer.as_str()).copied();
        }
    }
    findings.sort_by(|one, other| {
        (one.severity, &one.pointer, one.rule, &one.detail).cmp(&(
            other.severity,
            &other.pointer,
            other.rule,
            &other.detail,
        ))
    });
    Report {
        findings,
        accepted: Vec::new(),
        old_version: old.version(),
        old_version_text: old.version_text().to_owned(),
        is_equal: old.value == new.value,
    }
}

/// A file with findings that a team accepts, each with its reason.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    accept: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    pointer: String,
    rule: String,
    detail: Option<String>,
    reason: String,
}

impl Acceptance {
    /// Parses a text of YAML or JSON.
    ///
    /// # Errors
    ///
    /// Says what is wrong in the text; an entry without a reason is.
    ///
    /// # Examples
    ///
    /// ```
    /// use callhistory_openapi_compat::Acceptance;
    ///
    /// let text = "
    /// accept:
    ///   - pointer: '#/paths/~1calls'
    ///     rule: removed
    ///     reason: Nobody has called it since May.
    /// ";
    /// assert!(Acceptance::parse(text).is_ok());
    /// assert!(Acceptance::parse("accept: [{pointer: /paths, rule: removed, reason: ''}]").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        let (value, _) = yaml::parse(text)?;
        let acceptance: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        match acceptance.accept.iter().find(|entry| entry.reason.trim().is_empty()) {
            Some(entry) => Err(format!("{} has no reason", entry.pointer)),
            None => Ok(acceptance),
        }
    }

    /// Checks that each entry fits a finding that one of the reports has accepted.
    ///
    /// # Errors
    ///
    /// Names each entry that fits none: it no longer says what is accepted.
    pub fn check_stale(&self, reports: &[&Report]) -> Result<(), String> {
        let has_finding =
            |entry: &Entry| reports.iter().flat_map(|report| &report.accepted).any(|(finding, _)| entry.fits(finding));
        let stale = self.accept.iter().filter(|entry| !has_finding(entry));
        let stale: Vec<_> = stale.map(|entry| format!("{}: {} fits no finding", entry.pointer, entry.rule)).collect();
        if stale.is_empty() { Ok(()) } else { Err(stale.join("\n")) }
    }
}

impl Entry {
    fn fits(&self, finding: &Finding) -> bool {
        self.pointer.strip_prefix('#').unwrap_or(&self.pointer) == finding.pointer
            && self.rule == finding.rule.name()
            && self.detail.as_ref().is_none_or(|detail| *detail == finding.detail)
    }
}

impl Report {
    /// Moves findings to [`Report::accepted`]. Notes need no acceptance.
    pub fn accept(&mut self, acceptance: &Acceptance) {
        let is_severe = |finding: &Finding| finding.severity != Severity::Note;
        for finding in std::mem::take(&mut self.findings) {
            let entry = acceptance.accept.iter().find(|entry| is_severe(&finding) && entry.fits(&finding));
            match entry {
                Some(entry) => self.accepted.push((finding, entry.reason.clone())),
                None => self.findings.push(finding),
            }
        }
    }

    /// Whether there are notes at most.
    #[must_use]
    pub fn is_compatible(&self) -> bool {
        self.count(Severity::Breaking) + self.count(Severity::Unknown) == 0
    }

    /// The number of findings of a severity, without those that were accepted.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The least version that the new document may have by semantic versioning, where the numbers before the first that is not 0 do
    /// not count: a break of 0.1.3 needs 0.2.0. Unknown findings count as breaks until they are accepted; a breaking finding is a break
    /// even then. None if the old version is no semantic one.
    #[must_use]
    pub fn next_version(&self) -> Option<Version> {
        let old = self.old_version.clone()?;
        let adds = |finding: &Finding| matches!(finding.rule, Rule::Added | Rule::InputWidened);
        let (major, minor, patch) = (old.major, old.minor, old.patch);
        let breaks = |(finding, _): &(Finding, String)| finding.severity == Severity::Breaking;
        let next = if !self.is_compatible() || self.accepted.iter().any(breaks) {
            match (major, minor) {
                (0, 0) => (0, 0, patch + 1),
                (0, _) => (0, minor + 1, 0),
                _ => (major + 1, 0, 0),
            }
        } else if major > 0 && self.findings.iter().any(adds) {
            (major, minor + 1, 0)
        } else if self.is_equal || !old.pre.is_empty() {
            return Some(old);
        } else {
            (major, minor, patch + 1)
        };
        Some(Version {
            major: next.0,
            minor: next.1,
            patch: next.2,
            pre: Prerelease::EMPTY,
            build: BuildMetadata::EMPTY,
        })
    }

    /// One line: the counts and the next version, such as `3 breaking, 2 unknown, 5 notes; next version ≥ 0.2.0`.
    #[must_use]
    pub fn summary(&self) -> String {
        let [breaking, unknown, notes] =
            [Severity::Breaking, Severity::Unknown, Severity::Note].map(|it| self.count(it));
        let notes = if notes == 1 { "1 note".to_owned() } else { format!("{notes} notes") };
        let accepted =
            if self.accepted.is_empty() { String::new() } else { format!(", {} accepted", self.accepted.len()) };
        let next = match self.next_version() {
            Some(next) => format!("next version ≥ {next}"),
            None => format!("the old version {:?} is not a semantic one", self.old_version_text),
        };
        format!("{breaking} breaking, {unknown} unknown, {notes}{accepted}; {next}")
    }

    /// The report as lines of text, the summary last.
    #[must_use]
    pub fn text(&self, old: &Path, new: &Path) -> String {
        let place = |finding: &Finding| place(finding, old, new, ":");
        let mut lines: Vec<String> = Vec::new();
        for finding in &self.findings {
            lines.push(format!("{:8} {} {finding}", finding.severity, place(finding)));
        }
        for (finding, reason) in &self.accepted {
            lines.push(format!("accepted {} {finding} ({reason})", place(finding)));
        }
        lines.push(self.summary());
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The report as commands of GitHub Actions, which shows them at the lines of the files; the summary is a plain line.
    #[must_use]
    pub fn github(&self, old: &Path, new: &Path) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let kind = if finding.severity == Severity::Note { "notice" } else { "error" };
            let place = place(finding, old, new, ",line=");
            text.push_str(&format!(
                "::{kind} file={place},title={}::{}\n",
                finding.rule,
                command_data(&finding.to_string())
            ));
        }
        for (finding, reason) in &self.accepted {
            let data = command_data(&format!("{finding} (accepted: {reason})"));
            text.push_str(&format!(
                "::notice file={},title={}::{data}\n",
                place(finding, old, new, ",line="),
                finding.rule
            ));
        }
        text.push_str(&self.summary());
        text.push('\n');
        text
    }

    /// The report as a JSON value.
    #[must_use]
    pub fn json(&self, old: &Path, new: &Path) -> Value {
        let with_file = |finding: &Finding, reason: Option<&String>| {
            let mut value = json!(finding);
            value["file"] = file(finding, old, new).display().to_string().into();
            if let Some(reason) = reason {
                value["acceptedBecause"] = reason.as_str().into();
            }
            value
        };
        let findings = self.findings.iter().map(|finding| with_file(finding, None));
        let accepted = self.accepted.iter().map(|(finding, reason)| with_file(finding, Some(reason)));
        let counts: BTreeMap<_, _> = [
            ("breaking", self.count(Severity::Breaking)),
            ("unknown", self.count(Severity::Unknown)),
            ("notes", self.count(Severity::Note)),
            ("accepted", self.accepted.len()),
        ]
        .into();
        json!({
            "compatible": self.is_compatible(),
            "counts": counts,
            "nextVersion": self.next_version().map(|version| version.to_string()),
            "summary": self.summary(),
            "findings": findings.collect::<Vec<_>>(),
            "accepted": accepted.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Path::new("old"), Path::new("new")))
    }
}

fn file<'a>(finding: &Finding, old: &'a Path, new: &'a Path) -> &'a Path {
    match finding.document {
        Side::Old => old,
        Side::New => new,
    }
}

fn place(finding: &Finding, old: &Path, new: &Path, before_line: &str) -> String {
    let file = file(finding, old, new).display();
    finding.line.map_or_else(|| file.to_string(), |line| format!("{file}{before_line}{line}"))
}

/// A text as the data of a command: new lines would end it.
fn command_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}
