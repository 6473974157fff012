//! The console: a page that shows the calls of a workspace through the public API. This crate embeds its files and depends on
//! nothing of the project.

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// A file of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its path below `assets/`, such as `pages/calls.js`.
    pub path: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
    /// The value of `content-type`.
    pub media_type: &'static str,
    /// The value of `etag`: a strong entity tag, in quotation marks.
    pub etag: &'static str,
    /// Whether the path that it was found by has the digest of this build, so that its content never changes.
    pub is_immutable: bool,
}

/// Every file, in order of its path.
#[must_use]
pub fn assets() -> &'static [Asset] {
    ASSETS
}

/// The page itself.
#[must_use]
pub fn index() -> Option<Asset> {
    find("index.html")
}

/// The file with a path below `/console/`, such as `app.js` or `build-DIGEST/app.js`. The digest of another build finds the
/// file of this one, which browsers must not keep: while servers are replaced, a page may come from one and its files
/// from another.
#[must_use]
pub fn find(path: &str) -> Option<Asset> {
    let (rest, is_immutable) = match path.strip_prefix(BUILD) {
        Some(rest) => (rest, true),
        None => (without_build(path), false),
    };
    let at = ASSETS.binary_search_by(|asset| asset.path.cmp(rest)).ok()?;
    ASSETS.get(at).map(|asset| Asset { is_immutable, ..*asset })
}

fn without_build(path: &str) -> &str {
    let build = path.split_once('/').filter(|(build, _)| {
        let digest = build.strip_prefix("build-");
        digest.is_some_and(|digest| digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    build.map_or(path, |(_, rest)| rest)
}
