//! The libraries: pinned, with licences that this project may pass on, and as they were fetched.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use toml::Table;

const LICENCES: [&str; 3] = ["MIT", "BSD-3-Clause", "Apache-2.0"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/vendor")
}

/// The files of a folder and below, by their path, with their digests.
fn digests(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            digests(&entry.path(), &format!("{name}/"), found);
        } else {
            let digest = Sha256::digest(fs::read(entry.path()).unwrap());
            found.insert(name, digest.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }
}

/// The types that the modules are checked against are those of the same versions.
#[test]
fn the_declarations_are_those_of_the_vendored_versions() {
    let lock: Table = fs::read_to_string(folder().join("LOCK.toml")).unwrap().parse().unwrap();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/interop/package.json");
    let tools = fs::read_to_string(tools).unwrap();
    for (package, entry) in &lock {
        let version = entry["version"].as_str().unwrap();
        assert!(tools.contains(&format!("\"{package}\": \"{version}\"")), "xtask/interop/package.json: {package}");
    }
}

#[test]
fn the_lock_file_names_every_vendored_file() {
    let lock: Table = fs::read_to_string(folder().join("LOCK.toml")).unwrap().parse().unwrap();
    let mut found = BTreeMap::new();
    digests(&folder(), "", &mut found);
    found.remove("LOCK.toml");
    let mut locked = BTreeMap::new();
    for (package, entry) in &lock {
        let licence = entry["licence"].as_str().unwrap();
        assert!(LICENCES.contains(&licence), "{package}: {licence}");
        assert!(entry["integrity"].as_str().unwrap().starts_with("sha512-"), "{package}");
        assert!(entry["version"].as_str().unwrap().split('.').all(|part| part.parse::<u32>().is_ok()), "{package}");
        let files = entry["files"].as_table().unwrap();
        assert!(files.contains_key("LICENSE"), "{package} has no licence text");
        for (file, digest) in files {
            locked.insert(format!("{package}/{file}"), digest.as_str().unwrap().to_owned());
        }
    }
    assert_eq!(found, locked, "run cargo xtask vendor-console");
    assert!(found.len() > 10);
}
