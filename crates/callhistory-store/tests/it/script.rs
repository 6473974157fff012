//! One random script on both engines: every result is the same, byte for byte.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use callhistory_model::{
    CallId, CallInput, CallPatch, ExportQuery, Handling, ImportMode, ListQuery, MetricsQuery, SearchQuery, Sort,
    Timestamp, WorkspaceId,
};
use callhistory_store::{
    CallPage, CallSearchPage, CallStore, CallWrite, IdempotencyKey, ImportOptions, PatchWrite, Precondition,
    SentDocument, StoreOptions, Thresholds, VersionSet,
};
use callhistory_test_support::loop_count;
use fastrand::Rng;
use tempfile::TempDir;

use crate::{
    conformance::{if_match, if_none_match},
    databases::open_options,
    postgres,
    reference_model::{clauses, query_string, random_call},
};

/// The number of steps; `CALLHISTORY_SCRIPT_STEPS` sets another one.
fn steps() -> usize {
    loop_count("CALLHISTORY_SCRIPT_STEPS", 5_000).unwrap()
}

/// A store of each engine, and values of earlier results.
struct Pair {
    stores: [Arc<dyn CallStore>; 2],
    cursors: Vec<(String, String)>,
    feed: Option<String>,
    /// What happened to imported records.
    imported: BTreeMap<String, usize>,
    originals: usize,
    /// The sequence before an earlier import.
    began_at: Option<i64>,
    compared: usize,
    bytes: usize,
}

impl Pair {
    fn same<T: Debug>(&mut self, what: &str, responses: [T; 2]) -> T {
        let [sqlite, postgres] = responses.each_ref().map(|response| format!("{response:?}"));
        assert_eq!(sqlite, postgres, "step {}: {what}", self.compared);
        self.compared += 1;
        self.bytes += sqlite.len();
        let [response, _] = responses;
        response
    }
}

/// Runs one method on both stores and compares the results.
macro_rules! both {
    ($pair:expr, $what:expr, $method:ident ( $($argument:expr),* )) => {{
        let [one, other] = $pair.stores.clone();
        let responses = [one.$method($($argument),*).await, other.$method($($argument),*).await];
        $pair.same($what, responses)
    }};
}

fn workspace(rng: &mut Rng) -> WorkspaceId {
    ["w", "W", "w-2"][rng.usize(0..3)].parse().unwrap()
}

fn id(rng: &mut Rng) -> CallId {
    let case = if rng.u8(0..4) == 0 { "C" } else { "c" };
    format!("{case}{}", rng.u8(0..90)).parse().unwrap()
}

fn now(rng: &mut Rng) -> Timestamp {
    Timestamp::from_unix_nanos(1_780_272_000_000_000_000 + rng.i64(0..10_000_000_000_000))
}

/// Typical records, and some at the limits.
fn input(rng: &mut Rng) -> CallInput {
    let long = |rng: &mut Rng, chars: usize| -> String {
        (0..chars).map(|_| char::from_u32(rng.u32(0x1_0000..0x1_ffff)).unwrap_or('x')).collect()
    };
    let json = match rng.u8(0..14) {
        // Longer than what filters compare, in characters of four bytes.
        0 => format!(
            r#"{{"agentId":"{}","callFlowId":"{}","status":"{}","direction":"{}","callType":"{}","batchId":"{}","fromPhoneNumber":"{}"}}"#,
            long(rng, 300),
            long(rng, 256),
            long(rng, 70),
            long(rng, 64),
            long(rng, 64),
            long(rng, 256),
            long(rng, 70)
        ),
        1 => r#"{"metadata":{"big":123456789012345678901234567890.000,"tiny":1E-400,"huge":-1.50e+999,"zero":-0.0},"cost":{"customer_charge":999999999.999999999}}"#.to_owned(),
        2 => r#"{"startTime":9151487999.999999999,"duration":31622400}"#.to_owned(),
        3 => r#"{"startTime":0,"cost":{"customer_charge":-0.000000001},"summary":"O'Brien \"quoted\" \\ % _ ; -- 東京"}"#.to_owned(),
        4 => format!(r#"{{"agentId":"","summary":"{}","transcript":[{{"role":"agent","content":"{}"}}]}}"#, long(rng, 400), long(rng, 2000)),
        5 => r#"{"startTime":20,"endTime":10,"answeredAt":5,"createdAt":"2026-01-01T01:00:00+02:00","updatedAt":"2025-01-01T00:00:00Z"}"#.to_owned(),
        6 => r#"{"startTime":1e30,"duration":-5,"cost":{"customer_charge":1e30,"currency":"EUR"},"mood":{"a":[1]},"callId":""}"#.to_owned(),
        _ => return random_call(rng, String::new()).input(),
    };
    let parsed = CallInput::parse(json.as_bytes(), Handling::Lenient).unwrap();
    // A unit that is converted depends on nothing but the document.
    parsed.input
}

fn sent(rng: &mut Rng) -> Option<SentDocument> {
    let text = match rng.u8(0..4) {
        0 => return None,
        // Hardly compressible: several of them exceed the size of a record.
        1 => (0..8_000).map(|_| rng.alphanumeric()).collect(),
        _ => format!("{{ \"number\" : {} }}", rng.u8(0..4)),
    };
    Some(SentDocument {
        body: text.into(),
        media_type: "application/json".to_owned(),
        source: ["api", "import", "vapi"][rng.usize(0..3)].to_owned(),
        warnings: Vec::new(),
        is_changed: rng.bool(),
    })
}

fn handling(rng: &mut Rng) -> Handling {
    if rng.u8(0..4) == 0 { Handling::Strict } else { Handling::Lenient }
}

fn call_write(rng: &mut Rng) -> CallWrite {
    CallWrite { input: input(rng), handling: handling(rng), sent: sent(rng) }
}

fn import_options(pair: &Pair, rng: &mut Rng) -> ImportOptions {
    ImportOptions {
        mode: [ImportMode::Replace, ImportMode::Merge, ImportMode::Create][rng.usize(0..3)],
        restores_deleted: rng.bool(),
        is_atomic: rng.u8(0..4) == 0,
        began_at: pair.began_at.filter(|_| rng.bool()),
    }
}

fn precondition(rng: &mut Rng) -> Precondition {
    let number = rng.i64(0..400);
    match rng.u8(0..8) {
        0 => if_none_match(VersionSet::Any),
        1 => if_match(VersionSet::Any),
        2 => if_match(VersionSet::OneOf((number + 1..number + 50).collect())),
        _ => Precondition::default(),
    }
}

async fn write(pair: &mut Pair, rng: &mut Rng) {
    let (ws, call, now) = (workspace(rng), id(rng), now(rng));
    match rng.u8(0..10) {
        0 => {
            let key = (rng.u8(0..3) > 0).then(|| IdempotencyKey(format!("key {}", rng.u8(0..12))));
            let write = if rng.bool() { call_write(rng) } else { CallWrite::default() };
            let what = format!("create {ws} {call} {key:?}");
            both!(pair, &what, create_call(&ws, &call, write.clone(), key.clone(), now.clone())).ok();
        }
        1 | 2 => {
            let patch = match rng.u8(0..6) {
                0 => r#"{"status":"ongoing"}"#.to_owned(),
                1 => r#"{"agentId":null,"metadata":{"score":null,"n":0.10}}"#.to_owned(),
                // Only the record as a whole shows that these are milliseconds.
                2 => r#"{"startTime":5,"endTime":8,"duration":3000}"#.to_owned(),
                3 => r#"{"status":"ENDED","mood":null,"color":"red","duration":"17"}"#.to_owned(),
                4 => r#"{"status":null,"transcript":["late"]}"#.to_owned(),
                _ => format!(r#"{{"summary":"refund {}","duration":{}}}"#, rng.u8(0..9), rng.u8(0..9)),
            };
            let handling = handling(rng);
            let patch = CallPatch::parse(patch.as_bytes(), handling).unwrap();
            let write = PatchWrite { patch, handling, is_upsert: rng.bool(), sent: sent(rng) };
            let condition = precondition(rng);
            let what = format!("patch {ws} {call}");
            both!(pair, &what, update_call(&ws, &call, write.clone(), condition.clone(), now.clone())).ok();
        }
        3 => {
            let condition = precondition(rng);
            both!(pair, &format!("delete {ws} {call}"), delete_call(&ws, &call, condition.clone(), now.clone())).ok();
        }
        4 => {
            let calls: Vec<_> = (0..rng.usize(0..20)).map(|_| (id(rng), call_write(rng))).collect();
            let options = import_options(pair, rng);
            let what = format!("import {ws} {options:?}");
            let imported = both!(pair, &what, import_calls(&ws, calls.clone(), options, now.clone()));
            match imported {
                Ok(batch) => {
                    pair.began_at = Some(batch.first_sequence);
                    for outcome in batch.outcomes {
                        let seen = outcome.map_or("invalid".to_owned(), |call| format!("{:?}", call.outcome));
                        *pair.imported.entry(seen).or_default() += 1;
                    }
                }
                Err(error) => *pair.imported.entry(format!("{error:?}")[..7].to_owned()).or_default() += 1,
            }
        }
        _ => {
            let (write, condition) = (call_write(rng), precondition(rng));
            let what = format!("put {ws} {call}");
            both!(pair, &what, replace_call(&ws, &call, write.clone(), condition.clone(), now.clone())).ok();
        }
    }
}

async fn list(pair: &mut Pair, rng: &mut Rng, ws: &WorkspaceId) {
    let filter = query_string(&clauses(rng));
    let sort = ["startTime", "createdAt", "updatedAt", "duration", "cost"][rng.usize(0..5)];
    let mut text = format!("{filter}&sort={}{sort}&limit={}", ["", "-"][rng.usize(0..2)], rng.usize(1..30));
    if rng.bool() {
        text.push_str("&includeTotal=true");
    }
    if rng.u8(0..5) == 0 {
        text.push_str(&format!("&page={}", rng.u8(1..5)));
    }
    let Ok(mut query) = ListQuery::from_query(&text) else { return };
    // Some continue at the cursor of an earlier page.
    if rng.u8(0..4) == 0 && !pair.cursors.is_empty() {
        let (earlier, cursor) = &pair.cursors[rng.usize(0..pair.cursors.len())];
        query = ListQuery::from_query(earlier).unwrap();
        query.page = None;
        query.cursor = Some(cursor.clone());
        text.clone_from(earlier);
    }
    // The engines have strategies of their own.
    let without_strategy = |page: Result<CallPage, _>| page.map(|page| CallPage { strategy: "", ..page });
    let [one, other] = pair.stores.clone();
    let pages = [one.list_calls(ws, &query).await, other.list_calls(ws, &query).await].map(without_strategy);
    if let Ok(page) = pair.same(&format!("list {ws} {text}"), pages)
        && let Some(next) = page.next
    {
        pair.cursors.push((text, next));
    }
}

async fn search(pair: &mut Pair, rng: &mut Rng, ws: &WorkspaceId) {
    let words = ["refund", "ord", "\"order refund\"", "5550", "STRASSE", "東", "refund naive", "late-agent", "alice"];
    let sort = ["relevance", "-startTime", "startTime"][rng.usize(0..3)];
    let filter = ["", "&status=completed,failed", "&includeTotal=true"][rng.usize(0..3)];
    let text = format!("q={}&sort={sort}&limit={}{filter}", words[rng.usize(0..words.len())], rng.u8(1..30));
    let query = SearchQuery::from_query(&text).unwrap();
    let (sees, [one, other]) = (rng.bool(), pair.stores.clone());
    let pages = [one.search_calls(ws, &query, sees).await, other.search_calls(ws, &query, sees).await];
    let pages = pages.map(|page| page.map(|page| CallSearchPage { strategy: "", ..page }));
    pair.same(&format!("search {ws} {text}"), pages).ok();
}

async fn export(pair: &mut Pair, rng: &mut Rng, ws: &WorkspaceId) {
    let mut text = query_string(&clauses(rng));
    let (key, _) = Sort::KEYS[rng.usize(..Sort::KEYS.len())];
    let (direction, fields) = (if rng.bool() { "-" } else { "" }, if rng.bool() { "&fields=_id,cost" } else { "" });
    text.push_str(&format!("&sort={direction}{key}{fields}"));
    let Ok(query) = ExportQuery::from_query(&text) else { return };
    let mut exports = Vec::new();
    for store in pair.stores.clone() {
        let mut chunks = store.export_calls(ws, &query).await.unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            all.extend_from_slice(&chunk.unwrap());
        }
        exports.push(String::from_utf8(all).unwrap());
    }
    let exports: [String; 2] = exports.try_into().unwrap();
    pair.same(&format!("export {ws} {text}"), exports);
}

async fn read(pair: &mut Pair, rng: &mut Rng) {
    let ws = workspace(rng);
    match rng.u8(0..13) {
        0 => {
            let call = id(rng);
            both!(pair, &format!("get {ws} {call}"), get_call(&ws, &call)).ok();
        }
        12 => {
            let (call, number) = (id(rng), rng.i64(0..5));
            both!(pair, &format!("originals of {ws} {call}"), list_originals(&ws, &call)).ok();
            let original = both!(pair, &format!("original of {ws} {call}"), get_original(&ws, &call, number)).unwrap();
            pair.originals += usize::from(original.is_some());
        }
        1 | 2 => {
            let by = [
                "",
                "&groupBy=agentId",
                "&groupBy=day,status&timezone=Europe/Berlin",
                "&groupBy=callFlowId,hour",
                "&groupBy=batchId",
                "&groupBy=metadata.tag,metadata.list",
                "&groupBy=week,metadata.score&fill=true&startedAfter=2025-12-20&startedBefore=2026-02-01",
            ];
            let text = format!("{}{}", query_string(&clauses(rng)), by[rng.usize(0..by.len())]);
            let Ok(query) = MetricsQuery::from_query(&text) else { return };
            both!(pair, &format!("metrics {ws} {text}"), get_call_metrics(&ws, &query)).ok();
        }
        3 => export(pair, rng, &ws).await,
        5 => search(pair, rng, &ws).await,
        4 => {
            let (ws, limit) = ("w".parse().unwrap(), rng.usize(1..40));
            let cursor = pair.feed.clone().filter(|_| rng.u8(0..9) > 0);
            let batch = both!(pair, "changes", list_call_changes(&ws, cursor.as_deref(), limit)).unwrap();
            pair.feed = Some(batch.cursor);
        }
        _ => list(pair, rng, &ws).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_script_has_the_same_results_on_both_engines() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("callhistory.db");
    let urls = [format!("sqlite:{}", file.display()), postgres::empty().url];
    let options = StoreOptions {
        thresholds: Thresholds::SMALL,
        max_record_bytes: 24_000,
        numbering_plan: Some("US".parse().unwrap()),
    };
    for url in &urls {
        open_options(url, options).await.unwrap().close().await;
    }
    // A secret of the database signs cursors: with the same secret both engines issue the same cursors.
    let secret = [7_u8; 32];
    crate::sqlite::raw(&file).execute("UPDATE secret SET value = ?1", [secret]).unwrap();
    postgres::client(&urls[1]).await.execute("UPDATE secret SET value = $1", &[&secret.as_slice()]).await.unwrap();
    let stores = [open_options(&urls[0], options).await.unwrap(), open_options(&urls[1], options).await.unwrap()];
    let mut pair = Pair {
        stores,
        cursors: Vec::new(),
        feed: None,
        imported: BTreeMap::new(),
        originals: 0,
        began_at: None,
        compared: 0,
        bytes: 0,
    };
    let mut rng = Rng::with_seed(4);
    while pair.compared < steps() {
        if rng.u8(0..3) == 0 { write(&mut pair, &mut rng).await } else { read(&mut pair, &mut rng).await }
    }
    assert!(pair.bytes > 1000 * steps(), "the results were nearly empty: {} bytes", pair.bytes);
    let expected = ["Aborted", "Created", "Deleted", "Merged", "Replaced", "Stale", "Unchanged", "invalid"];
    let imported: Vec<_> = pair.imported.keys().collect();
    assert!(steps() < 5_000 || imported == expected && pair.originals > 10, "{:?} {}", pair.imported, pair.originals);
}
