//! The contract is current and sound, and the checks find what is not.

use serde_json::{Value, json};
use xtask::openapi::{Action, run, unsound};

fn contract() -> Value {
    serde_json::from_str(&callhistory_server::openapi::document()).unwrap()
}

#[test]
fn the_committed_contract_is_current_and_sound() {
    run(xtask::root(), Action::Check).unwrap();
}

#[test]
fn a_stale_file_is_found_and_generated() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("openapi")).unwrap();
    let missing = run(root.path(), Action::Check).unwrap_err();
    assert!(missing.contains("Stale openapi/callhistory.json") && missing.contains("cargo xtask openapi generate"));
    run(root.path(), Action::Generate).unwrap();
    run(root.path(), Action::Check).unwrap();
    let path = root.path().join("openapi/callhistory.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("Get one call record", "Fetch one call record")).unwrap();
    let stale = run(root.path(), Action::Check).unwrap_err();
    assert!(stale.contains("Fetch one call record") && stale.contains("Get one call record"), "{stale}");
}

/// The document is the same at each making: nothing of it comes from a hash map's order.
#[test]
fn the_contract_is_a_pure_function() {
    let first = callhistory_server::openapi::document();
    for _ in 0..20 {
        assert_eq!(callhistory_server::openapi::document(), first);
    }
}

#[test]
fn each_kind_of_unsoundness_is_found() {
    assert_eq!(unsound(&contract()), Vec::<String>::new());
    let get = "/paths/~1v2~1api~1call-history~1{callHistoryId}/get";
    let cases: Vec<(String, Value, &str)> = vec![
        ("/info/title".into(), json!("utoipa"), "/info/title"),
        ("/info/contact".into(), json!(null), "/info/contact/name"),
        (format!("{get}/operationId"), json!(""), "has no operationId"),
        (format!("{get}/operationId"), json!("put_call"), "stands twice"),
        (format!("{get}/summary"), json!(null), "has no summary"),
        (format!("{get}/description"), json!(""), "has no description"),
        (format!("{get}/tags"), json!(["Unknown"]), "has no tag"),
        (format!("{get}/parameters/0/description"), json!(""), "x-workspace-id has no description"),
        (format!("{get}/parameters/0/schema"), json!({}), "x-workspace-id has no single type"),
        (format!("{get}/responses/404"), json!({"description": "Not found."}), "must be a shared component"),
        (format!("{get}/responses/404/$ref"), json!("#/components/responses/Gone"), "leads nowhere"),
        (format!("{get}/responses/200/description"), json!(""), "answer 200 has no description"),
        (format!("{get}/responses/200/content/application~1json"), json!({"schema": {}}), "no example"),
        (
            format!("{get}/responses/200/content/application~1json/example/cost"),
            json!("free"),
            "does not fit its schema",
        ),
        (format!("{get}/responses"), json!({}), "has no answer 400"),
        (
            "/components/schemas/CallRecord/properties/agentId".into(),
            json!({"type": ["string", "null"]}),
            "no single type",
        ),
        ("/components/schemas/CallRecord/properties/agentId/type".into(), json!(null), "no single type"),
        ("/components/schemas/CallRecord/properties/agentId/description".into(), json!(""), "has no description"),
        ("/components/schemas/Cost/description".into(), json!(null), "has no description"),
        ("/components/schemas/Cost/default".into(), json!(null), "allows null"),
        ("/components/schemas/Fault/properties".into(), json!(null), "says nothing of its members"),
    ];
    for (pointer, value, expected) in cases {
        let mut contract = contract();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        contract.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = value;
        let faults = unsound(&contract);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{pointer}: {faults:?}");
    }
}
