//! The histories that are measured: made up, the same each time, built once and kept outside the repository.

use std::{
    fs,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use callhistory_server::demo;
use chrono::{DateTime, TimeDelta, Utc};

use super::Failure;

pub(super) const SMALL: u32 = 10_000;
pub(super) const LARGE: u32 = 1_000_000;
pub(super) const HUGE: u32 = 10_000_000;
/// Calls of thirty days, which are made up at a time.
const PART: u32 = 50_000;
/// The days over which the parts are spread, if there are enough of them.
const DAYS: u32 = 600;
/// Part of the name of each history, so that another generator does not measure the data of this one.
const GENERATION: &str = "1";

/// Where histories are kept, if nothing else is said.
#[expect(clippy::disallowed_methods, reason = "the user's cache is where the environment says")]
pub(super) fn folder() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("callhistory-bench")
}

/// The data directory with so many records, made first where there is none.
pub(super) fn history(program: &Path, folder: &Path, records: u32) -> Result<PathBuf, Failure> {
    let data = folder.join(format!("{GENERATION}-{records}"));
    if data.exists() {
        return Ok(data);
    }
    // Renamed when it is whole, so that a broken run leaves nothing that looks like a history.
    let unfinished = data.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(folder)?;
    let started = Instant::now();
    eprintln!("making a history of {records} records in {}", data.display());
    let arguments = ["import", "--workspace", demo::WORKSPACE, "-", "--data-dir"];
    let mut import = Command::new(program)
        .args(arguments)
        .arg(&unfinished)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut input = BufWriter::new(import.stdin.take().ok_or("the import takes no input")?);
    write_lines(&mut input, records)?;
    input.flush()?;
    drop(input);
    if !import.wait()?.success() {
        return Err("the import failed".into());
    }
    fs::rename(&unfinished, &data)?;
    eprintln!("made in {:.0} s", started.elapsed().as_secs_f64());
    Ok(data)
}

/// The records as lines to import, from the newest thirty days into the past.
pub(super) fn write_lines(output: &mut impl std::io::Write, records: u32) -> Result<(), Failure> {
    let parts = records.div_ceil(PART);
    let step = (DAYS / parts).clamp(1, 30);
    let end: DateTime<Utc> = DateTime::from_timestamp(1_769_904_000, 0).ok_or("no such time")?;
    for part in 0..parts {
        let end = end - TimeDelta::days(i64::from(step * part));
        for (id, mut draft) in demo::history(part.into(), PART.min(records - part * PART), end)? {
            // Without them a record is as large as that of the documented page.
            (draft.transcript, draft.function_calls) = (None, None);
            draft.id = Some(id);
            serde_json::to_writer(&mut *output, &draft)?;
            output.write_all(b"\n")?;
        }
    }
    Ok(())
}
