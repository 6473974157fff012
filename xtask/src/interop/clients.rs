//! The clients in `clients/`: their own tests, which call a server of this checkout, and their packages.

use std::{fs, path::Path, process::Command};

use super::{Failure, Step as _, Tools};
use crate::repository::read_tree;

/// What the packages are built from, besides their own folders.
const SHARED: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "openapi/callhistory.json"];

/// Copies the clients below `target/`, because what their builds make is not committed, and runs their tests there.
pub(super) fn check(root: &Path, tools: &Tools, server: &Path) -> Result<(), Failure> {
    copy(root, &tools.folder)?;
    typescript(tools, server)?;
    python(tools, server)
}

fn typescript(tools: &Tools, server: &Path) -> Result<(), Failure> {
    let folder = tools.folder.join("clients/typescript");
    install(&folder, "package-lock.json", || {
        Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder).step("npm ci")
    })?;
    let mut test = Command::new("npm");
    test.arg("test").current_dir(&folder).env("SERVER_PROGRAM", server);
    test.step("tests of the TypeScript client")
}

fn python(tools: &Tools, server: &Path) -> Result<(), Failure> {
    let folder = tools.folder.join("clients/python");
    let venv = folder.join("venv");
    install(&folder, "requirements-dev.txt", || {
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv).step("python3 -m venv")?;
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "--quiet", "--requirement", "requirements-dev.txt"]).current_dir(&folder);
        pip.step("pip install")
    })?;
    let mut check = Command::new(venv.join("bin/python"));
    check.arg("check.py").current_dir(&folder).env("SERVER_PROGRAM", server);
    check.step("tests of the Python client")
}

/// Writes the files again, and leaves what the tools have installed next to them.
fn copy(root: &Path, folder: &Path) -> Result<(), Failure> {
    let tree = read_tree(root)?;
    let clients = tree.iter().filter(|(path, _)| path.starts_with("clients/"));
    for (path, _) in clients.clone() {
        let mut parts = path.splitn(4, '/');
        // A file that is not in the repository any more must not be part of the build.
        if let (Some(clients), Some(name), Some(part), Some(_)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        {
            drop(fs::remove_dir_all(folder.join(clients).join(name).join(part)));
        }
    }
    let shared = tree.iter().filter(|(path, _)| SHARED.contains(&path.as_str()));
    for (path, text) in clients.chain(shared) {
        let to = folder.join(path);
        fs::create_dir_all(to.parent().ok_or("a file has no folder")?)?;
        fs::write(to, text.as_bytes())?;
    }
    Ok(())
}

/// Runs a command unless it ran with the same lock file.
fn install(client: &Path, lock_file: &str, command: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let marker = client.join("installed");
    let wanted = fs::read_to_string(client.join(lock_file))?;
    if !fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        command()?;
        fs::write(marker, wanted)?;
    }
    Ok(())
}
