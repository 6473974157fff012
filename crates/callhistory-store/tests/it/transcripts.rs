//! Transcripts: they are stored apart from their records, which nobody must notice.

use callhistory_model::{CallPatch, ExportQuery, Handling, ListQuery};
use callhistory_store::{CallStore, IdempotencyKey, Precondition, StoreError};

use crate::conformance::{Database, at, id, input, put, record, workspace};

const SPOKEN: &str = r#"{"agentId":"a","summary":"s","transcript":[{"role":"user","content":"my parcel 4711 }"}]}"#;

async fn list(store: &dyn CallStore, query: &str) -> Result<Vec<String>, StoreError> {
    let page = store.list_calls(&workspace("w"), &ListQuery::from_query(query).unwrap()).await?;
    Ok(page.calls.iter().map(|call| String::from_utf8(call.to_vec()).unwrap()).collect())
}

async fn export(store: &dyn CallStore, query: &str) -> String {
    let query = ExportQuery::from_query(query).unwrap();
    let mut chunks = store.export_calls(&workspace("w"), &query).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = chunks.recv().await {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    text
}

pub(crate) async fn a_transcript_is_part_of_its_record(database: &impl Database) {
    let store = database.open().await;
    let ws = workspace("w");
    put(&*store, "w", "silent", r#"{"agentId":"a"}"#, 1).await;
    put(&*store, "w", "empty", r#"{"transcript":[]}"#, 1).await;
    let written = put(&*store, "w", "spoken", SPOKEN, 2).await;
    let json = String::from_utf8(written.call.body.to_vec()).unwrap();
    assert!(json.ends_with(r#","transcript":[{"role":"user","content":"my parcel 4711 }"}]}"#), "{json}");
    assert_eq!(store.get_call(&ws, &id("spoken")).await.unwrap(), Some(written.call.clone()));
    for query in ["search=parcel", "search=4711", "search=parcel&sort=cost", "agentId=a&sort=-duration&limit=1&page=1"]
    {
        assert!(list(&*store, query).await.unwrap().contains(&json), "{query}");
    }
    assert_eq!(export(&*store, "search=4711").await, format!("{json}\n"));
    assert!(export(&*store, "").await.contains(&json));
    let batch = store.list_call_changes(&ws, None, 10).await.unwrap();
    assert_eq!(batch.changes[2].body, Some(written.call.body.clone()));
    assert_eq!(put(&*store, "w", "spoken", SPOKEN, 3).await.call, written.call, "the same content");
    // Written by a patch and by a creation with a key, and removed.
    let patch = |json: &str| CallPatch::parse(json.as_bytes(), Handling::Strict).unwrap();
    let longer = patch(r#"{"transcript":["another word"]}"#);
    let any = Precondition::default;
    let patched = store.update_call(&ws, &id("spoken"), longer.into(), any(), at(4)).await.unwrap().unwrap();
    assert_eq!(record(&patched).transcript.unwrap().as_str(), r#"["another word"]"#);
    assert_eq!(store.get_call(&ws, &id("spoken")).await.unwrap(), Some(patched.call));
    assert_eq!(
        (list(&*store, "search=4711").await.unwrap().len(), list(&*store, "search=another").await.unwrap().len()),
        (0, 1)
    );
    let silent = patch(r#"{"transcript":null}"#);
    let patched = store.update_call(&ws, &id("spoken"), silent.into(), any(), at(5)).await.unwrap().unwrap();
    assert_eq!(record(&patched).transcript, None);
    assert_eq!(store.get_call(&ws, &id("spoken")).await.unwrap(), Some(patched.call));
    for _ in 0..2 {
        let key = Some(IdempotencyKey("k".to_owned()));
        let created = store.create_call(&ws, &id("new"), input(SPOKEN).into(), key, at(6)).await.unwrap();
        assert_eq!(store.get_call(&ws, &id("new")).await.unwrap(), Some(created.call));
    }
    drop(store.export_calls(&ws, &ExportQuery::default()).await.unwrap());
}

/// What a list does not show it does not return either, and a search finds it all the same.
pub(crate) async fn a_list_without_transcripts_does_not_read_them(database: &impl Database) {
    let store = database.open().await;
    put(&*store, "w", "spoken", SPOKEN, 2).await;
    for filter in ["", "&search=parcel", "&search=4711", "&search=4711&sort=-cost", "&agentId=a&sort=updatedAt"] {
        for (fields, expected) in [("_id,summary", false), ("_id,transcript", true)] {
            let records = list(&*store, &format!("fields={fields}{filter}")).await.unwrap();
            assert_eq!(records.len(), 1, "{filter}");
            assert_eq!(records[0].contains("\"transcript\""), expected, "{fields} {filter}: {records:?}");
        }
    }
    // Ten records of a megabyte do not end a page early.
    let long = format!(r#"{{"transcript":["{}"]}}"#, "x".repeat(1_000_000));
    for number in 0..10 {
        put(&*store, "w", &format!("c{number}"), &long, 3).await;
    }
    assert!(list(&*store, "").await.unwrap().len() < 7);
    assert_eq!(list(&*store, "fields=_id&limit=11").await.unwrap().len(), 11);
}

/// A damaged transcript fails where it is read. `damage` changes the transcript of "damaged" behind the back of the store.
pub(crate) async fn a_damaged_transcript_is_not_returned(database: &impl Database, damage: impl AsyncFnOnce()) {
    let store = database.open().await;
    put(&*store, "w", "damaged", SPOKEN, 2).await;
    damage().await;
    store.close().await;
    drop(store);
    let store = database.open().await;
    assert!(matches!(store.get_call(&workspace("w"), &id("damaged")).await, Err(StoreError::Damaged(_))));
    assert!(matches!(list(&*store, "").await, Err(StoreError::Damaged(_))));
    assert_eq!(list(&*store, "fields=summary").await.unwrap().len(), 1);
    store.close().await;
}

/// Twelve megabytes come back byte for byte; searches find their words, and lists beside them do not read them.
pub(crate) async fn a_transcript_can_have_twelve_megabytes(database: &impl Database) {
    let store = database.open().await;
    let mut rng = fastrand::Rng::with_seed(3);
    let mut turns = String::new();
    while turns.len() < 12 * 1024 * 1024 {
        let word = |rng: &mut fastrand::Rng| format!("w{}", rng.u32(0..40_000));
        let words: Vec<_> = (0..20_000).map(|_| word(&mut rng)).collect();
        turns.push_str(&format!(r#"{{"role":"agent","content":"{}"}},"#, words.join(" ")));
    }
    let json = format!(r#"{{"status":"ongoing","transcript":[{turns}"rare"]}}"#);
    let large = put(&*store, "w", "large", &json, 1).await;
    assert!(large.call.body.len() > 12 * 1024 * 1024);
    put(&*store, "w", "small", "{}", 1).await;
    assert_eq!(store.get_call(&workspace("w"), &id("large")).await.unwrap(), Some(large.call.clone()));
    let patch = CallPatch::parse(br#"{"status":"completed"}"#, Handling::Strict).unwrap();
    let patched = store.update_call(&workspace("w"), &id("large"), patch.into(), Precondition::default(), at(2)).await;
    let patched = patched.unwrap().unwrap();
    assert_eq!(record(&patched).transcript, record(&large).transcript);
    assert_eq!(
        list(&*store, "search=rare&fields=_id").await.unwrap(),
        list(&*store, "status=completed&fields=_id").await.unwrap()
    );
    assert_eq!(list(&*store, "fields=status").await.unwrap().len(), 2);
    assert_eq!(list(&*store, "").await.unwrap().iter().map(String::len).max(), Some(patched.call.body.len()));
}
