//! The public API of a crate as lines of text, from the JSON that rustdoc writes, compared with the committed lines.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::cargo;

/// The version of the JSON of rustdoc that this module reads.
const FORMAT_VERSION: u64 = 57;

/// Compares the public API of a crate with its `public-api.txt`, or writes it. Returns why it cannot: this version of Rust writes
/// another format.
pub(crate) fn check(root: &Path, package: &str, features: &str, write: bool) -> Result<Option<String>, String> {
    let mut rustdoc = cargo("rustdoc --locked --quiet --lib");
    rustdoc.args(["-p", package, "--features", features, "--target-dir"]).arg(root.join("target/public-api"));
    // The JSON of rustdoc is unstable; the variable unlocks it in any version.
    rustdoc.args(["--", "-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"]);
    let status = rustdoc.env("RUSTC_BOOTSTRAP", "1").status().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("rustdoc: {status}"));
    }
    let json = root.join("target/public-api/doc").join(format!("{}.json", package.replace('-', "_")));
    let json = fs::read_to_string(&json).map_err(|error| format!("{}: {error}", json.display()))?;
    let document: Value = serde_json::from_str(&json).map_err(|error| format!("the JSON of rustdoc: {error}"))?;
    if document["format_version"] != FORMAT_VERSION {
        let found = &document["format_version"];
        return Ok(Some(format!("rustdoc writes format {found}, and xtask/src/public_api.rs reads {FORMAT_VERSION}")));
    }
    let found: String = Api::of(&document).into_iter().map(|line| line + "\n").collect();
    let path = root.join("crates").join(package).join("public-api.txt");
    if write {
        return fs::write(&path, found).map(|()| None).map_err(|error| format!("{}: {error}", path.display()));
    }
    let committed = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (committed.lines().collect(), found.lines().collect());
    let removed = before.difference(&after).map(|line| format!("- {line}"));
    let differences: Vec<_> = removed.chain(after.difference(&before).map(|line| format!("+ {line}"))).collect();
    if differences.is_empty() {
        return Ok(None);
    }
    let advice = "if this is meant, say it in CHANGELOG.md and run: cargo xtask package --only API --write-api";
    Err(format!("{}\n{advice}", differences.join("\n")))
}

/// Traits of the compiler that no program can name.
const INTERNAL: [&str; 3] = ["Freeze", "StructuralPartialEq", "UnsafeUnpin"];

struct Api<'a> {
    index: &'a Value,
    lines: BTreeSet<String>,
    /// Modules and types that are being read: a re-export can lead back to them.
    open: Vec<String>,
}

impl<'a> Api<'a> {
    /// Every public item on a line of its own, with its type.
    fn of(document: &'a Value) -> BTreeSet<String> {
        let mut api = Self { index: &document["index"], lines: BTreeSet::new(), open: Vec::new() };
        api.item(&document["root"], "");
        api.lines
    }

    fn find(&self, id: &Value) -> Option<&'a Value> {
        self.index.get(id.as_str().map_or_else(|| id.to_string(), str::to_owned))
    }

    fn item(&mut self, id: &Value, path: &str) {
        // What belongs to another crate is not in the index.
        let Some(item) = self.find(id) else { return };
        let Some((kind, inner)) = item["inner"].as_object().and_then(|inner| inner.iter().next()) else { return };
        let key = format!("{id} {path}");
        if self.open.contains(&key) {
            return;
        }
        self.open.push(key);
        if kind == "use" {
            self.reexport(inner, path);
        } else {
            let name = item["name"].as_str().unwrap_or_default();
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") };
            let attributes = if item["attrs"].to_string().contains("non_exhaustive") { "non_exhaustive " } else { "" };
            let shown = if kind == "function" { "fn" } else { kind.as_str() };
            self.lines.insert(format!("{attributes}{shown} {path}{}", signature(kind, inner)));
            self.members(inner, &path);
        }
        self.open.pop();
    }

    fn reexport(&mut self, inner: &Value, path: &str) {
        let is_here = self.find(&inner["id"]).is_some();
        if is_here && inner["is_glob"] != true {
            self.item(&inner["id"], path);
        } else if is_here {
            let items = self.find(&inner["id"]).map(|module| module["inner"]["module"]["items"].clone());
            items.iter().filter_map(Value::as_array).flatten().for_each(|item| self.item(item, path));
        } else {
            let (name, source) = (inner["name"].as_str().unwrap_or("*"), inner["source"].as_str().unwrap_or_default());
            self.lines.insert(format!("use {path}::{name} = {source}"));
        }
    }

    /// What is inside of an item: modules, fields, variants, and the functions and traits of its impls.
    fn members(&mut self, inner: &'a Value, path: &str) {
        let lists = ["/items", "/kind/plain/fields", "/kind/struct/fields", "/kind/tuple", "/variants", "/fields"];
        for list in lists.iter().filter_map(|list| inner.pointer(list)?.as_array()) {
            list.iter().for_each(|id| self.item(id, path));
        }
        for id in inner["impls"].as_array().into_iter().flatten() {
            let Some(implemented) = self.find(id).map(|item| &item["inner"]["impl"]) else { continue };
            // Those of the compiler and of other crates for every type are no decision of this crate, except `Send` and the like.
            if !implemented["blanket_impl"].is_null() || INTERNAL.contains(&named(&implemented["trait"]).as_str()) {
                continue;
            }
            if implemented["trait"].is_null() {
                implemented["items"].as_array().into_iter().flatten().for_each(|id| self.item(id, path));
            } else {
                let not = if implemented["is_negative"] == true { "!" } else { "" };
                self.lines.insert(format!("impl {not}{} for {path}", named(&implemented["trait"])));
            }
        }
    }
}

fn signature(kind: &str, inner: &Value) -> String {
    match kind {
        "function" => {
            let inputs = inner["sig"]["inputs"].as_array().into_iter().flatten();
            let inputs: Vec<_> = inputs.map(|pair| format!("{}: {}", text(&pair[0]), shown(&pair[1]))).collect();
            let output = &inner["sig"]["output"];
            let output = if output.is_null() { String::new() } else { format!(" -> {}", shown(output)) };
            let is_async = if inner["header"]["is_async"] == true { " async" } else { "" };
            format!("({}){output}{is_async}{}", inputs.join(", "), generics(&inner["generics"]))
        }
        "struct_field" => format!(": {}", shown(inner)),
        "constant" | "assoc_const" => format!(": {}", shown(&inner["type"])),
        "type_alias" => format!(" = {}", shown(&inner["type"])),
        "struct" | "enum" | "trait" => generics(&inner["generics"]),
        _ => String::new(),
    }
}

/// The parameters of an item with their bounds.
fn generics(generics: &Value) -> String {
    let params = generics["params"].as_array().into_iter().flatten();
    // `impl Trait` is shown as the type of its argument.
    let params = params.filter(|param| param.pointer("/kind/type/is_synthetic") != Some(&Value::Bool(true)));
    let bounds = |kind: &Value| kind.pointer("/type/bounds").map(list_of_bounds).unwrap_or_default();
    let params = params.map(|param| format!("{}{}", text(&param["name"]), bounds(&param["kind"])));
    let wheres = generics["where_predicates"].as_array().into_iter().flatten().map(|predicate| {
        let predicate = &predicate["bound_predicate"];
        format!("{}{}", shown(&predicate["type"]), list_of_bounds(&predicate["bounds"]))
    });
    let all: Vec<_> = params.chain(wheres).collect();
    if all.is_empty() { String::new() } else { format!(" <{}>", all.join(", ")) }
}

fn list_of_bounds(bounds: &Value) -> String {
    let bounds: Vec<_> = bounds.as_array().into_iter().flatten().map(bound).collect();
    if bounds.is_empty() { String::new() } else { format!(": {}", bounds.join(" + ")) }
}

fn bound(bound: &Value) -> String {
    bound.pointer("/trait_bound/trait").map_or_else(|| text(&bound["outlives"]), named)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A path with its arguments.
fn named(path: &Value) -> String {
    let name = path["path"].as_str().or(path["name"].as_str()).unwrap_or_default();
    let name = name.rsplit("::").next().unwrap_or_default();
    let given = &path["args"]["angle_bracketed"];
    let args = given["args"].as_array().into_iter().flatten().map(|arg| match arg["lifetime"].as_str() {
        Some(lifetime) => lifetime.to_owned(),
        None => arg.get("type").map_or_else(|| "_".to_owned(), shown),
    });
    let types = given["constraints"].as_array().into_iter().flatten().map(|constraint| {
        let equal = constraint.pointer("/binding/equality/type").map(|kind| format!(" = {}", shown(kind)));
        format!("{}{}", text(&constraint["name"]), equal.unwrap_or_default())
    });
    let called = path["args"]["parenthesized"].as_object().map(|called| {
        let inputs: Vec<_> = called["inputs"].as_array().into_iter().flatten().map(shown).collect();
        format!("({}) -> {}", inputs.join(", "), shown(&called["output"]))
    });
    let all: Vec<_> = args.chain(types).collect();
    let angles = if all.is_empty() { String::new() } else { format!("<{}>", all.join(", ")) };
    format!("{name}{angles}{}", called.unwrap_or_default())
}

/// A type in the syntax of Rust; one that is not known here as the JSON of rustdoc.
fn shown(kind: &Value) -> String {
    let Some((name, inner)) = kind.as_object().and_then(|kind| kind.iter().next()) else {
        return if kind.is_null() { "()".to_owned() } else { text(kind) };
    };
    let list = |values: &Value| values.as_array().into_iter().flatten().map(shown).collect::<Vec<_>>().join(", ");
    match name.as_str() {
        "resolved_path" => named(inner),
        "primitive" | "generic" => text(inner),
        "borrowed_ref" => {
            let lifetime = inner["lifetime"].as_str().map(|name| format!("{name} ")).unwrap_or_default();
            let mutable = if inner["is_mutable"] == true { "mut " } else { "" };
            format!("&{lifetime}{mutable}{}", shown(&inner["type"]))
        }
        "tuple" => format!("({})", list(inner)),
        "slice" => format!("[{}]", shown(inner)),
        "array" => format!("[{}; {}]", shown(&inner["type"]), text(&inner["len"])),
        "impl_trait" => format!("impl{}", list_of_bounds(inner).replacen(':', "", 1)),
        "dyn_trait" => {
            let traits: Vec<_> =
                inner["traits"].as_array().into_iter().flatten().map(|it| named(&it["trait"])).collect();
            format!("dyn {}", traits.join(" + "))
        }
        "qualified_path" => {
            format!("<{} as {}>::{}", shown(&inner["self_type"]), named(&inner["trait"]), text(&inner["name"]))
        }
        _ => kind.to_string(),
    }
}
