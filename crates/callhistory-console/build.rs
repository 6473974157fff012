//! Lists the files of `assets/` with their digests, so that the crate embeds them without a list that somebody must keep. Modules
//! and styles are embedded without comments and indentation, which are a sixth of what a browser would load.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// The modules that the page needs before it shows rows: the frame, and the list, which it loads when the frame runs.
const FIRST: [&str; 2] = ["app.js", "pages/calls.js"];

#[expect(clippy::disallowed_methods, reason = "cargo passes folders to build scripts in variables")]
fn main() -> Result<(), Box<dyn Error>> {
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("assets");
    let output = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=build.rs");
    let mut names = Vec::new();
    list(&source, "", &mut names)?;
    names.sort_unstable();

    let mut all = Sha256::new();
    let mut files = Vec::new();
    for name in names {
        let mut bytes = fs::read(source.join(&name))?;
        if !name.starts_with("vendor/") && [".js", ".css"].iter().any(|end| name.ends_with(end)) {
            bytes = without_comments(&String::from_utf8(bytes)?).into_bytes();
        }
        all.update(&name);
        all.update(&bytes);
        files.push((name, bytes));
    }
    let build = hex(&all.finalize());
    let preloads = preloads(&files)?;
    let mut table = format!("const BUILD: &str = \"build-{build}/\";\nconst ASSETS: &[Asset] = &[\n");
    for (name, mut bytes) in files {
        if name == "index.html" {
            // The page names its files below the digest of them all, so that browsers may keep them for ever. The names are
            // relative: a proxy may serve the page below a prefix.
            let page = String::from_utf8(bytes)?.replace("    <script type=\"module\"", &preloads);
            bytes = page.replace("\"console/", &format!("\"console/build-{build}/")).into_bytes();
        }
        let file = output.join("assets").join(&name);
        fs::create_dir_all(file.parent().unwrap_or(&output))?;
        fs::write(&file, &bytes)?;
        table.push_str(&entry(&name, &file, &hex(&Sha256::digest(&bytes)))?);
    }
    table.push_str("];\n");
    fs::write(output.join("assets.rs"), table)?;
    Ok(())
}

/// Links to the first modules, and what follows them in the page. Without links, a browser learns of a module when it has
/// the one that imports it: one round trip for each level of imports.
fn preloads(files: &[(String, Vec<u8>)]) -> Result<String, Box<dyn Error>> {
    let files: BTreeMap<&str, &[u8]> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let mut names: Vec<String> = FIRST.map(str::to_owned).to_vec();
    let mut at = 0;
    while let Some(name) = names.get(at).cloned() {
        let source = files.get(name.as_str()).ok_or_else(|| format!("there is no module {name}"))?;
        for import in imports(str::from_utf8(source)?) {
            let path = resolve(&name, import);
            if !names.contains(&path) {
                names.push(path);
            }
        }
        at += 1;
    }
    // The page names the first one itself.
    let links = names.iter().skip(1);
    let mut text: String =
        links.map(|name| format!("    <link rel=\"modulepreload\" href=\"console/{name}\">\n")).collect();
    text.push_str("    <script type=\"module\"");
    Ok(text)
}

/// The modules that one names, without those that it imports when it needs them.
fn imports(source: &str) -> impl Iterator<Item = &str> {
    ["from \"", "from\"", "import \"", "import\""].into_iter().flat_map(move |start| {
        let ends = source.match_indices(start).filter_map(move |(at, _)| source.get(at + start.len()..));
        ends.filter_map(|rest| rest.split('"').next()).filter(|name| name.starts_with("./") || name.starts_with("../"))
    })
}

/// The path that a relative name has in a file.
fn resolve(from: &str, name: &str) -> String {
    let mut folders: Vec<&str> = from.split('/').collect();
    folders.pop();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => drop(folders.pop()),
            part => folders.push(part),
        }
    }
    folders.join("/")
}

/// One file as an item of the table.
fn entry(name: &str, file: &Path, digest: &str) -> Result<String, Box<dyn Error>> {
    // In two parts: the house rules check the names of files that source files include.
    let include = concat!("include_", "bytes!");
    let media_type = media_type(name)?;
    let mut entry = String::new();
    writeln!(
        entry,
        "    Asset {{ path: {name:?}, bytes: {include}({file:?}), media_type: {media_type:?}, \
         etag: \"\\\"{digest}\\\"\", is_immutable: false }},"
    )?;
    Ok(entry)
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
            println!("cargo:rerun-if-changed={}", entry.path().display());
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

/// Removes the comments that begin a line, and the indentation. Lines of a template are text, whatever they look like.
fn without_comments(source: &str) -> String {
    let mut kept = String::new();
    let mut templates = Templates::default();
    let mut is_comment = false;
    for line in source.lines() {
        let mut rest = line;
        if is_comment {
            let Some((_, after)) = line.split_once("*/") else { continue };
            (rest, is_comment) = (after, false);
        }
        if !templates.is_open() {
            while let Some(comment) = rest.trim_start().strip_prefix("/*") {
                (rest, is_comment) = comment.split_once("*/").map_or(("", true), |(_, after)| (after, false));
            }
            rest = rest.trim_start();
            if rest.is_empty() || rest.starts_with("//") {
                continue;
            }
        }
        templates.read(rest);
        kept.push_str(rest);
        kept.push('\n');
    }
    kept
}

/// The template literals of a module, which are open at the end of a line.
#[derive(Default)]
struct Templates {
    /// For each open template: `None` in its text, or the open braces of an expression in it.
    open: Vec<Option<u32>>,
}

impl Templates {
    /// Whether the next line begins in the text of a template.
    fn is_open(&self) -> bool {
        self.open.last() == Some(&None)
    }

    fn read(&mut self, line: &str) {
        let mut quote = None;
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            let in_text = self.is_open();
            match (character, quote) {
                ('\\', _) => drop(characters.next()),
                (mark, Some(open)) if mark == open => quote = None,
                (_, Some(_)) => {}
                ('$', _) if in_text && characters.peek() == Some(&'{') => {
                    characters.next();
                    self.set_braces(Some(0));
                }
                ('`', _) if in_text => drop(self.open.pop()),
                _ if in_text => {}
                ('`', _) => self.open.push(None),
                ('"' | '\'', _) => quote = Some(character),
                ('{', _) => self.set_braces(self.braces().map(|count| count + 1)),
                ('}', _) => self.set_braces(self.braces().and_then(|count| count.checked_sub(1))),
                _ => {}
            }
        }
    }

    /// The open braces of the innermost expression.
    fn braces(&self) -> Option<u32> {
        self.open.last().copied().flatten()
    }

    fn set_braces(&mut self, count: Option<u32>) {
        if let Some(last) = self.open.last_mut() {
            *last = count;
        }
    }
}
