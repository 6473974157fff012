//! `callhistory-openapi-compat`: compares OpenAPI documents of files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use callhistory_openapi_compat::{Acceptance, Document, Report, compare};
use clap::{Parser, ValueEnum};

/// Says whether a new OpenAPI document serves the callers of an old one
///
/// Reads OpenAPI 3.0 and 3.1 as JSON or YAML. Exit code 0 if NEW is compatible, 1 if there are breaking or unknown findings, 2 if a
/// document, the revision or the accept file cannot be read, or an entry of the accept file fits no finding.
#[derive(Debug, Parser)]
#[command(
    version,
    override_usage = "callhistory-openapi-compat [OPTIONS] OLD NEW\n       callhistory-openapi-compat [OPTIONS] --against REVISION FILE..."
)]
struct Cli {
    /// The document that callers know and the one that replaces it; with --against, documents of the work tree
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Compare each file with itself at this revision of git; a file that is not there is new
    #[arg(long, value_name = "REVISION")]
    against: Option<String>,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// A file of findings that are accepted, each with its reason
    #[arg(long, value_name = "FILE")]
    accept: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One line for each finding
    Text,
    /// One JSON object for each comparison
    Json,
    /// Annotations of GitHub Actions
    Github,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<bool, String> {
    let acceptance = cli.accept.as_deref().map(|path| {
        let text = fs::read_to_string(path).map_err(|error| describe(path, &error.to_string()))?;
        Acceptance::parse(&text).map_err(|error| describe(path, &error))
    });
    let acceptance = acceptance.transpose()?;
    let mut reports = Vec::new();
    match (&cli.against, cli.files.as_slice()) {
        (None, [old, new]) => {
            let document = Document::read(old).map_err(|error| describe(old, &error))?;
            reports.push((old.clone(), new, compare_file(&document, new)?));
        }
        (None, files) => return Err(format!("two documents are needed, OLD and NEW, and not {}", files.len())),
        (Some(revision), files) => {
            for new in files {
                let Some(text) = at_revision(revision, new)? else {
                    eprintln!("{}: is not in {revision}", new.display());
                    continue;
                };
                let old = PathBuf::from(format!("{revision}:{}", new.display()));
                let document = Document::parse(&text).map_err(|error| describe(&old, &error))?;
                reports.push((old, new, compare_file(&document, new)?));
            }
        }
    }
    if let (Some(acceptance), Some(path)) = (&acceptance, &cli.accept) {
        reports.iter_mut().for_each(|(_, _, report)| report.accept(acceptance));
        let all: Vec<&Report> = reports.iter().map(|(_, _, report)| report).collect();
        acceptance.check_stale(&all).map_err(|error| describe(path, &error))?;
    }
    for (old, new, report) in &reports {
        match cli.format {
            Format::Text => print!("{}", report.text(old, new)),
            Format::Json => println!("{}", report.json(old, new)),
            Format::Github => print!("{}", report.github(old, new)),
        }
    }
    Ok(reports.iter().all(|(_, _, report)| report.is_compatible()))
}

fn compare_file(old: &Document, new: &Path) -> Result<Report, String> {
    Ok(compare(old, &Document::read(new).map_err(|error| describe(new, &error))?))
}

/// The text of a file at a revision of git; none if the revision does not have the file.
fn at_revision(revision: &str, path: &Path) -> Result<Option<String>, String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let commit = git(folder, &["rev-parse", "--verify", "--end-of-options", &format!("{revision}^{{commit}}")])
        .map_err(|error| format!("{revision} is not a revision of git: {error}"))?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    // Succeeds and prints nothing if the file is not there, so that a failure is never taken for a new file.
    if git(folder, &["ls-tree", &commit, "--", &format!("./{name}")])?.is_empty() {
        return Ok(None);
    }
    let text = git(folder, &["show", &format!("{commit}:./{name}")])?;
    String::from_utf8(text).map(Some).map_err(|_| describe(path, "is not UTF-8"))
}

/// What git prints in a folder.
fn git(folder: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output();
    let output = output.map_err(|error| format!("git: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("git {}: {}", arguments.first().unwrap_or(&""), String::from_utf8_lossy(&output.stderr).trim()))
}

fn describe(path: &Path, error: &str) -> String {
    format!("{}: {error}", path.display())
}
