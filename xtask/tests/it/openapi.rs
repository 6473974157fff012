//! The committed contract passes its checks; each check finds stale, invalid or incompatible contracts.

use std::{fs, path::Path};

use serde_json::{Value, json};
use xtask::{
    openapi::generate::{self, Action, Generated, Outcome, Report},
    openapi::lint::{lint, operations},
};

/// The committed files serve as the generated ones: a test of the server asserts that they are equal.
fn generated() -> Generated {
    Generated::read(&xtask::root().join("openapi")).unwrap()
}

fn check(root: &Path) -> Report {
    generate::check(root, &generated())
}

fn run(root: &Path, action: &Action) -> Report {
    generate::run(root, action, &generated())
}

fn text(report: &Report) -> String {
    report.text()
}

/// A folder with a copy of what is committed.
fn copy() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("openapi")).unwrap();
    for file in fs::read_dir(xtask::root().join("openapi")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), root.path().join("openapi").join(file.file_name())).unwrap();
    }
    root
}

fn edit(root: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = root.join(file);
    let mut value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, format!("{}\n", serde_json::to_string_pretty(&value).unwrap())).unwrap();
}

const LIST: &str = "/paths/~1v2~1api~1call-history/get";
const GET: &str = "/paths/~1v2~1api~1call-history~1{callHistoryId}/get";

#[test]
fn the_committed_contract_passes_every_check() {
    let report = check(xtask::root());
    assert_eq!(report.outcome(), Outcome::Fine, "{}", text(&report));
    let text = text(&report);
    for line in ["     Valid openapi", "Compatible openapi"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn a_stale_file_is_shown_with_its_difference_and_generated() {
    let root = copy();
    let root = root.path();
    edit(root, "openapi/callhistory.json", |contract| {
        *contract.pointer_mut(&format!("{GET}/summary")).unwrap() = "Fetch one call record".into();
    });
    fs::remove_file(root.join("openapi/import-line.schema.json")).unwrap();
    let report = check(root);
    assert_eq!(report.outcome(), Outcome::Stale);
    let stale = text(&report);
    for part in [
        "     Stale openapi/callhistory.json\n",
        &format!("#{GET}/summary:\n           - \"Fetch one call record\"\n           + \"Retrieve a call\"\n"),
        "     Stale openapi/import-line.schema.json\n",
        "       run cargo xtask openapi generate\n",
    ] {
        assert!(stale.contains(part), "{part} in {stale}");
    }
    assert_eq!(run(root, &Action::Generate).outcome(), Outcome::Fine);
    assert_eq!(check(root).outcome(), Outcome::Fine);
    fs::write(root.join("openapi/left-over.json"), "{}").unwrap();
    assert!(text(&check(root)).contains("   Unknown openapi/left-over.json\n"));
}

/// A break is refused unless the version announces it; the released contract changes only with a new version.
#[test]
fn a_breaking_change_needs_a_new_version() {
    let root = copy();
    let root = root.path();
    let released = "openapi/released.json";
    edit(root, released, |contract| {
        contract["paths"]["/v2/api/calls"] = json!({ "get": { "responses": { "204": { "description": "Gone." } } } });
    });
    let report = check(root);
    assert_eq!(report.outcome(), Outcome::Broken);
    let broken = text(&report);
    assert!(
        broken.contains("  Breaking openapi/callhistory.json\n           #/paths/~1v2~1api~1calls: removed: "),
        "{broken}"
    );
    assert!(broken.contains("raise the version in Cargo.toml"), "{broken}");
    assert_eq!(run(root, &Action::Release).outcome(), Outcome::Broken);
    let set_version = |version: &str| edit(root, released, |contract| contract["info"]["version"] = version.into());
    set_version("0.0.9");
    assert_eq!(check(root).outcome(), Outcome::Fine, "0.1.0 says that it breaks 0.0.9");
    assert_eq!(run(root, &Action::Release).outcome(), Outcome::Fine);
    assert_eq!(fs::read_to_string(root.join(released)).unwrap(), generated().contract());
    // The same version with another contract is refused, even if it is compatible.
    edit(root, released, |contract| contract["info"]["title"] = "calls".into());
    let refused = run(root, &Action::Release);
    assert_eq!(refused.outcome(), Outcome::Broken);
    assert!(text(&refused).contains("0.1.0 was released with another contract"), "{}", text(&refused));
    fs::write(root.join(released), "{").unwrap();
    assert_eq!(check(root).outcome(), Outcome::Unreadable);
    fs::remove_file(root.join(released)).unwrap();
    assert_eq!(check(root).outcome(), Outcome::Unreadable, "without it nothing would be compared");
    assert_eq!(run(root, &Action::Release).outcome(), Outcome::Fine);
    assert_eq!(check(root).outcome(), Outcome::Fine);
}

/// Faults of the document and its operations: a pointer, the value to set there, and the expected error.
fn invalid_operations() -> Vec<(String, Value, &'static str)> {
    vec![
        ("/info/title".into(), json!("utoipa"), "/info/title"),
        ("/info/contact".into(), json!(null), "/info/contact/name"),
        ("/info/license/identifier".into(), json!("Apache-2.0"), "is not \"MIT OR Apache-2.0\""),
        ("/info/licence".into(), json!({}), "is not valid OpenAPI 3.1"),
        (format!("{GET}/operationID"), json!("get_call"), "is not valid OpenAPI 3.1"),
        (format!("{GET}/operationId"), json!("getCall"), "must be the name of a method"),
        (format!("{GET}/summary"), json!("Get one."), "full stop"),
        (format!("{GET}/tags"), json!(["Calls", "Numbers"]), "or several"),
        (format!("{GET}/x-codeSamples/0/source"), json!("curl /other"), "in Shell that sends its request"),
        (format!("{GET}/x-codeSamples/1/source"), json!("client.fetch_call()"), "in Rust that sends its request"),
        (format!("{GET}/parameters/0/$ref"), json!(null), "parameters/0: is not a reference"),
        (format!("{GET}/responses/200/headers/ETag"), json!({ "schema": {} }), "headers/ETag: is not a reference"),
        (format!("{GET}/responses/200/headers/X-Request-Id"), json!(null), "does not have the header X-Request-Id"),
        (format!("{GET}/summary"), json!("x".repeat(61)), "at most 60 characters"),
        (format!("{LIST}/responses/200"), json!({ "$ref": "#/components/responses/NotFound" }), "must not be a shared"),
        (format!("{GET}/operationId"), json!(""), "has no operationId"),
        (format!("{GET}/operationId"), json!("replace_call"), "occurs twice"),
        (format!("{GET}/summary"), json!(null), "has no summary"),
        (format!("{GET}/description"), json!(""), "has no description"),
        (format!("{GET}/tags"), json!(["Unknown"]), "has no tag"),
        (format!("{GET}/responses/404"), json!({"description": "Not found."}), "must be a shared component"),
        (format!("{GET}/responses/404/$ref"), json!("#/components/responses/NoSuch"), "leads nowhere"),
        (format!("{GET}/responses/200/description"), json!(""), "get/responses/200: has no description"),
        (format!("{GET}/responses/200/content/application~1json"), json!({"schema": {}}), "no example"),
        (
            format!("{GET}/responses/200/content/application~1json/example/cost"),
            json!("free"),
            "does not fit its schema",
        ),
        (format!("{GET}/responses"), json!({}), "has no response 400"),
    ]
}

/// Faults of parameters and headers: a pointer, the value to set there, and the expected error.
fn invalid_parameters() -> Vec<(String, Value, &'static str)> {
    let (parameters, headers) = ("/components/parameters", "/components/headers");
    vec![
        (format!("{parameters}/x-workspace-id/description"), json!(""), "x-workspace-id: has no description"),
        (format!("{parameters}/x-workspace-id/schema"), json!({}), "x-workspace-id: has no single type"),
        (format!("{parameters}/x-workspace-id/schema/maxLength"), json!("many"), "is not a valid JSON Schema"),
        (format!("{parameters}/If-Match/example"), json!("2"), "If-Match: has an example that does not fit its schema"),
        (format!("{parameters}/wait"), json!({ "name": "wait", "in": "query", "schema": {} }), "wait: has no example"),
        (format!("{parameters}/wait/description"), json!("How long."), "wait: does not say its unit"),
        (format!("{parameters}/wait/schema"), json!({ "type": "integer" }), "wait: has no bound"),
        (format!("{headers}/ETag/description"), json!(""), "ETag: has no description"),
        (format!("{headers}/ETag"), json!({ "description": "A tag.", "schema": {} }), "ETag: has no example"),
        (format!("{headers}/Retry-After/example"), json!("soon"), "Retry-After: has an example that does not fit"),
    ]
}

/// Faults of components: a pointer, the value to set there, and the expected error.
fn invalid_components() -> Vec<(String, Value, &'static str)> {
    vec![
        (
            "/components/responses/NotFound/content/application~1problem+json/schema/$ref".into(),
            json!("#/components/schemas/LintError"),
            "must be a problem",
        ),
        (
            "/components/responses/NotFound/content/application~1problem+json/example/status".into(),
            json!("404"),
            "does not fit its schema",
        ),
        ("/components/responses/NotFound/description".into(), json!(""), "has no description"),
        (
            "/components/schemas/Spare".into(),
            json!({ "type": "string", "description": "No one's." }),
            "nothing refers to",
        ),
        ("/components/schemas/Cost2".into(), json!({ "type": "string", "description": "A clash." }), "ends in a digit"),
        ("/components/schemas/CallCost/type".into(), json!("money"), "is not a valid JSON Schema"),
        (
            "/components/schemas/CallRecord/properties/duration/description".into(),
            json!("How long it took."),
            "does not say its unit",
        ),
        (
            "/components/schemas/OriginalInfo/properties/warnings/maxItems".into(),
            json!(null),
            "is not a valid JSON Schema",
        ),
        (
            "/components/schemas/OriginalInfo/properties/warnings".into(),
            json!({ "type": "array", "items": { "type": "string" }, "description": "All of them." }),
            "has no bound",
        ),
        ("/components/schemas/CallList/maxItems".into(), json!({}), "is not a valid JSON Schema"),
        ("/components/schemas/CallStatus/maxLength".into(), json!(null), "is not a valid JSON Schema"),
        ("/components/schemas/CallCost/additionalProperties/minimum".into(), json!("0"), "is not a valid JSON Schema"),
        ("/components/responses/NotFound/content".into(), json!({}), "must be a problem"),
        ("/components/responses/NothingTaken/content".into(), json!({}), "must be a report"),
        ("/components/responses/NotFound".into(), json!({ "description": "None." }), "must be a problem"),
        (
            "/components/schemas/CallRecord/properties/agentId".into(),
            json!({"type": ["string", "null"]}),
            "no single type",
        ),
        ("/components/schemas/CallRecord/properties/agentId/type".into(), json!(null), "no single type"),
        ("/components/schemas/CallRecord/properties/agentId/description".into(), json!(""), "has no description"),
        ("/components/schemas/CallCost/description".into(), json!(null), "has no description"),
        ("/components/schemas/CallCost/default".into(), json!(null), "allows null"),
        ("/components/schemas/FieldError/properties".into(), json!(null), "is an object without properties"),
    ]
}

/// Gives each operation the samples of another one, for every pair of them.
#[test]
fn a_sample_of_another_operation_is_found() {
    let contract: Value = serde_json::from_str(generated().contract()).unwrap();
    let places: Vec<String> = operations(&contract).map(|(place, _)| format!("{place}/x-codeSamples")).collect();
    assert!(places.len() > 10, "{places:?}");
    for distance in 1..places.len() {
        let mut swapped = contract.clone();
        for (at, place) in places.iter().enumerate() {
            let other = &places[(at + distance) % places.len()];
            *swapped.pointer_mut(place).unwrap() = contract.pointer(other).unwrap().clone();
        }
        let errors = lint(&swapped);
        for place in &places {
            for language in ["Shell", "Rust", "TypeScript", "Python"] {
                let expected = (place.clone(), format!("has no sample in {language} that sends its request"));
                assert!(errors.contains(&expected), "{expected:?} with a distance of {distance}: {errors:?}");
            }
        }
    }
}

#[test]
fn each_lint_rule_finds_its_fault() {
    let contract: Value = serde_json::from_str(generated().contract()).unwrap();
    assert_eq!(lint(&contract), []);
    for (pointer, value, expected) in
        invalid_operations().into_iter().chain(invalid_parameters()).chain(invalid_components())
    {
        let mut contract = contract.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let around = contract.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is not there"));
        around[name.replace("~1", "/")] = value;
        let errors = lint(&contract);
        let found = |(place, error): &(String, String)| format!("{place}: {error}").contains(expected);
        assert!(errors.iter().any(found), "{pointer}: {errors:?}");
    }
}
