//! The sub-commands `import` and `export`: copy whole histories between files and the database, without a server.

use std::{
    collections::HashSet,
    io::IsTerminal as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use callhistory_model::{ExportQuery, FieldError, ImportQuery, ImportReport, Timestamp, WorkspaceId};
use callhistory_store::{CallStore, PartialFile, sibling};
use indicatif::{ProgressBar, ProgressStyle};

use super::CommandError;
use crate::{
    config::cli::{ExportSettings, ImportSettings},
    export::{Encoded, Encoder},
    import::{
        format::ImportFormat,
        pipeline::{Import, ImportParameters, Target},
    },
};

const CHUNK_BYTES: usize = 256 * 1024;
/// The interval of progress lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Imports files in order, `-` for standard input; without a store it only checks them. Records have at most
/// `max_record_bytes`.
///
/// # Errors
///
/// Says what stopped the import, or that records of a file were rejected.
pub(super) async fn import(
    store: Option<&Arc<dyn CallStore>>,
    settings: &ImportSettings,
    max_record_bytes: usize,
    now: impl Fn() -> Timestamp,
) -> Result<(), CommandError> {
    let workspace = settings.workspace.as_deref().map(parse_workspace).transpose()?;
    let target = match (store, workspace) {
        (None, workspace) => Target::Check(workspace),
        (Some(store), Some(workspace)) => Target::Store(Arc::clone(store), workspace),
        (Some(_), None) => return Err("--workspace is missing: an import writes to one workspace".into()),
    };
    let query = ImportQuery::new().mode(settings.mode).atomic(settings.atomic);
    let mut query = query.restore_deleted(settings.restore_deleted);
    query.source = settings.source;
    let parameters = ImportParameters { query, handling: settings.handling, max_record_bytes };
    let (mut rejected, mut has_failed) = (0, false);
    for file in &settings.files {
        let report = import_file(&target, parameters.clone(), file, &now).await;
        let rest = if store.is_some() { "; what was written before stays" } else { "" };
        let report = report.map_err(|error| format!("{}: {error}{rest}", file.display()))?;
        let name = file.display().to_string();
        list_problems(&name, &report);
        println!("{name}: {}", describe_counts(&report, store.is_none()));
        rejected += report.rejected;
        has_failed |= report.is_failure() || report.aborted;
    }
    match (rejected, store) {
        (0, _) if has_failed => Err("a file has no records".into()),
        (0, _) => Ok(()),
        (count, Some(_)) if parameters.query.is_atomic => {
            Err(format!("{count} records were rejected; nothing of their files was written").into())
        }
        (count, Some(_)) => Err(format!("{count} records were rejected; the others are written").into()),
        (count, None) => Err(format!("{count} records would be rejected; nothing was written").into()),
    }
}

/// Prints the errors and the warnings of a file.
fn list_problems(name: &str, report: &ImportReport) {
    for warning in &report.warnings {
        eprintln!("{name}:{}: warning: {} {}", warning.line, warning.pointer, warning.detail);
    }
    for error in &report.errors {
        let pointer = error.pointer.as_deref().unwrap_or("");
        eprintln!("{name}:{}: {pointer} {}", error.line, error.detail);
    }
    let listed = report.errors.iter().map(|error| error.line).collect::<HashSet<_>>().len() as u64;
    if report.rejected > listed {
        eprintln!("{name}: and {} more", report.rejected - listed);
    }
}

/// The counts of a file in words. Those of rare outcomes are left out where there are none.
fn describe_counts(report: &ImportReport, is_check: bool) -> String {
    let ImportReport { created, replaced, unchanged, rejected, .. } = report;
    let mut text = match is_check {
        true => format!("{created} valid, {rejected} rejected"),
        false => format!("{created} created, {replaced} replaced, {unchanged} unchanged, {rejected} rejected"),
    };
    let others = [
        (report.merged, "merged"),
        (report.stale, "stale"),
        (report.deleted, "deleted before"),
        (report.repeated, "repeated"),
        (report.skipped, "skipped"),
        (report.warned, "with warnings"),
    ];
    for (count, name) in others.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {name}"));
    }
    text
}

async fn import_file(
    target: &Target,
    parameters: ImportParameters,
    file: &Path,
    now: &impl Fn() -> Timestamp,
) -> Result<ImportReport, CommandError> {
    let (mut input, size): (Box<dyn std::io::Read + Send>, _) = if file == Path::new("-") {
        (Box::new(std::io::stdin()), None)
    } else {
        let input = std::fs::File::open(file)?;
        let size = input.metadata().ok().map(|metadata| metadata.len());
        (Box::new(input), size)
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut length = fill(&mut *input, &mut chunk)?;
    let gzip = chunk[..length].starts_with(&GZIP_MAGIC);
    let mut import = Import::new(target.clone(), ImportFormat::Detect, gzip, parameters);
    let mut progress = Progress::new(&file.display().to_string(), size);
    while length > 0 {
        import.push(&chunk[..length], &now()).await?;
        progress.advance(length, import.report().processed());
        length = fill(&mut *input, &mut chunk)?;
    }
    let report = import.finish(&now()).await?;
    progress.finish();
    Ok(report)
}

/// Reads until the chunk is full or the input ends. A single read of a pipe can return less.
fn fill(input: &mut dyn std::io::Read, chunk: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match input.read(&mut chunk[filled..])? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}

/// Exports the records that a query string of `export_calls` selects to a file, or to standard output without one or for `-`.
///
/// # Errors
///
/// Says what is wrong with the query, or what stopped the export. An incomplete file is deleted.
pub(super) async fn export(store: &Arc<dyn CallStore>, settings: &ExportSettings) -> Result<(), CommandError> {
    let workspace = parse_workspace(&settings.workspace)?;
    let query = settings.query()?;
    let Some(path) = settings.output.as_deref().filter(|path| *path != Path::new("-")) else {
        let mut output = std::io::stdout().lock();
        return match write_export(store, &workspace, &query, &mut output, "export").await {
            // The reader has enough, like `head`.
            Err(error) if is_broken_pipe(&error) => Ok(()),
            result => result,
        };
    };
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    // A temporary name, so that an incomplete file does not look complete, and an earlier export stays if this one fails.
    let mut file = PartialFile::create(sibling(path, ".partial")).map_err(failed)?;
    write_export(store, &workspace, &query, &mut file, &path.display().to_string()).await?;
    file.persist(path).map_err(failed)?;
    Ok(())
}

fn is_broken_pipe(error: &CommandError) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn write_export(
    store: &Arc<dyn CallStore>,
    workspace: &WorkspaceId,
    query: &ExportQuery,
    output: &mut impl std::io::Write,
    name: &str,
) -> Result<(), CommandError> {
    let (mut encoder, head) = Encoder::new(query)?;
    let mut chunks = store.export_calls(workspace, query).await?;
    let mut progress = Progress::new(name, None);
    let mut records = 0;
    output.write_all(&head)?;
    while let Some(chunk) = chunks.recv().await {
        let lines = chunk?;
        records += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        let bytes = lines.len();
        output.write_all(&encoder.push(lines)?)?;
        progress.advance(bytes, records);
    }
    match encoder.finish()? {
        Encoded::Rest(rest) => output.write_all(&rest)?,
        Encoded::File(mut file) => drop(std::io::copy(&mut file, output)?),
    }
    output.flush()?;
    progress.finish();
    Ok(())
}

fn parse_workspace(text: &str) -> Result<WorkspaceId, CommandError> {
    text.parse().map_err(|error: FieldError| format!("--workspace {error}").into())
}

/// The progress: a bar on a terminal, lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    name: String,
    last_line: Instant,
    bytes: u64,
    records: u64,
}

impl Progress {
    fn new(name: &str, size: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = match size {
                Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {eta}",
                None => "{msg} {spinner} {bytes} {bytes_per_sec}",
            };
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = size.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            bar.with_style(style).with_message(name.to_owned())
        });
        Self { bar, name: name.to_owned(), last_line: Instant::now(), bytes: 0, records: 0 }
    }

    fn advance(&mut self, bytes: usize, records: u64) {
        self.bytes += bytes as u64;
        self.records = records;
        match &self.bar {
            Some(bar) => bar.set_position(self.bytes),
            None if self.last_line.elapsed() >= LINE_INTERVAL => {
                self.last_line = Instant::now();
                eprintln!("{}: {} bytes, {} records", self.name, self.bytes, self.records);
            }
            None => {}
        }
    }

    fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
