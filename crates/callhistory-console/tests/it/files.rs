//! What every file of the console must be: small, complete, and without anything that its policy forbids.

use std::{collections::BTreeSet, fs, io::Write as _, path::Path};

use callhistory_console::{Asset, assets, find, index};
use flate2::{Compression, write::GzEncoder};

/// The largest size of all files together, compressed, in bytes.
const MAX_BYTES: usize = 150_000;
const MAX_LINES: usize = 500;

pub(crate) fn text(asset: &Asset) -> &'static str {
    std::str::from_utf8(asset.bytes).unwrap()
}

/// The files that this project has written, with this ending.
pub(crate) fn own_files(ending: &str) -> impl Iterator<Item = &'static Asset> {
    assets().iter().filter(move |asset| asset.path.ends_with(ending) && !asset.path.starts_with("vendor/"))
}

fn compressed(bytes: &[u8]) -> usize {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().len()
}

#[test]
fn all_files_together_are_small() {
    let sizes: Vec<_> = assets().iter().map(|asset| (compressed(asset.bytes), asset.path)).collect();
    let total: usize = sizes.iter().map(|(size, _)| size).sum();
    println!("{total} bytes of gzip in {} files", sizes.len());
    assert!(total <= MAX_BYTES, "{total} of {MAX_BYTES} bytes of gzip: {sizes:?}");
}

#[test]
fn a_file_has_one_purpose() {
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    for asset in own_files(".js").chain(own_files(".css")).filter(|asset| !asset.path.starts_with("strings/")) {
        let lines = fs::read_to_string(written.join(asset.path)).unwrap().lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines; split it where it has two purposes", asset.path);
    }
}

/// The names that a module imports, those of dynamic imports included.
fn imports(source: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for start in ["from \"", "from\"", "import(\"", "import \"", "import\""] {
        for (at, _) in source.match_indices(start) {
            // The word can be the end of the key of a text.
            let is_word = !source[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
            let name = source[at + start.len()..].split('"').next().unwrap();
            if is_word && (name.starts_with('.') || name.contains('/')) {
                names.push(name);
            }
        }
    }
    names
}

/// The path that a relative name has for a file.
fn resolve(from: &str, name: &str) -> String {
    let mut folders: Vec<&str> = from.split('/').collect();
    folders.pop();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => drop(folders.pop().expect("the name leads out of the console")),
            part => folders.push(part),
        }
    }
    folders.join("/")
}

#[test]
fn every_import_resolves() {
    let mut count = 0;
    for asset in assets().iter().filter(|asset| asset.path.ends_with(".js")) {
        for name in imports(text(asset)) {
            assert!(name.starts_with('.'), "{}: {name}: browsers resolve only relative names", asset.path);
            let path = resolve(asset.path, name);
            assert!(find(&path).is_some(), "{}: {name}: there is no {path}", asset.path);
            count += 1;
        }
    }
    assert!(count > 30, "the imports were not found");
}

/// A browser that learns of modules one level at a time shows the first rows late.
#[test]
fn the_page_names_the_modules_of_the_list() {
    let page = text(&index().unwrap());
    let links: Vec<_> = page.split("<link rel=\"modulepreload\" href=\"").skip(1).collect();
    let named: BTreeSet<_> = links
        .iter()
        .map(|link| link.split('"').next().unwrap().split('/').skip(2).collect::<Vec<_>>().join("/"))
        .collect();
    assert_eq!(named.len(), links.len(), "a module is named twice");
    let mut needed = BTreeSet::from(["pages/calls.js".to_owned()]);
    let mut waiting = vec!["app.js".to_owned(), "pages/calls.js".to_owned()];
    while let Some(path) = waiting.pop() {
        // What is imported later is not needed for the first rows.
        let source = text(&find(&path).unwrap()).replace("import(\"", "later(\"");
        let next = imports(&source).into_iter().map(|name| resolve(&path, name));
        waiting.extend(next.filter(|path| needed.insert(path.clone())));
    }
    needed.remove("app.js");
    assert_eq!(named, needed);
    assert!(named.len() > 30, "the modules were not found");
    let (before, after) = page.split_once("<script type=\"module\"").unwrap();
    assert!(
        before.contains("modulepreload") && !after.contains("modulepreload"),
        "a module is asked for before the others"
    );
}

/// Whatever is not reached from the page would be dead weight.
#[test]
fn every_file_is_used() {
    let page = text(&index().unwrap());
    let named = page.split('"').filter_map(|text| text.strip_prefix("console/")?.split_once('/'));
    let mut used: BTreeSet<String> = named.map(|(_, path)| path.to_owned()).collect();
    let mut waiting: Vec<String> = used.iter().cloned().collect();
    while let Some(path) = waiting.pop() {
        let asset = find(&path).unwrap_or_else(|| unreachable!("there is no {path}"));
        if path.ends_with(".js") {
            let next = imports(text(&asset)).into_iter().map(|name| resolve(&path, name));
            waiting.extend(next.filter(|path| used.insert(path.clone())));
        }
    }
    let unused = own_files(".js").chain(own_files(".css")).filter(|asset| !used.contains(asset.path));
    assert_eq!(unused.map(|asset| asset.path).collect::<Vec<_>>(), Vec::<&str>::new());
}

/// A class is used if a module or the page has it, or its beginning in a template: `` `turn-${kind}` ``.
#[test]
fn each_class_of_the_styles_is_used() {
    let modules: Vec<_> = own_files(".js").filter(|asset| !asset.path.starts_with("strings/")).map(text).collect();
    let page = text(&index().unwrap());
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let words: BTreeSet<&str> =
        modules.iter().chain([&page]).flat_map(|source| source.split(|c| !is_name(c))).collect();
    let is_used = |class: &str| {
        let begins = |at: usize| modules.iter().any(|module| module.contains(&format!("{}${{", &class[..=at])));
        words.contains(class) || class.match_indices('-').any(|(at, _)| begins(at))
    };
    let mut count = 0;
    for asset in own_files(".css") {
        let rules = text(asset).split('}').filter_map(|rule| rule.rsplit_once('{'));
        let selectors = rules.flat_map(|(selector, _)| selector.split('{'));
        for class in selectors.flat_map(|selector| selector.split('.').skip(1)) {
            let class = class.split(|c| !is_name(c)).next().unwrap();
            // Those of uPlot have a prefix.
            assert!(class.starts_with("u-") || is_used(class), "{}: nothing has the class {class}", asset.path);
            count += 1;
        }
    }
    assert!(count > 200, "the classes were not found");
}

#[test]
fn nothing_is_in_a_file_that_the_policy_forbids() {
    let page = text(&index().unwrap());
    assert!(
        !page.contains("<style")
            && page.matches("<script").count()
                == page.matches("<script src=").count() + page.matches("<script type=\"module\" src=").count(),
        "{page}"
    );
    let in_markup = [" style=", " onclick=", " onload=", " onerror=", "javascript:", "http://", "https://"];
    for word in in_markup {
        assert!(!page.contains(word), "index.html: {word}");
    }
    let in_modules = [
        " style=",
        " onclick=\"",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "unsafeHTML",
        "unsafeSVG",
        "eval(",
        "new Function",
        "createPolicy",
        "srcdoc",
        "DOMParser",
        "javascript:",
        "importScripts",
    ];
    for (asset, word) in own_files(".js").flat_map(|asset| in_modules.map(|word| (asset, word))) {
        assert!(!text(asset).contains(word), "{}: {word}", asset.path);
    }
    // Colors in a transition are those of neither end, so nobody can say that they have enough contrast.
    let in_styles = ["@import", "url(http", "expression(", "transition", "animation", "@keyframes"];
    for (asset, word) in own_files(".css").flat_map(|asset| in_styles.map(|word| (asset, word))) {
        let is_found = text(asset).lines().any(|line| line.contains(word) && !line.trim_start().starts_with("/*"));
        assert!(!is_found, "{}: {word}", asset.path);
    }
}

/// Comments are for those who read the repository; everything else is as it is written.
#[test]
fn only_comments_are_left_out() {
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let mut comments = 0;
    for asset in own_files(".js").chain(own_files(".css")) {
        let source = fs::read_to_string(written.join(asset.path)).unwrap();
        let mut kept = text(asset).lines().peekable();
        for line in source.lines() {
            // Indentation, or a comment in front of code on its line.
            if kept.peek().is_some_and(|kept| line.ends_with(kept)) {
                kept.next();
                continue;
            }
            let trimmed = line.trim_start();
            let is_comment = trimmed.is_empty() || ["//", "/*", "*"].iter().any(|mark| trimmed.starts_with(mark));
            assert!(is_comment, "{}: {line}", asset.path);
            comments += 1;
        }
        assert_eq!(kept.next(), None, "{}", asset.path);
    }
    assert!(comments > 100, "nothing was left out");
}

#[test]
fn files_are_found_by_their_path_only() {
    for path in ["", "/", "index", "../src/lib.rs", "pages", "pages/", "vendor/LOCK.toml", "build-0/app.js", "App.js"] {
        assert_eq!(find(path), None, "{path}");
    }
    let tags: BTreeSet<_> = assets().iter().map(|asset| asset.etag).collect();
    assert!(tags.iter().all(|tag| tag.starts_with('"') && tag.ends_with('"') && tag.len() == 34));
    assert!(assets().iter().all(|asset| find(asset.path) == Some(*asset) && !asset.is_immutable));
    let page = text(&index().unwrap());
    let app = page.split('"').find(|text| text.ends_with("/app.js")).unwrap().strip_prefix("console/").unwrap();
    assert!(find(app).unwrap().is_immutable, "{app}");
}
