//! The console: its types, and its pages in a browser with servers of this checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{Failure, Server, Step as _, Tools, browser, create_keys, files};

/// The options of the compiler. `noEmit`: the modules are served as they are written.
const OPTIONS: &str = r#"{
  "compilerOptions": {
    "allowJs": true, "checkJs": true, "strict": true, "noUncheckedIndexedAccess": true,
    "exactOptionalPropertyTypes": true, "noEmit": true,
    "target": "es2023", "module": "es2022", "moduleResolution": "bundler",
    "lib": ["es2024", "dom", "dom.iterable", "dom.asynciterable"], "types": [], "skipLibCheck": true
  },
  "include": ["assets/**/*.js", "types/*.d.ts"]
}
"#;

/// The scopes of the keys that the scripts get, by the names that they have there.
const KEYS: [(&str, &str); 3] = [
    ("all", "calls:read,calls:write,calls:delete,calls:export,phone-numbers:read"),
    ("masked", "calls:read"),
    ("writeOnly", "calls:write"),
];

/// The script that opens each page. The others take some minutes, so not every change waits for them.
const SHORT: &str = "shell.mjs";

/// The script that is no test, but takes pictures.
const SCREENSHOTS: &str = "screenshots.mjs";

/// Checks the types of the modules, and runs the scripts of `xtask/interop/console/`, or a short one, if there is a browser.
pub(super) fn check(
    root: &Path,
    tools: &Tools,
    contract: &Path,
    (program, is_short): (&Path, bool),
) -> Result<(), Failure> {
    check_types(root, tools, contract)?;
    let Some(browser) = browser() else {
        println!("    the console is not opened in a browser: install chromium");
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let keys = create_keys(program, &data, &KEYS.map(|(_, scopes)| scopes))?;
    let hosts = ["--recording-hosts", "recordings.example.com"];
    let demo = Server::demo(program, &hosts)?;
    let keyed = Server::start(program, &data, &["--require-keys"])?;
    let without = Server::start(program, &directory.path().join("without"), &["--console", "false"])?;
    let names = KEYS.map(|(name, _)| name);
    let keys: Value = names.into_iter().zip(keys).map(|(name, key)| (name.to_owned(), Value::from(key))).collect();
    let servers =
        json!({ "browser": browser, "demo": demo.base, "keyed": keyed.base, "without": without.base, "keys": keys });
    let mut failed = Vec::new();
    for script in scripts(root, tools)? {
        if is_short && !script.ends_with(SHORT) {
            continue;
        }
        let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut node = Command::new("node");
        node.arg(&script).env("CALLHISTORY_CONSOLE", servers.to_string()).current_dir(&tools.folder);
        failed.extend(node.show(&format!("console/{name}")).err());
    }
    match failed.into_iter().next() {
        Some(first) => Err(first),
        None => Ok(()),
    }
}

/// Takes the pictures of `docs/images/` again, from the console with the calls of a demonstration.
///
/// # Errors
///
/// Says that there is no browser, or what failed.
pub fn take_screenshots(root: &Path, tools: &Tools, program: &Path) -> Result<(), Failure> {
    let browser = browser().ok_or("there is no browser: install chromium")?;
    let folder = copy_scripts(root, tools)?.0;
    let demo = Server::demo(program, &[])?;
    let mut node = Command::new("node");
    node.arg(folder.join(SCREENSHOTS)).arg(root.join("docs/images")).current_dir(&tools.folder);
    node.env("CALLHISTORY_CONSOLE", json!({ "browser": browser, "demo": demo.base }).to_string());
    node.show(SCREENSHOTS)
}

/// The paths of the copied scripts that are tests.
fn scripts(root: &Path, tools: &Tools) -> Result<Vec<PathBuf>, Failure> {
    let (_, mut scripts) = copy_scripts(root, tools)?;
    scripts.retain(|path| {
        let is_other = ["harness.mjs", SCREENSHOTS].iter().any(|name| path.ends_with(name));
        path.extension().is_some_and(|end| end == "mjs") && !is_other
    });
    scripts.sort();
    Ok(scripts)
}

/// Copies the scripts to where their packages are; returns the folder and their paths.
fn copy_scripts(root: &Path, tools: &Tools) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
    let folder = tools.folder.join("console-scripts");
    drop(fs::remove_dir_all(&folder));
    let scripts = copy(&root.join("xtask/interop/console"), &folder)?;
    Ok((folder, scripts))
}

/// Checks the modules against their JSDoc, the declarations of the libraries, and types that are generated from the contract.
fn check_types(root: &Path, tools: &Tools, contract: &Path) -> Result<(), Failure> {
    let source = root.join("crates/callhistory-console");
    let folder = tools.folder.join("console");
    drop(fs::remove_dir_all(&folder));
    copy(&source.join("types"), &folder.join("types"))?;
    for file in copy(&source.join("assets"), &folder.join("assets"))? {
        // The declarations of a library take the place of its modules.
        if let Ok(name) = file.strip_prefix(folder.join("assets/vendor"))
            && name.extension().is_some_and(|end| end == "js")
        {
            let declaration = name.with_extension("d.ts");
            let declared = match declaration.strip_prefix("uplot") {
                Ok(name) => tools.folder.join("node_modules/uplot/dist").join(name),
                Err(_) => tools.folder.join("node_modules").join(&declaration),
            };
            fs::copy(declared, folder.join("assets/vendor").join(declaration))?;
            fs::remove_file(&file)?;
        }
    }
    let types = folder.join("types/contract.d.ts");
    tools.node("openapi-typescript").arg(contract).arg("--output").arg(types).step("openapi-typescript")?;
    fs::write(folder.join("tsconfig.json"), OPTIONS)?;
    tools.node("tsc").arg("--project").arg(&folder).step("tsc --checkJs --strict")
}

/// Copies a folder; returns the paths of the copies.
fn copy(from: &Path, to: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut copies = Vec::new();
    for file in files(from)? {
        let copy = to.join(file.strip_prefix(from)?);
        fs::create_dir_all(copy.parent().unwrap_or(to))?;
        fs::copy(&file, &copy)?;
        copies.push(copy);
    }
    Ok(copies)
}
