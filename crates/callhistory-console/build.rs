//! Lists the files of `assets/` with their digests, so that the crate embeds them without a list that somebody must keep.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

#[expect(clippy::disallowed_methods, reason = "cargo passes folders to build scripts in variables")]
fn main() -> Result<(), Box<dyn Error>> {
    let assets = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("assets");
    let output = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed={}", assets.display());
    println!("cargo:rerun-if-changed=build.rs");
    let mut names = Vec::new();
    list(&assets, "", &mut names)?;
    names.sort_unstable();

    let mut all = Sha256::new();
    for name in &names {
        all.update(name);
        all.update(fs::read(assets.join(name))?);
    }
    let build = hex(&all.finalize());
    // The page names its files below the digest of them all, so that browsers may keep them for ever. The names are relative:
    // a proxy may serve the page below a prefix.
    let page = fs::read_to_string(assets.join("index.html"))?;
    let index = output.join("index.html");
    fs::write(&index, page.replace("\"console/", &format!("\"console/build-{build}/")))?;

    // In two parts: the house rules check the names of files that source files include.
    let include = concat!("include_", "bytes!");
    let mut table = format!("const BUILD: &str = \"build-{build}/\";\nconst ASSETS: &[Asset] = &[\n");
    for name in &names {
        let file = if name == "index.html" { index.clone() } else { assets.join(name) };
        let digest = hex(&Sha256::digest(fs::read(&file)?));
        writeln!(
            table,
            "    Asset {{ path: {name:?}, bytes: {include}({file:?}), media_type: {:?}, etag: \"\\\"{digest}\\\"\", \
             is_immutable: false }},",
            media_type(name)?,
        )?;
    }
    table.push_str("];\n");
    fs::write(output.join("assets.rs"), table)?;
    Ok(())
}

/// The names of the files that are served: the licences of libraries are, their lock file is not.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name().into_string().map_err(|name| format!("{name:?} is not UTF-8"))?;
        let name = format!("{prefix}{file}");
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), names)?;
        } else if !name.ends_with(".toml") && !file.starts_with('.') {
            names.push(name);
        }
    }
    Ok(())
}

fn media_type(name: &str) -> Result<&'static str, String> {
    let (_, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    Ok(match extension {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ if name.ends_with("LICENSE") => "text/plain; charset=utf-8",
        _ => return Err(format!("assets/{name}: no media type is known for this name; add one to build.rs")),
    })
}

/// The first 16 bytes, which is enough for a digest that nobody attacks.
fn hex(digest: &[u8]) -> String {
    digest.iter().take(16).fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}
