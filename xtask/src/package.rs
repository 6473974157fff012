//! The crates that are published: their packages, their features, the minimum version of Rust, WebAssembly, their public API.

use std::{path::Path, process::Command};

use clap::Args;
use serde_json::Value;

use crate::{cargo, public_api};

/// The platform of browsers, on which the SDK and the model must compile.
const WASM: &str = "wasm32-unknown-unknown";

/// Features that the listing of a public API leaves out: one that takes `non_exhaustive` away, for the crates of this repository, and
/// the alternatives to the default TLS, which add nothing public but need headers of OpenSSL or a long build.
const NOT_LISTED: [&str; 3] = ["exhaustive", "native-tls", "rustls-aws-lc"];

/// Which checks to run, and how.
#[derive(Debug, Args)]
pub struct PackageOptions {
    /// Write the public APIs that are committed, in place of comparing with them
    #[arg(long)]
    write_api: bool,
    /// Only the checks whose names contain this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Print the names of the checks
    #[arg(long)]
    list: bool,
}

/// A crate that is published, as cargo describes it.
struct PublishedCrate {
    name: String,
    features: Vec<String>,
    rust_version: String,
}

/// A check of this name: the commands of cargo, or the comparison of an API.
struct Check {
    name: String,
    run: Means,
}

enum Means {
    Cargo(String),
    /// With another version of Rust.
    Rustup(String, String),
    /// The public API of a crate with these features.
    Api(String, String),
    /// Why it cannot run here.
    Not(String),
}

/// Runs the checks; with `complete`, one that cannot run on this machine counts as failed.
///
/// # Errors
///
/// Names the checks that failed.
pub fn run(root: &Path, options: &PackageOptions, complete: bool) -> Result<(), String> {
    let mut checks = checks(&packages()?);
    checks.retain(|check| options.only.as_ref().is_none_or(|text| check.name.contains(text.as_str())));
    let (mut failed, mut not_checked) = (Vec::new(), Vec::new());
    for Check { name, run } in checks {
        println!("==> {name}");
        if options.list {
            continue;
        }
        let result = match run {
            Means::Cargo(arguments) => finish(&mut cargo(&arguments)).map(|()| None),
            Means::Rustup(version, arguments) => {
                let mut command = Command::new("rustup");
                command.args(["run", &version, "cargo"]).args(arguments.split(' ')).current_dir(root);
                // This process is started by another version, which set them.
                finish(command.env_remove("RUSTC").env_remove("RUSTDOC").env_remove("CARGO")).map(|()| None)
            }
            Means::Api(package, features) => public_api::check(root, &package, &features, options.write_api),
            Means::Not(reason) => Ok(Some(reason)),
        };
        match result {
            Ok(None) => {}
            Ok(Some(reason)) => {
                println!("    NOT CHECKED: {reason}");
                not_checked.push(name);
            }
            Err(reason) => {
                println!("    {reason}");
                failed.push(name);
            }
        }
    }
    match (failed.is_empty(), not_checked.is_empty() || !complete) {
        (false, _) => Err(format!("failed: {}", failed.join(", "))),
        (true, false) => Err(format!("NOT CHECKED: {}", not_checked.join(", "))),
        (true, true) if not_checked.is_empty() => Ok(()),
        (true, true) => {
            println!("Everything that ran passes. NOT CHECKED: {}", not_checked.join(", "));
            Ok(())
        }
    }
}

fn finish(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// The members that may be published.
fn packages() -> Result<Vec<PublishedCrate>, String> {
    let output = cargo("metadata --no-deps --format-version 1").output().map_err(|error| error.to_string())?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let all = metadata["packages"].as_array().into_iter().flatten();
    // `publish = false` is an empty list of registries.
    let published = all.filter(|package| package["publish"].is_null());
    let packages = published.map(|package| PublishedCrate {
        name: package["name"].as_str().unwrap_or_default().to_owned(),
        features: package["features"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect(),
        rust_version: package["rust_version"].as_str().unwrap_or_default().to_owned(),
    });
    Ok(packages.collect())
}

fn checks(packages: &[PublishedCrate]) -> Vec<Check> {
    let names: Vec<String> = packages.iter().map(|package| format!("-p {}", package.name)).collect();
    let names = names.join(" ");
    let check = |name: String, run: Means| Check { name, run };
    // Together, because none of them is on a registry before the first release. Each is built from its package.
    let dry_run = format!("publish --dry-run --locked --allow-dirty {names}");
    let mut checks = vec![check("cargo publish --dry-run".to_owned(), Means::Cargo(dry_run))];
    for PublishedCrate { name, features, .. } in packages {
        let one =
            features.iter().filter(|feature| *feature != "default").map(|feature| format!("--features {feature}"));
        for feature in std::iter::once(String::new()).chain(one) {
            let arguments = format!("check --locked -p {name} --no-default-features {feature}");
            let run = if feature == "--features native-tls" && cfg!(target_os = "linux") && !has_openssl() {
                Means::Not("install the headers of OpenSSL (libssl-dev)".to_owned())
            } else {
                Means::Cargo(arguments.trim_end().to_owned())
            };
            checks.push(check(arguments.trim_end().replace("check --locked -p ", "feature of "), run));
        }
    }
    let version = packages.iter().map(|package| package.rust_version.as_str()).max().unwrap_or_default();
    let has_version = installed(&["toolchain", "list"], &format!("{version}-"))
        || installed(&["toolchain", "list"], &format!("{version}.0-"));
    checks.push(check(
        format!("Rust {version}"),
        if has_version {
            Means::Rustup(version.to_owned(), format!("check --locked {names}"))
        } else {
            Means::Not(format!("rustup toolchain install {version} --profile minimal"))
        },
    ));
    let libraries = packages.iter().filter(|package| package.name != "callhistory-openapi-compat");
    for PublishedCrate { name, features, .. } in libraries {
        let wasm = format!("check --locked -p {name} --no-default-features --target {WASM}");
        let run = if installed(&["target", "list", "--installed"], WASM) {
            Means::Cargo(wasm)
        } else {
            Means::Not(format!("rustup target add {WASM}"))
        };
        checks.push(check(format!("{WASM} {name}"), run));
        let shown: Vec<&str> =
            features.iter().map(String::as_str).filter(|feature| !NOT_LISTED.contains(feature)).collect();
        checks.push(check(format!("public API of {name}"), Means::Api(name.clone(), shown.join(","))));
    }
    checks
}

/// Whether rustup lists something that starts with this text.
fn installed(arguments: &[&str], start: &str) -> bool {
    let listed = Command::new("rustup").args(arguments).output();
    listed.is_ok_and(|listed| String::from_utf8_lossy(&listed.stdout).lines().any(|line| line.starts_with(start)))
}

fn has_openssl() -> bool {
    Command::new("pkg-config").args(["--exists", "openssl"]).status().is_ok_and(|status| status.success())
}
