//! The histories as data directories: imported once and kept outside the repository.

use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use callhistory_test_support::history::{History, Period};

use crate::{error::BoxError, server::create_database};

pub(crate) const SMALL: u32 = 10_000;
pub(crate) const LARGE: u32 = 1_000_000;
pub(crate) const HUGE: u32 = 10_000_000;
/// Part of the name of each directory: another generator or schema must not measure the data of this one.
const GENERATION: &str = "6";
const SEED: u64 = 1;

/// Where histories are kept by default.
#[expect(clippy::disallowed_methods, reason = "the environment names the user's cache")]
pub(crate) fn folder() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("callhistory-bench")
}

/// The data directory of a history, imported by the server first where there is none.
pub(crate) fn data_directory(
    server: &Path,
    folder: &Path,
    history: History,
    records: u32,
) -> Result<PathBuf, BoxError> {
    let data = folder.join(format!("{GENERATION}-{}-{records}", history.name()));
    if data.exists() {
        return Ok(data);
    }
    // Renamed when it is complete, so that an aborted run leaves nothing that looks like a history.
    let unfinished = data.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(folder)?;
    let started = Instant::now();
    eprintln!("importing {records} records of history {} into {}", history.name(), data.display());
    create_database(server, &unfinished)?;
    for (workspace, _) in history.workspaces() {
        let mut import = Command::new(server)
            .args(["import", "--workspace", workspace, "-", "--data-dir"])
            .arg(&unfinished)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut input = BufWriter::new(import.stdin.take().ok_or("the import has no input")?);
        write_lines(history, records, workspace, &mut input)?;
        drop(input);
        if !import.wait()?.success() {
            return Err("the import failed".into());
        }
    }
    fs::rename(&unfinished, &data)?;
    eprintln!("imported in {:.0} s", started.elapsed().as_secs_f64());
    Ok(data)
}

/// Writes the calls of one workspace as NDJSON; gives how many there are.
pub(crate) fn write_lines(
    history: History,
    records: u32,
    workspace: &str,
    output: &mut impl Write,
) -> Result<u32, BoxError> {
    let mut written = 0;
    for call in history.calls(SEED, records, Period::PAST).filter(|call| call.workspace == workspace) {
        output.write_all(call.json.as_bytes())?;
        output.write_all(b"\n")?;
        written += 1;
    }
    output.flush()?;
    Ok(written)
}
