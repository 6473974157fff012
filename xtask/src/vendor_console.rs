//! `cargo xtask vendor-console`: fetches the libraries of the console from npm, and writes them with their licences and digests.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use toml::Table;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Licences that this project may pass on.
const LICENCES: [&str; 3] = ["MIT", "BSD-3-Clause", "Apache-2.0"];

/// A library: its version, and which of its files the console has.
struct Library {
    name: &'static str,
    version: &'static str,
    /// Paths in the package and in the folder of the library.
    files: &'static [(&'static str, &'static str)],
    /// A file and a line that is added to it.
    addition: Option<(&'static str, &'static str)>,
}

const LIBRARIES: [Library; 2] = [
    Library {
        name: "lit-html",
        version: "3.3.3",
        files: &[
            ("LICENSE", "LICENSE"),
            ("lit-html.js", "lit-html.js"),
            ("async-directive.js", "async-directive.js"),
            ("directive-helpers.js", "directive-helpers.js"),
            ("directive.js", "directive.js"),
            ("directives/cache.js", "directives/cache.js"),
            ("directives/class-map.js", "directives/class-map.js"),
            ("directives/guard.js", "directives/guard.js"),
            ("directives/if-defined.js", "directives/if-defined.js"),
            ("directives/keyed.js", "directives/keyed.js"),
            ("directives/live.js", "directives/live.js"),
            ("directives/ref.js", "directives/ref.js"),
            ("directives/repeat.js", "directives/repeat.js"),
        ],
        addition: None,
    },
    Library {
        name: "uplot",
        version: "1.6.32",
        files: &[
            ("LICENSE", "LICENSE"),
            ("dist/uPlot.min.css", "uPlot.css"),
            // The module of the package is twice as large, because it is not minified.
            ("dist/uPlot.iife.min.js", "uPlot.js"),
        ],
        addition: Some(("uPlot.js", "\nexport default uPlot;\n")),
    },
];

/// Replaces the vendored libraries by those of the registry.
///
/// # Errors
///
/// Says which package cannot be fetched, has another licence, or is not what the lock file says of its version.
pub fn run(root: &Path) -> Result<(), String> {
    vendor(&root.join("crates/callhistory-console/assets/vendor")).map_err(|failure| failure.to_string())
}

fn vendor(folder: &Path) -> Result<(), Failure> {
    let known: Table = fs::read_to_string(folder.join("LOCK.toml")).unwrap_or_default().parse()?;
    let mut lock =
        "# Written by `cargo xtask vendor-console`. Digests are SHA-256 of the files in this folder.\n".to_owned();
    for library in &LIBRARIES {
        let package = Package::fetch(library)?;
        package.check(library, known.get(library.name))?;
        let target = folder.join(library.name);
        drop(fs::remove_dir_all(&target));
        write!(
            lock,
            "\n[{}]\nversion = \"{}\"\nlicence = \"{}\"\nintegrity = \"{}\"\n\n[{}.files]\n",
            library.name, library.version, package.licence, package.integrity, library.name
        )?;
        let mut digests = Vec::new();
        for (from, to) in library.files {
            let mut bytes = fs::read(package.folder.join(from)).map_err(|error| format!("{from}: {error}"))?;
            if let Some((_, line)) = library.addition.filter(|(file, _)| file == to) {
                bytes.extend_from_slice(line.as_bytes());
            }
            let path = target.join(to);
            fs::create_dir_all(path.parent().unwrap_or(&target))?;
            fs::write(path, &bytes)?;
            digests.push(format!("\"{to}\" = \"{}\"\n", hex(&Sha256::digest(&bytes))));
        }
        digests.sort_unstable();
        lock.extend(digests);
        println!("{:>10} {} {}, {}", "Vendored", library.name, library.version, package.licence);
    }
    Ok(fs::write(folder.join("LOCK.toml"), lock)?)
}

/// A package of the registry, unpacked.
struct Package {
    folder: PathBuf,
    licence: String,
    integrity: String,
    _directory: tempfile::TempDir,
}

impl Package {
    fn fetch(library: &Library) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let name = format!("{}@{}", library.name, library.version);
        let mut npm = Command::new("npm");
        npm.args(["pack", &name, "--json", "--ignore-scripts"]).current_dir(&directory);
        let packed: Value = serde_json::from_slice(&output(&mut npm)?)?;
        let text = |member: &str| packed[0][member].as_str().map(str::to_owned).ok_or("npm pack names no file");
        let mut tar = Command::new("tar");
        output(tar.args(["-xzf", &text("filename")?]).current_dir(&directory))?;
        let folder = directory.path().join("package");
        let manifest: Value = serde_json::from_slice(&fs::read(folder.join("package.json"))?)?;
        let licence = manifest["license"].as_str().unwrap_or_default().to_owned();
        Ok(Self { folder, licence, integrity: text("integrity")?, _directory: directory })
    }

    /// Refuses a licence that nobody has looked at, and another content of a version that is locked.
    fn check(&self, library: &Library, known: Option<&toml::Value>) -> Result<(), String> {
        let Library { name, version, .. } = library;
        if !LICENCES.contains(&self.licence.as_str()) {
            return Err(format!("{name} {version}: the licence {:?} is none of {}", self.licence, LICENCES.join(", ")));
        }
        let locked = |member: &str| known.and_then(|known| known.get(member)?.as_str());
        if locked("version") == Some(*version) && locked("integrity") != Some(&self.integrity) {
            return Err(format!("{name} {version}: the registry has another package than the one that was vendored"));
        }
        Ok(())
    }
}

/// Runs a command and returns what it prints.
fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim_end()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}
