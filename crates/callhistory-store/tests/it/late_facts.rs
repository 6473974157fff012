//! Late facts: what arrives after a call has ended, or after it was deleted, undoes nothing and is not lost.

use bytes::Bytes;
use callhistory_model::{
    CallInput, CallPatch, FieldWarning, Handling, ImportMode, ListQuery, MetricsQuery, OriginalInfo, WarningCode,
};
use callhistory_store::{
    CallStore, CallWrite, ImportOptions, ImportOutcome, NumberingPlan, PatchWrite, Precondition, SentDocument,
    StoreError, StoreOptions, VersionSet, WriteOutcome, WrittenCall,
};

use crate::conformance::{Database, at, id, if_match, input, put, record, workspace};

/// A document that is kept only if the write itself loses something.
fn sent(body: &'static str) -> Option<SentDocument> {
    Some(SentDocument {
        body: Bytes::from_static(body.as_bytes()),
        media_type: "application/json".to_owned(),
        source: "import".to_owned(),
        warnings: Vec::new(),
        is_changed: false,
    })
}

/// A document that lenient handling has changed.
fn changed(body: &'static str) -> Option<SentDocument> {
    let warnings = vec![FieldWarning::new(WarningCode::LeftOut, "is unreadable").prefix_pointer("/agentId")];
    sent(body).map(|sent| SentDocument { is_changed: true, warnings, ..sent })
}

fn lenient(json: &'static str) -> CallWrite {
    CallWrite {
        input: CallInput::parse(json.as_bytes(), Handling::Lenient).unwrap().input,
        handling: Handling::Lenient,
        sent: sent(json),
    }
}

fn mode(mode: ImportMode) -> ImportOptions {
    ImportOptions { mode, ..ImportOptions::default() }
}

/// Imports one record into the workspace "w".
async fn import(store: &dyn CallStore, call: &str, json: &'static str, options: ImportOptions) -> ImportOutcome {
    let batch = store.import_calls(&workspace("w"), vec![(id(call), lenient(json))], options, at(5)).await.unwrap();
    batch.outcomes.into_iter().next().unwrap().unwrap().outcome
}

async fn status(store: &dyn CallStore, call: &str) -> Option<String> {
    let stored = store.get_call(&workspace("w"), &id(call)).await.unwrap().unwrap();
    let record: callhistory_model::CallRecord = serde_json::from_slice(&stored.body).unwrap();
    record.status.map(|status| status.to_string())
}

async fn originals(store: &dyn CallStore, call: &str) -> Vec<OriginalInfo> {
    store.list_originals(&workspace("w"), &id(call)).await.unwrap().unwrap()
}

pub(crate) async fn a_final_status_is_not_undone(database: &impl Database) {
    let store = database.open().await;
    let ws = workspace("w");
    let replace = async |json: &'static str, precondition: Precondition| {
        store.replace_call(&ws, &id("c"), input(json).into(), precondition, at(2)).await
    };
    let any = Precondition::default;
    replace(r#"{"status":"ENDED","summary":"s"}"#, any()).await.unwrap();
    let lates =
        [r#"{"status":"in_progress"}"#, r#"{"status":"Ringing"}"#, r#"{"summary":"no status"}"#, r#"{"status":""}"#];
    for late in lates {
        assert!(matches!(replace(late, any()).await, Err(StoreError::FinalStatus)), "{late}");
        assert!(matches!(replace(late, if_match(VersionSet::Any)).await, Err(StoreError::FinalStatus)), "{late}");
        assert_eq!(import(&*store, "c", late, mode(ImportMode::Replace)).await, ImportOutcome::Stale, "{late}");
    }
    assert_eq!(status(&*store, "c").await.as_deref(), Some("ENDED"));
    assert_eq!(store.get_call(&ws, &id("c")).await.unwrap().unwrap().sequence, 1, "nothing was written");
    let kept = originals(&*store, "c").await;
    assert_eq!(kept.iter().map(|original| original.number).collect::<Vec<_>>(), [1, 2, 3, 4], "stale lines are kept");
    assert!(kept.iter().all(|original| original.warnings[0].code == WarningCode::Stale), "{kept:?}");
    for late in [r#"{"status":""}"#, r#"{"status":null}"#, r#"{"status":"ringing"}"#] {
        let patch = CallPatch::parse(late.as_bytes(), Handling::Strict).unwrap();
        let patched = store.update_call(&ws, &id("c"), patch.into(), any(), at(2)).await;
        assert!(matches!(patched, Err(StoreError::FinalStatus)), "{late}: {patched:?}");
    }
    // Another final status, a word that nobody knows, and a caller who saw the version.
    for next in [r#"{"status":"failed"}"#, r#"{"status":"on the moon"}"#, r#"{"status":"done"}"#] {
        assert_eq!(replace(next, any()).await.unwrap().outcome, WriteOutcome::Replaced, "{next}");
    }
    let seen = store.get_call(&ws, &id("c")).await.unwrap().unwrap().sequence;
    replace(r#"{"status":"ringing"}"#, if_match(VersionSet::OneOf(vec![seen]))).await.unwrap();
    assert_eq!(status(&*store, "c").await.as_deref(), Some("ringing"));
}

pub(crate) async fn a_merge_keeps_what_it_replaces(database: &impl Database) {
    let store = database.open().await;
    let merge = mode(ImportMode::Merge);
    assert_eq!(import(&*store, "c", r#"{"status":"ringing","agentId":"a"}"#, merge).await, ImportOutcome::Created);
    let ended = r#"{"status":"completed","startTime":10,"endTime":30}"#;
    assert_eq!(import(&*store, "c", ended, merge).await, ImportOutcome::Merged);
    assert_eq!(originals(&*store, "c").await, [], "the record has all of it");
    let late = r#"{"status":"ringing","batchId":"b","metadata":{"x":1}}"#;
    assert_eq!(import(&*store, "c", late, merge).await, ImportOutcome::Merged);
    let stored = store.get_call(&workspace("w"), &id("c")).await.unwrap().unwrap();
    let merged: callhistory_model::CallRecord = serde_json::from_slice(&stored.body).unwrap();
    assert_eq!(merged.status.as_ref().unwrap().as_str(), "completed");
    assert_eq!((merged.agent_id.as_deref(), merged.batch_id.as_deref()), (Some("a"), Some("b")));
    assert_eq!(merged.metadata.as_str(), r#"{"x":1}"#);
    let kept = originals(&*store, "c").await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].warnings[0].code, WarningCode::StatusKept);
    // The same event again changes nothing, and its document is kept once.
    assert_eq!(import(&*store, "c", late, merge).await, ImportOutcome::Unchanged);
    assert_eq!(import(&*store, "c", ended, merge).await, ImportOutcome::Unchanged);
    assert_eq!(store.get_call(&workspace("w"), &id("c")).await.unwrap(), Some(stored));
    assert_eq!(originals(&*store, "c").await, kept);
    let page = store.list_calls(&workspace("w"), &ListQuery::from_query("batchId=b&minDuration=20").unwrap()).await;
    assert_eq!(page.unwrap().calls.len(), 1, "the indexes know the merged members");
}

pub(crate) async fn an_import_can_refuse_other_records(database: &impl Database) {
    let store = database.open().await;
    let create = mode(ImportMode::Create);
    assert_eq!(import(&*store, "c", r#"{"agentId":"a"}"#, create).await, ImportOutcome::Created);
    assert_eq!(import(&*store, "c", r#"{"agentId":"a"}"#, create).await, ImportOutcome::Unchanged);
    let calls = vec![
        (id("d"), lenient("{}")),
        (id("c"), lenient(r#"{"agentId":"b"}"#)),
        (id("e"), CallWrite { handling: Handling::Strict, ..lenient(r#"{"mood":1}"#) }),
    ];
    let write = async |options| store.import_calls(&workspace("w"), calls.clone(), options, at(6)).await;
    let Err(StoreError::Aborted(errors)) = write(ImportOptions { is_atomic: true, ..create }).await else {
        panic!("an atomic import was not aborted")
    };
    let described: Vec<_> = errors.iter().map(|(place, errors)| (*place, errors[0].code.as_str())).collect();
    assert_eq!(described, [(1, "conflict"), (2, "unknown")]);
    assert_eq!(store.get_call(&workspace("w"), &id("d")).await.unwrap(), None, "nothing was written");
    let batch = write(create).await.unwrap();
    let outcomes: Vec<_> =
        batch.outcomes.iter().map(|outcome| outcome.as_ref().ok().map(|call| call.outcome)).collect();
    assert_eq!(outcomes, [Some(ImportOutcome::Created), None, None]);
    assert!(store.get_call(&workspace("w"), &id("d")).await.unwrap().is_some());
    assert_eq!(put(&*store, "w", "f", "{}", 7).await.call.sequence, 3, "an aborted import takes no sequence");
}

pub(crate) async fn a_deleted_record_stays_deleted_in_imports(database: &impl Database) {
    let store = database.open().await;
    put(&*store, "w", "c", "{}", 1).await;
    assert!(store.delete_call(&workspace("w"), &id("c"), Precondition::default(), at(2)).await.unwrap());
    for mode in [ImportMode::Replace, ImportMode::Merge, ImportMode::Create] {
        let options = ImportOptions { mode, ..ImportOptions::default() };
        assert_eq!(import(&*store, "c", r#"{"agentId":"a"}"#, options).await, ImportOutcome::Deleted);
    }
    assert_eq!(store.get_call(&workspace("w"), &id("c")).await.unwrap(), None);
    let elsewhere = vec![(id("c"), lenient("{}"))];
    let batch = store.import_calls(&workspace("v"), elsewhere, ImportOptions::default(), at(3)).await.unwrap();
    assert_eq!(batch.outcomes[0].as_ref().unwrap().outcome, ImportOutcome::Created, "in its workspace only");
    let restore = ImportOptions { restores_deleted: true, ..ImportOptions::default() };
    assert_eq!(import(&*store, "c", r#"{"agentId":"a"}"#, restore).await, ImportOutcome::Created);
    // A record that exists again is not a deleted one.
    assert_eq!(import(&*store, "c", r#"{"agentId":"b"}"#, ImportOptions::default()).await, ImportOutcome::Replaced);
    assert!(store.delete_call(&workspace("w"), &id("c"), Precondition::default(), at(4)).await.unwrap());
    put(&*store, "w", "c", "{}", 5).await;
}

pub(crate) async fn an_import_counts_repeated_ids(database: &impl Database) {
    let store = database.open().await;
    put(&*store, "w", "old", "{}", 1).await;
    let write = async |names: &[(&str, &'static str)], began_at| {
        let calls = names.iter().map(|(name, json)| (id(name), lenient(json))).collect();
        let options = ImportOptions { began_at, ..ImportOptions::default() };
        let batch = store.import_calls(&workspace("w"), calls, options, at(2)).await.unwrap();
        let repeated = batch.outcomes.iter().map(|outcome| outcome.as_ref().unwrap().is_repeated).collect::<Vec<_>>();
        (batch.first_sequence, repeated)
    };
    let (began_at, first) =
        write(&[("old", r#"{"agentId":"1"}"#), ("a", "{}"), ("a", r#"{"agentId":"2"}"#)], None).await;
    assert_eq!((began_at, first), (1, vec![false, false, true]));
    let (same, second) = write(&[("old", "{}"), ("b", "{}"), ("a", r#"{"agentId":"3"}"#)], Some(began_at)).await;
    assert_eq!((same, second), (1, vec![true, false, true]));
    // The last one counts, and the next import begins anew.
    let stored = store.get_call(&workspace("w"), &id("a")).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&stored.body).contains(r#""agentId":"3""#));
    assert_eq!(write(&[("a", "{}")], None).await, (7, vec![false]));
    // Also if nothing is written.
    assert_eq!(write(&[("a", "{}"), ("a", "{}")], None).await, (8, vec![false, false]));
}

pub(crate) async fn a_patch_can_create(database: &impl Database) {
    let store = database.open().await;
    let patch = async |json: &'static str, is_upsert: bool, precondition: Precondition| {
        let patch = CallPatch::parse(json.as_bytes(), Handling::Lenient).unwrap();
        let write = PatchWrite { patch, handling: Handling::Lenient, is_upsert, sent: sent(json) };
        store.update_call(&workspace("w"), &id("c"), write, precondition, at(3)).await
    };
    let any = Precondition::default;
    assert_eq!(patch(r#"{"agentId":"a"}"#, false, any()).await.unwrap(), None);
    let failed = patch(r#"{"agentId":"a"}"#, true, if_match(VersionSet::Any)).await;
    assert!(matches!(failed, Err(StoreError::PreconditionFailed)));
    assert!(matches!(patch(r#"{"_id":"other"}"#, true, any()).await, Err(StoreError::Invalid(_))));
    let created = patch(r#"{"agentId":"a","roomName":null,"mood":"good"}"#, true, any()).await.unwrap().unwrap();
    assert_eq!((created.outcome, created.call.sequence), (WriteOutcome::Created, 1));
    let stored = record(&created);
    assert_eq!((stored.agent_id.as_deref(), stored.extra[0].1.as_str()), (Some("a"), r#""good""#));
    let patched = patch(r#"{"duration":"17","mood":null}"#, true, any()).await.unwrap().unwrap();
    assert_eq!(patched.outcome, WriteOutcome::Replaced);
    assert_eq!(patched.warnings[0].code, WarningCode::NumberAsText);
    assert_eq!(record(&patched).extra, []);
    let kept = originals(&*store, "c").await;
    assert_eq!(kept.len(), 1, "the patch that was read in another form: {kept:?}");
    assert_eq!(kept[0].warnings, patched.warnings);
}

/// What was read can be written back, and nothing else that is unknown.
pub(crate) async fn a_strict_write_keeps_unknown_members(database: &impl Database) {
    let store = database.open().await;
    let write = async |json: &'static str, handling: Handling| -> Result<WrittenCall, StoreError> {
        let input = CallInput::parse(json.as_bytes(), handling).unwrap().input;
        let write = CallWrite { input, handling, sent: None };
        store.replace_call(&workspace("w"), &id("c"), write, Precondition::default(), at(3)).await
    };
    assert!(matches!(write(r#"{"mood":1.50}"#, Handling::Strict).await, Err(StoreError::Invalid(_))));
    write(r#"{"mood":1.50,"transcript":["x"]}"#, Handling::Lenient).await.unwrap();
    let written = write(r#"{"agentId":"a","mood":1.50,"transcript":["x"]}"#, Handling::Strict).await.unwrap();
    let json = String::from_utf8(written.call.body.to_vec()).unwrap();
    assert!(json.ends_with(r#","mood":1.50,"transcript":["x"]}"#), "{json}");
    assert_eq!(store.get_call(&workspace("w"), &id("c")).await.unwrap(), Some(written.call));
    assert!(matches!(write(r#"{"color":1}"#, Handling::Strict).await, Err(StoreError::Invalid(_))));
    let created = store.create_call(&workspace("w"), &id("d"), lenient(r#"{"mood":1}"#), None, at(4)).await.unwrap();
    assert_eq!(record(&created).extra.len(), 1);
}

pub(crate) async fn an_original_is_returned_byte_for_byte(database: &impl Database) {
    let store = database.open().await;
    let (ws, call) = (workspace("w"), id("c"));
    let documents = ["{ \"a\" : 1 }\r\n", "{\"a\":2}", "{ \"a\" : 1 }\r\n"];
    for (number, document) in documents.into_iter().enumerate() {
        let write = CallWrite { sent: changed(document), ..CallWrite::default() };
        let second = u8::try_from(number + 1).unwrap();
        store.replace_call(&ws, &call, write, Precondition::default(), at(second)).await.unwrap();
    }
    // One that nothing was lost of.
    let write = CallWrite { sent: sent("{}"), ..CallWrite::default() };
    store.replace_call(&ws, &call, write, Precondition::default(), at(9)).await.unwrap();
    let changes = store.list_call_changes(&ws, None, 10).await.unwrap().changes.len();
    assert_eq!(changes, 1, "an original without a change of the record is no change");
    store.close().await;
    drop(store);
    let store = database.open().await;
    let kept = originals(&*store, "c").await;
    assert_eq!(kept.len(), 2, "the same document is kept once: {kept:?}");
    for (number, document) in (1..).zip(&documents[..2]) {
        let original = store.get_original(&ws, &call, number).await.unwrap().unwrap();
        assert_eq!(original.info, kept[usize::try_from(number).unwrap() - 1]);
        assert_eq!(original.body, document.as_bytes());
        let OriginalInfo { received_at, source, media_type, bytes, warnings, .. } = original.info;
        assert_eq!(received_at, at(u8::try_from(number).unwrap()));
        assert_eq!((source.as_str(), media_type.as_str()), ("import", "application/json"));
        assert_eq!((bytes, warnings[0].pointer.as_str()), (document.len() as u64, "/agentId"));
    }
    for number in [0, 3, -1, i64::MAX] {
        assert_eq!(store.get_original(&ws, &call, number).await.unwrap(), None, "{number}");
    }
    assert_eq!(store.list_originals(&workspace("v"), &call).await.unwrap(), None, "of another workspace");
    assert_eq!(store.get_original(&workspace("v"), &call, 1).await.unwrap(), None);
    assert_eq!(store.list_originals(&ws, &id("d")).await.unwrap(), None);
    // Erased with the record, also for a later one with its ID.
    assert!(store.delete_call(&ws, &call, Precondition::default(), at(10)).await.unwrap());
    assert_eq!(store.list_originals(&ws, &call).await.unwrap(), None);
    assert_eq!(store.get_original(&ws, &call, 1).await.unwrap(), None);
    put(&*store, "w", "c", "{}", 11).await;
    assert_eq!(originals(&*store, "c").await, []);
    let write = CallWrite { sent: changed(documents[0]), ..CallWrite::default() };
    store.replace_call(&ws, &call, write, Precondition::default(), at(12)).await.unwrap();
    assert_eq!(originals(&*store, "c").await[0].number, 1);
}

/// The maximum size is that of the record together with its originals, and what exceeds it changes nothing.
pub(crate) async fn the_size_of_a_record_is_bounded(database: &impl Database) {
    let store = database.open_small().await;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut random = |bytes: usize| -> String { (0..bytes).map(|_| rng.alphanumeric()).collect() };
    let ws = workspace("w");
    let summary = |text: String| CallInput { summary: Some(text), ..CallInput::default() };
    let write = async |input: CallInput, document: String| {
        let sent = changed("").map(|sent| SentDocument { body: document.into(), ..sent });
        let write = CallWrite { input, handling: Handling::Lenient, sent };
        store.replace_call(&ws, &id("c"), write, Precondition::default(), at(1)).await
    };
    assert!(matches!(write(summary(random(12_000)), String::new()).await, Err(StoreError::Invalid(_))));
    assert!(matches!(write(summary(random(4_000)), random(12_000)).await, Err(StoreError::Invalid(_))));
    assert_eq!(store.get_call(&ws, &id("c")).await.unwrap(), None);
    write(summary(random(4_000)), random(4_000)).await.unwrap();
    let before = store.get_call(&ws, &id("c")).await.unwrap();
    // Documents that compress well hardly count, and the record may grow only beside its originals.
    write(summary("short".to_owned()), " ".repeat(100_000)).await.unwrap();
    assert!(matches!(write(summary(random(7_000)), String::new()).await, Err(StoreError::Invalid(_))));
    assert!(matches!(write(summary("other".to_owned()), random(8_000)).await, Err(StoreError::Invalid(_))));
    let after = store.get_call(&ws, &id("c")).await.unwrap();
    assert!(before != after && String::from_utf8_lossy(&after.unwrap().body).contains("short"));
    // The line of an import fails alone.
    let calls = vec![(id("c"), summary(random(9_500)).into()), (id("d"), CallWrite::default())];
    let batch = store.import_calls(&ws, calls, ImportOptions::default(), at(2)).await.unwrap();
    let failed: Vec<_> = batch.outcomes.iter().map(Result::is_err).collect();
    assert_eq!(failed, [true, false]);
}

/// Values that make no sense are kept, and counted nowhere.
pub(crate) async fn senseless_values_count_as_unknown(database: &impl Database) {
    let store = database.open().await;
    let (ws, call) = (workspace("w"), id("c"));
    let json =
        r#"{"startTime":1e30,"endTime":10,"duration":-5,"cost":{"customer_charge":1e30},"agentId":"","status":""}"#;
    let written = store.replace_call(&ws, &call, lenient(json), Precondition::default(), at(1)).await.unwrap();
    let kept = String::from_utf8(written.call.body.to_vec()).unwrap();
    for text in ["1e30", "\"duration\":-5", "\"agentId\":\"\""] {
        assert!(kept.contains(text), "{text}: {kept}");
    }
    put(&*store, "w", "d", r#"{"startTime":20,"endTime":10}"#, 1).await;
    let metrics = store.get_call_metrics(&ws, &MetricsQuery::default()).await.unwrap();
    assert_eq!(metrics.total_calls, 2);
    assert_eq!((metrics.total_cost.nanos(), metrics.average_duration.nanos()), (Some(0), Some(0)));
    let list =
        async |query: &str| store.list_calls(&ws, &ListQuery::from_query(query).unwrap()).await.unwrap().calls.len();
    assert_eq!(list("minDuration=0").await, 0);
    assert_eq!(list("agentId=*").await, 0);
    assert_eq!(list("status=!*").await, 2);
    assert_eq!(list("sort=cost").await, 2);
    assert_eq!(list("startedAfter=2026-01-01").await, 1, "by its creation");
}

/// What filters compare of a label is cut, in the filter as in the record.
pub(crate) async fn long_labels_are_found(database: &impl Database) {
    let store = database.open().await;
    let ws = workspace("w");
    let (long, longer) = ("ü".repeat(600), "ü".repeat(700));
    for (name, label) in [("a", &long), ("b", &longer)] {
        let input = CallInput { agent_id: Some(label.clone()), call_id: Some(label.clone()), ..CallInput::default() };
        store.replace_call(&ws, &id(name), input.into(), Precondition::default(), at(1)).await.unwrap();
    }
    let list =
        async |query: String| store.list_calls(&ws, &ListQuery::from_query(&query).unwrap()).await.unwrap().calls.len();
    let encoded = |label: &str| label.replace('ü', "%C3%BC");
    assert_eq!(list(format!("agentId={}", encoded(&long))).await, 2);
    assert_eq!(list(format!("agentId={}", encoded(&longer))).await, 2);
    assert_eq!(list(format!("agentId=!{}", encoded(&longer))).await, 0);
    assert_eq!(list(format!("callIds={}", encoded(&longer))).await, 2);
    assert_eq!(list(format!("agentId={}", encoded(&"ü".repeat(500)))).await, 0);
}

/// The spellings of a number are one number. National ones are read in the numbering plan with which the store is opened.
pub(crate) async fn national_numbers_follow_the_numbering_plan(database: &impl Database) {
    let german = StoreOptions { numbering_plan: Some("DE".parse().unwrap()), ..StoreOptions::default() };
    let store = database.open_with(german).await;
    let spellings = [
        "+49 30 123456",
        "004930123456",
        "tel:+49-30-123456;npdi",
        "sip:+4930123456@example.com;user=phone",
        "\u{202a}+4930123456\u{202c}",
        "030 123456",
        "(030) 123 456",
        "tel:030123456",
    ];
    for (number, spelling) in spellings.into_iter().enumerate() {
        let side = if number % 2 == 0 { "fromPhoneNumber" } else { "toPhoneNumber" };
        put(&*store, "w", &format!("c{number}"), &serde_json::json!({side: spelling}).to_string(), 1).await;
    }
    put(&*store, "w", "other", r#"{"fromPhoneNumber":"Anonymous","toPhoneNumber":""}"#, 1).await;
    let count = async |store: &dyn CallStore, value: &str| {
        let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let query = ListQuery::from_query(&format!("phoneNumber={escaped}")).unwrap();
        store.list_calls(&workspace("w"), &query).await.unwrap().calls.len()
    };
    for spelling in spellings.into_iter().chain(["+49 30*", "030*", "0049*", "*"]) {
        let expected = if spelling == "*" { 9 } else { 8 };
        assert_eq!(count(&*store, spelling).await, expected, "{spelling}");
        assert_eq!(count(&*store, &format!("!{spelling}")).await, 9 - expected, "!{spelling}");
    }
    assert_eq!((count(&*store, "anonymous").await, count(&*store, "!*").await), (1, 0));
    store.close().await;
    // With another plan the indexes are written again; without one it stays.
    let international = StoreOptions { numbering_plan: Some(NumberingPlan::default()), ..StoreOptions::default() };
    for (options, with_code, all) in [(international, 5, 3), (german, 8, 8), (StoreOptions::default(), 8, 8)] {
        let store = database.open_with(options).await;
        let counts = (count(&*store, "+4930123456").await, count(&*store, "030 12*").await);
        assert_eq!(counts, (with_code, all));
        let call = store.get_call(&workspace("w"), &id("c5")).await.unwrap().unwrap();
        assert!(String::from_utf8(call.body.to_vec()).unwrap().contains("\"030 123456\""), "as it was sent");
        store.close().await;
    }
}

/// The events of one call in many orders, some of them twice, and several in one batch.
pub(crate) async fn merges_in_any_order_lead_to_one_record(database: &impl Database) {
    const EVENTS: [&str; 7] = [
        r#"{"status":"initiated","agentId":"a","startTime":100}"#,
        r#"{"status":"ringing","toPhoneNumber":"+4930123","metadata":{"x":1}}"#,
        r#"{"status":"in-progress","answeredAt":105,"transcript":[{"content":"Hello"}],"mood":"calm"}"#,
        r#"{"status":"completed","endTime":130,"transcript":[{"content":"Hello"},{"content":"Bye"}]}"#,
        r#"{"status":"failed","endTime":131}"#,
        r#"{"cost":{"customer_charge":0.10},"metadata":{"y":{"z":2}},"summary":"late"}"#,
        r#"{"summary":"late","analyzedData":{"score":7},"recordingUrl":"https://example.com/a"}"#,
    ];
    let store = database.open().await;
    let merge = mode(ImportMode::Merge);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut first = None;
    for number in 0..40 {
        let mut events: Vec<_> = (0..EVENTS.len()).collect();
        events.extend((0..rng.usize(0..4)).map(|_| rng.usize(0..EVENTS.len())));
        rng.shuffle(&mut events);
        let call = id(&format!("c{number}"));
        for batch in events.chunks(rng.usize(1..4)) {
            let calls = batch.iter().map(|event| (call.clone(), lenient(EVENTS[*event]))).collect();
            let outcomes = store.import_calls(&workspace("w"), calls, merge, at(1)).await.unwrap().outcomes;
            assert!(outcomes.iter().all(Result::is_ok), "{events:?}: {outcomes:?}");
        }
        let stored = store.get_call(&workspace("w"), &call).await.unwrap().unwrap();
        let mut merged: serde_json::Value = serde_json::from_slice(&stored.body).unwrap();
        for name in ["_id", "createdAt", "updatedAt"] {
            merged.as_object_mut().unwrap().remove(name);
        }
        assert_eq!(*first.get_or_insert(merged.clone()), merged, "{events:?}");
    }
    let first = first.unwrap();
    assert_eq!(
        (&first["status"], &first["agentId"], &first["mood"]),
        (&"completed".into(), &"a".into(), &"calm".into())
    );
    assert_eq!(first["metadata"], serde_json::json!({"x": 1, "y": {"z": 2}}));
    let query = ListQuery::from_query("search=bye&minCost=0.1&limit=100").unwrap();
    assert_eq!(store.list_calls(&workspace("w"), &query).await.unwrap().calls.len(), 40);
}

/// A damaged original fails alone. `damage` changes the bytes of the original of "damaged" behind the back of the store.
pub(crate) async fn a_damaged_original_fails_alone(database: &impl Database, damage: impl AsyncFnOnce()) {
    let store = database.open().await;
    let ws = workspace("w");
    for name in ["damaged", "sound"] {
        let write = CallWrite { sent: changed("{ \"a\" : 1 }"), ..CallWrite::default() };
        store.replace_call(&ws, &id(name), write, Precondition::default(), at(1)).await.unwrap();
    }
    damage().await;
    let damaged = store.get_original(&ws, &id("damaged"), 1).await;
    assert!(matches!(damaged, Err(StoreError::Damaged(_))), "{damaged:?}");
    assert_eq!(store.get_original(&ws, &id("sound"), 1).await.unwrap().unwrap().body, "{ \"a\" : 1 }".as_bytes());
    assert!(store.get_call(&ws, &id("damaged")).await.unwrap().is_some());
    assert!(store.delete_call(&ws, &id("damaged"), Precondition::default(), at(2)).await.unwrap());
    store.close().await;
}

/// The longest names and labels fit into every index, also if they cannot be compressed.
pub(crate) async fn the_longest_names_are_stored(database: &impl Database) {
    let store = database.open().await;
    let mut rng = fastrand::Rng::with_seed(5);
    let mut text = |bytes: usize| -> String { (0..bytes).map(|_| rng.alphanumeric()).collect() };
    let (ws, call) = (workspace(&text(128)), id(&text(256)));
    let json = serde_json::json!({
        "agentId": text(1024), "callFlowId": text(1024), "batchId": text(1024), "callId": text(1024),
        "status": text(300), "direction": text(300), "callType": text(300),
        "fromPhoneNumber": text(256), "toPhoneNumber": text(256), "startTime": 1.5, "duration": 2, "cost": {"customer_charge": 3},
    });
    let write = CallWrite { sent: changed("{ }"), ..input(&json.to_string()).into() };
    store.replace_call(&ws, &call, write, Precondition::default(), at(1)).await.unwrap();
    let query = format!("agentId={}&callIds={}", json["agentId"].as_str().unwrap(), json["callId"].as_str().unwrap());
    let page = store.list_calls(&ws, &ListQuery::from_query(&query).unwrap()).await.unwrap();
    assert_eq!(page.calls.len(), 1);
    assert_eq!(store.list_originals(&ws, &call).await.unwrap().unwrap().len(), 1);
    assert!(store.delete_call(&ws, &call, Precondition::default(), at(2)).await.unwrap());
    let batch = store.import_calls(&ws, vec![(call, CallWrite::default())], ImportOptions::default(), at(3)).await;
    assert_eq!(batch.unwrap().outcomes[0].as_ref().unwrap().outcome, ImportOutcome::Deleted);
}
