//! Damage: copies of a database with one damaged place each are read in every way. A wrong result is the only failure; an error is
//! what a caller must get.

use std::{collections::BTreeMap, fs, path::Path};

use callhistory_model::{CallId, CallInput, ExportQuery, ListQuery, MetricsQuery, Timestamp, WorkspaceId};
use callhistory_test_support::{
    history::{History, Period},
    loop_count,
};
use fastrand::Rng;
use tempfile::TempDir;

use super::{SqliteStore, backup, diagnose};
use crate::{
    call_write::{CallWrite, SentDocument},
    diagnostic::Severity,
    domain::{options::StoreOptions, record_digest, strategy::Thresholds},
    error::StoreError,
    store::CallStore,
};

const CALLS: u32 = 400;
const PAGE: usize = 4096;
const LISTS: [&str; 14] = [
    "limit=1000",
    "limit=1000&sort=createdAt",
    "limit=1000&sort=-updatedAt",
    "limit=1000&sort=duration",
    "limit=1000&sort=-cost",
    "status=completed&limit=1000",
    "status=!completed&limit=1000&sort=cost",
    "agentId=agent-01,agent-02&limit=1000",
    "direction=inbound&limit=1000&includeTotal=true",
    "search=parcel&limit=1000",
    "metadata.campaign=spring&limit=1000&sort=-duration",
    "minDuration=60&limit=1000",
    "postAnalysis=%7B%22score%22:7%7D&limit=1000",
    "fromPhoneNumber=%2B49*&limit=1000",
];
const METRICS: [&str; 5] = [
    "",
    "groupBy=agentId",
    "groupBy=day,status&timezone=Europe/Berlin",
    "search=parcel",
    "minDuration=60&groupBy=status",
];

fn small_options() -> StoreOptions {
    StoreOptions { thresholds: Thresholds::SMALL, ..StoreOptions::default() }
}

/// What a caller sees: the name of each read with its result as text.
type Results = BTreeMap<String, Result<String, StoreError>>;

fn workspaces() -> Vec<WorkspaceId> {
    History::Real.workspaces().iter().map(|(name, _)| name.parse().unwrap()).collect()
}

/// A database of about a megabyte, with updated and deleted records and without a WAL.
async fn build(path: &Path) -> Vec<(WorkspaceId, CallId)> {
    let store = SqliteStore::open(path, small_options()).unwrap();
    let (mut ids, any) = (Vec::new(), Default::default());
    for (number, call) in History::Real.calls(5, CALLS, Period::PAST).enumerate() {
        let (workspace, id): (WorkspaceId, CallId) = (call.workspace.parse().unwrap(), call.id.parse().unwrap());
        let input = CallInput::from_json(call.json.as_bytes()).unwrap();
        let now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000 + number as i64);
        let sent = (number % 8 == 1).then(|| SentDocument {
            body: call.json.clone().into(),
            media_type: "application/json".to_owned(),
            source: "import".to_owned(),
            warnings: Vec::new(),
            is_changed: true,
        });
        let write = CallWrite { sent, ..input.into() };
        store.replace_call(&workspace, &id, write, Clone::clone(&any), now.clone()).await.unwrap();
        if number % 16 == 0 {
            store.delete_call(&workspace, &id, Clone::clone(&any), now).await.unwrap();
        }
        ids.push((workspace, id));
    }
    store.close().await;
    ids
}

/// Reads a database in every way; `None` if it cannot be opened.
async fn read_everything(path: &Path, ids: &[(WorkspaceId, CallId)]) -> Option<Results> {
    let store = SqliteStore::open(path, small_options()).ok()?;
    let mut results = Results::new();
    for (workspace, id) in ids {
        let call = store.get_call(workspace, id).await;
        results.insert(format!("get {workspace} {id}"), call.map(|call| format!("{call:?}")));
        let originals = store.list_originals(workspace, id).await;
        results.insert(format!("originals {workspace} {id}"), originals.map(|infos| format!("{infos:?}")));
        let original = store.get_original(workspace, id, 1).await;
        results.insert(format!("original {workspace} {id}"), original.map(|original| format!("{original:?}")));
    }
    for workspace in workspaces() {
        for text in LISTS {
            let page = store.list_calls(&workspace, &ListQuery::from_query(text).unwrap()).await;
            let text = format!("list {workspace} {text}");
            results.insert(text, page.map(|page| format!("{:?} {:?}", page.total, page.calls.json())));
        }
        for text in METRICS {
            let metrics = store.get_call_metrics(&workspace, &MetricsQuery::from_query(text).unwrap()).await;
            let json = metrics.map(|metrics| serde_json::to_string(&metrics).unwrap());
            results.insert(format!("metrics {workspace} {text}"), json);
        }
        results.insert(format!("export {workspace}"), export(&store, &workspace).await);
        results.insert(format!("feed {workspace}"), feed(&store, &workspace).await);
    }
    store.close().await;
    Some(results)
}

async fn export(store: &SqliteStore, workspace: &WorkspaceId) -> Result<String, StoreError> {
    let mut chunks = store.export_calls(workspace, &ExportQuery::default()).await?;
    let mut text = String::new();
    while let Some(chunk) = chunks.recv().await {
        text.push_str(&String::from_utf8_lossy(&chunk?));
    }
    Ok(text)
}

async fn feed(store: &SqliteStore, workspace: &WorkspaceId) -> Result<String, StoreError> {
    let (mut text, mut cursor) = (String::new(), None);
    loop {
        let batch = store.list_call_changes(workspace, cursor.as_deref(), 1000).await?;
        for change in &batch.changes {
            text.push_str(&format!("{:?} {} {} {:?}\n", change.kind, change.id, change.sequence, change.body));
        }
        if !batch.has_more {
            return Ok(text);
        }
        cursor = Some(batch.cursor);
    }
}

/// Damages one place of a file; each kind in turn.
fn damage(bytes: &mut [u8], number: usize, rng: &mut Rng) -> &'static str {
    let pages = bytes.len() / PAGE;
    let place = rng.usize(..bytes.len());
    match number % 4 {
        0 => {
            bytes[place] ^= 1 << rng.u8(..8);
            "one bit"
        }
        1 => {
            let end = (place + 16).min(bytes.len());
            rng.fill(&mut bytes[place..end]);
            "16 bytes"
        }
        2 => {
            let first = rng.usize(..pages - 1);
            let second = rng.usize(first + 1..pages);
            let (low, high) = bytes.split_at_mut(second * PAGE);
            low[first * PAGE..][..PAGE].swap_with_slice(&mut high[..PAGE]);
            "two pages swapped"
        }
        _ => {
            bytes[place / PAGE * PAGE..][..PAGE].fill(0);
            "page of zeros"
        }
    }
}

/// What a number of damages led to, by kind.
#[derive(Debug, Default)]
struct Count {
    wrong: usize,
    refused: usize,
    harmless: usize,
    called_sound: usize,
}

fn is_called_sound(path: &Path) -> bool {
    diagnose(path, true).iter().all(|diagnostic| diagnostic.severity != Severity::Error)
}

async fn count(original: &[u8], ids: &[(WorkspaceId, CallId)], damages: usize) -> BTreeMap<&'static str, Count> {
    let directory = TempDir::new().unwrap();
    let (mut counts, mut rng) = (BTreeMap::<_, Count>::new(), Rng::with_seed(11));
    let path = directory.path().join("true.db");
    fs::write(&path, original).unwrap();
    assert!(is_called_sound(&path) && backup(&path, &directory.path().join("backup")).is_ok(), "a sound database");
    let truth = read_everything(&path, ids).await.unwrap();
    for number in 0..damages {
        let mut bytes = original.to_vec();
        let count = counts.entry(damage(&mut bytes, number, &mut rng)).or_default();
        if bytes == original {
            continue;
        }
        let path = directory.path().join(format!("{number}.db"));
        fs::write(&path, &bytes).unwrap();
        let is_called_sound = is_called_sound(&path);
        let copy = directory.path().join(format!("{number}.backup"));
        let is_copied = backup(&path, &copy).is_ok();
        let results = read_everything(&path, ids).await;
        let is_wrong = |(name, result): (&String, &Result<String, StoreError>)| {
            result.as_ref().is_ok_and(|text| Some(text) != truth[name].as_ref().ok())
        };
        match results {
            Some(results) if results.iter().any(is_wrong) => count.wrong += 1,
            Some(results) if results.values().all(Result::is_ok) => count.harmless += 1,
            _ => count.refused += 1,
        }
        count.called_sound += usize::from(is_called_sound || is_copied);
        for suffix in ["", "-wal", "-shm", ".lock", ".ballast"] {
            drop(fs::remove_file(crate::partial_file::sibling(&path, suffix)));
        }
    }
    counts
}

/// `CALLHISTORY_DAMAGES` sets the number of damages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_never_returned_as_data() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("original.db");
    let ids = build(&path).await;
    let original = fs::read(&path).unwrap();
    assert!(original.len() > 700_000, "{} bytes", original.len());
    let damages = loop_count("CALLHISTORY_DAMAGES", 20).unwrap();
    let counts = count(&original, &ids, damages).await;
    println!("{} bytes: {counts:?}", original.len());
    let sum = |of: fn(&Count) -> usize| counts.values().map(of).sum::<usize>();
    assert_eq!((sum(|count| count.wrong), sum(|count| count.called_sound)), (0, 0), "{counts:?}");
    // Without the checksums, the same damages are returned.
    record_digest::IS_VERIFYING.store(false, std::sync::atomic::Ordering::SeqCst);
    let unverified = count(&original, &ids, damages).await;
    record_digest::IS_VERIFYING.store(true, std::sync::atomic::Ordering::SeqCst);
    println!("without checksums: {unverified:?}");
    assert!(unverified.values().map(|count| count.wrong).sum::<usize>() > 0, "{unverified:?}");
}
