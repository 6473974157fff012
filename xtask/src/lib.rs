//! The project's own checks and generators.

pub mod ci;
mod imports;
pub mod interop;
pub mod openapi;
pub mod package;
mod public_api;
pub mod repository;
pub mod setup;
mod source_rules;
pub mod system;
pub mod tidy;
pub mod vendor_console;

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

/// The root of the repository.
#[must_use]
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The target directory that this program was built in.
///
/// # Errors
///
/// Fails if the program is not in one.
pub fn target() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    program.ancestors().nth(2).map(Path::to_owned).ok_or_else(|| "this program is not in a target directory".to_owned())
}

/// A command of the server without the `CALLHISTORY_*` variables of this process.
pub(crate) fn server_command(server: &Path) -> Command {
    let mut command = Command::new(server);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CALLHISTORY_")) {
        command.env_remove(name);
    }
    command
}

/// A command of cargo in the repository; the arguments are separated by blanks.
#[must_use]
pub fn cargo(arguments: &str) -> Command {
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.args(arguments.split(' ')).current_dir(root());
    command
}

/// Runs a command, prints its output, and passes each line to `each`.
pub(crate) fn run_with_lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<ExitStatus, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    for line in BufReader::new(child.stdout.take().ok_or("the command has no output")?).split(b'\n') {
        let line = line.map_err(failed)?;
        let line = String::from_utf8_lossy(&line);
        each(&line);
        println!("{line}");
    }
    child.wait().map_err(failed)
}

/// Builds the server of the repository; returns the path of the program.
///
/// # Errors
///
/// Fails if it does not build.
pub fn build_server() -> Result<PathBuf, String> {
    match cargo("build --quiet --locked --package callhistory-server").status() {
        Ok(status) if status.success() => Ok(target()?.join("debug/callhistory-server")),
        Ok(_) => Err("the server does not build".to_owned()),
        Err(error) => Err(format!("cargo build: {error}")),
    }
}
