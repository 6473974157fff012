//! Bounds: what large records, many originals and a lowered limit do to later writes.

use bytes::Bytes;
use callhistory_model::{CallInput, CallPatch, Handling, JsonArray};
use callhistory_store::{
    CallWrite, ImportBatch, ImportOptions, ImportOutcome, PatchWrite, Precondition, SentDocument, StoreError,
    WriteOutcome,
};

use crate::conformance::{Database, at, id, input, put, workspace};

fn document(body: String) -> Option<SentDocument> {
    Some(SentDocument {
        body: Bytes::from(body),
        media_type: "application/json".to_owned(),
        source: "import".to_owned(),
        warnings: Vec::new(),
        is_changed: true,
    })
}

fn random(bytes: usize) -> String {
    let mut rng = fastrand::Rng::with_seed(3);
    (0..bytes).map(|_| rng.alphanumeric()).collect()
}

/// What is stored already stays acceptable: a write that changes nothing needs no room.
pub(crate) async fn an_unchanged_record_may_exceed_a_lowered_limit(database: &impl Database) {
    let (ws, text) = (workspace("w"), random(20_000));
    let call = || CallInput { summary: Some(text.clone()), ..CallInput::default() };
    let write = |sent| CallWrite { input: call(), handling: Handling::Lenient, sent };
    let original = || document(format!("{{\"text\":\"{text}\"}}"));
    let store = database.open().await;
    store.replace_call(&ws, &id("c"), write(original()), Precondition::default(), at(1)).await.unwrap();
    store.close().await;
    drop(store);
    let store = database.open_small().await;
    for sent in [None, original()] {
        let written = store.replace_call(&ws, &id("c"), write(sent.clone()), Precondition::default(), at(2)).await;
        assert_eq!(written.unwrap().outcome, WriteOutcome::Unchanged);
        let calls = vec![(id("c"), write(sent.clone()))];
        let batch = store.import_calls(&ws, calls, ImportOptions::default(), at(2)).await.unwrap();
        assert_eq!(batch.outcomes[0].as_ref().unwrap().outcome, ImportOutcome::Unchanged);
        let patch = CallPatch::parse(b"{}", Handling::Lenient).unwrap();
        let patch = PatchWrite { patch, sent, ..PatchWrite::default() };
        let written = store.update_call(&ws, &id("c"), patch, Precondition::default(), at(2)).await;
        assert_eq!(written.unwrap().unwrap().outcome, WriteOutcome::Unchanged);
    }
    // A document that would be new has no room.
    let other = write(document("{ }".to_owned()));
    let refused = store.replace_call(&ws, &id("c"), other, Precondition::default(), at(2)).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    assert_eq!(store.list_originals(&ws, &id("c")).await.unwrap().unwrap().len(), 1);
}

pub(crate) async fn the_last_originals_are_listed(database: &impl Database) {
    let store = database.open().await;
    let ws = workspace("w");
    let line =
        |number| (id("c"), CallWrite { sent: document(format!("{{ \"n\" : {number} }}")), ..CallWrite::default() });
    let calls = (1..=1_003).map(line).collect();
    store.import_calls(&ws, calls, ImportOptions::default(), at(1)).await.unwrap();
    let listed = store.list_originals(&ws, &id("c")).await.unwrap().unwrap();
    let numbers: Vec<_> = listed.iter().map(|original| original.number).collect();
    assert_eq!(numbers, (4..=1_003).collect::<Vec<_>>());
    assert!(store.get_original(&ws, &id("c"), 1).await.unwrap().is_some(), "the others are kept");
    put(&*store, "w", "d", "{}", 1).await;
    assert_eq!(store.list_originals(&ws, &id("d")).await.unwrap(), Some(Vec::new()));
    assert_eq!(store.list_originals(&ws, &id("e")).await.unwrap(), None);
}

/// Short lines over stored records that are together larger than one transaction may read.
pub(crate) async fn an_import_over_large_records_is_split(database: &impl Database) {
    let store = database.open().await;
    let ws = workspace("w");
    // Without words, which take long in a build without optimizations.
    let transcript: JsonArray = serde_json::from_str(&format!("[\"{}\"]", " ".repeat(11_000_000))).unwrap();
    for name in ["a", "b", "c", "d"] {
        let call = CallInput { transcript: Some(transcript.clone()), ..CallInput::default() };
        store.replace_call(&ws, &id(name), call.into(), Precondition::default(), at(1)).await.unwrap();
    }
    let names = ["a", "new", "b", "a", "c", "d", "new"];
    let import = async |json: &str, names: &[&str], options: ImportOptions| {
        let calls = names.iter().map(|name| (id(name), input(json).into())).collect();
        store.import_calls(&ws, calls, options, at(2)).await
    };
    let atomic = ImportOptions { is_atomic: true, ..ImportOptions::default() };
    let refused = import(r#"{"agentId":"x"}"#, &names, atomic).await;
    let Err(StoreError::Refused(error)) = refused else { panic!("an atomic import is not split: {refused:?}") };
    assert!(error.detail.contains("33554432"), "{error:?}");
    assert_eq!(store.get_call(&ws, &id("new")).await.unwrap(), None, "nothing was written");

    let ImportBatch { first_sequence, outcomes } =
        import(r#"{"agentId":"x"}"#, &names, ImportOptions::default()).await.unwrap();
    assert_eq!(first_sequence, 4, "the sequence before the first transaction");
    let outcomes: Vec<_> =
        outcomes.into_iter().map(Result::unwrap).map(|call| (call.outcome, call.is_repeated)).collect();
    let (replaced, unchanged) = ((ImportOutcome::Replaced, false), (ImportOutcome::Unchanged, true));
    let created = (ImportOutcome::Created, false);
    assert_eq!(
        outcomes,
        [replaced, created, replaced, unchanged, replaced, replaced, unchanged],
        "in the order of the lines"
    );
    for name in names {
        let stored = store.get_call(&ws, &id(name)).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&stored.body).contains(r#""agentId":"x""#), "{name}");
    }
    let whole = import(r#"{"agentId":"y"}"#, &names, atomic).await.unwrap();
    assert!(whole.outcomes.iter().all(Result::is_ok), "the records are small now: {whole:?}");
}
