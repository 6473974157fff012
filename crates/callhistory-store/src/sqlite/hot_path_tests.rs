//! What hot paths must not do: scan, allocate per record, prepare a statement twice, parse a body.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use callhistory_model::{CallId, CallInput, Handling, ListQuery, MetricsQuery, Timestamp, WorkspaceId};
use rusqlite::{
    Connection, OpenFlags,
    hooks::{AuthAction, AuthContext, Authorization},
    params,
    trace::{TraceEvent, TraceEventCodes},
};
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::{
    SqliteStore, open, page_checksum,
    read::{changes, get, list as lists, metrics},
    write::{
        prepare::{PreparedCall, Target},
        statements::{self, WriteTransaction},
    },
};
use crate::{
    call_write::{CallWrite, ImportOptions, ImportOutcome, SentDocument},
    domain::{
        cursor::CursorSigner,
        mutation::{IdempotencyKey, Precondition},
        options::StoreOptions,
        record_digest::RecordDigest,
        strategy::Thresholds,
    },
    record_bytes::RecordBytes,
    results::CallPage,
    store::CallStore as _,
};

thread_local! {
    /// The statements that ran on this thread.
    static STATEMENTS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// One of each kind of filter.
const FILTERS: [&str; 30] = [
    "agentId=a1",
    "agentId=!a1",
    "callFlowId=f1",
    "batchId=b1,b2",
    "status=completed",
    "status=!completed",
    "status=busy",
    "outcome=completed,live",
    "outcome=!busy",
    "answered=false",
    "direction=inbound",
    "callType=!*",
    "fromPhoneNumber=%2B1555*",
    "toPhoneNumber=!%2B155500000*",
    "phoneNumber=%2B15550000001",
    "callIds=c1,c2",
    "startedAfter=2026-01-02",
    "startedBefore=2026-01-02T12:00:00Z",
    "updatedAfter=2026-01-02",
    "minDuration=10",
    "maxDuration=10",
    "minCost=0.001",
    "maxCost=0.004",
    "currency=usd",
    "currency=!*",
    "metadata.campaign=spring",
    "postAnalysis=%7B%22score%22:7%7D",
    "postAnalysis=%7B%22score%22:%7B%22gte%22:3%7D%7D",
    "search=parcel",
    "search=5550",
];
const SORTS: [&str; 10] = [
    "sort=startTime",
    "sort=-startTime",
    "sort=createdAt",
    "sort=-createdAt",
    "sort=updatedAt",
    "sort=-updatedAt",
    "sort=duration",
    "sort=-duration",
    "sort=cost",
    "sort=-cost",
];

struct Database {
    directory: TempDir,
}

fn small_options() -> StoreOptions {
    StoreOptions { thresholds: Thresholds::SMALL, ..StoreOptions::default() }
}

fn workspace() -> WorkspaceId {
    "w".parse().unwrap()
}

fn id(number: usize) -> CallId {
    format!("c{number}").parse().unwrap()
}

fn input(number: usize) -> CallInput {
    let json = format!(
        r#"{{"agentId":"a{}","callFlowId":"f1","batchId":"b{}","status":"{}","direction":"inbound",
        "fromPhoneNumber":"+1555{:07}","startTime":{},"duration":{}.5,"cost":{{"customer_charge":0.{number:04}{}}},
        "metadata":{{"campaign":"spring"}},"analyzedData":{{"score":{}}},"summary":"about a parcel {number}"}}"#,
        number % 2,
        number % 3,
        // Rare values at one end of the order of time and of costs.
        if number < 50 { "busy" } else { ["completed", "failed"][number % 2] },
        number,
        1_767_225_600 + number * 300,
        number % 50,
        if number.is_multiple_of(5) { "" } else { r#","currency":"USD""# },
        number % 9,
    );
    CallInput::from_json(json.as_bytes()).unwrap()
}

impl Database {
    /// More records than are fetched and sorted for a page of one.
    fn new(records: usize) -> Self {
        let database = Self { directory: TempDir::new().unwrap() };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = SqliteStore::open(&database.path(), small_options()).unwrap();
            let now: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
            let calls = (0..records).map(|number| (id(number), input(number).into())).collect();
            store.import_calls(&workspace(), calls, ImportOptions::default(), now).await.unwrap();
            store.close().await;
        });
        database
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("calls.db")
    }

    fn reader(&self) -> Connection {
        open::open_reader(&self.path()).unwrap()
    }
}

/// The first pages of a list, one or two.
fn list(db: &Connection, query: &str, thresholds: Thresholds) -> Vec<CallPage> {
    let signer = CursorSigner::new(vec![7; 32]);
    let mut query = ListQuery::from_query(query).unwrap();
    let mut pages = vec![
        lists::list_calls(
            db,
            &workspace(),
            &query,
            None,
            (&signer, StoreOptions { thresholds, ..StoreOptions::default() }),
        )
        .unwrap(),
    ];
    if let Some(cursor) = pages[0].next.clone() {
        let after = signer.verify_list(&workspace(), &query, &cursor).unwrap();
        query.cursor = Some(cursor);
        pages.push(
            lists::list_calls(
                db,
                &workspace(),
                &query,
                Some(&after),
                (&signer, StoreOptions { thresholds, ..StoreOptions::default() }),
            )
            .unwrap(),
        );
    }
    pages
}

/// The steps of a plan that scan a table or an index, or search without the workspace.
fn errors(db: &Connection, text: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
    // The plan does not depend on the values.
    let values = vec![rusqlite::types::Null; statement.parameter_count()];
    let steps = statement.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
    let is_allowed = |step: &String| {
        let words: Vec<_> = step.split(' ').collect();
        match words[0] {
            // The full-text index with an expression; the values of a list; the result of another step.
            "SCAN" => {
                step.contains("VIRTUAL TABLE INDEX") && (step.contains(":M") || step.starts_with("SCAN json_each"))
                    || step.starts_with("SCAN (")
                    || step == "SCAN CONSTANT ROW"
            }
            "SEARCH" => {
                step.contains("workspace_id=?")
                    || step.contains("INTEGER PRIMARY KEY (rowid=?)")
                    || step.starts_with("SEARCH (")
            }
            _ => true,
        }
    };
    steps.map(Result::unwrap).filter(|step| !is_allowed(step)).collect()
}

#[test]
fn no_filter_and_sort_scans_a_table() {
    let database = Database::new(400);
    let mut db = database.reader();
    let note = |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(statement, _) = event {
            STATEMENTS.with_borrow_mut(|all| all.insert(statement.sql().into_owned()));
        }
    };
    db.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note)).unwrap();
    let mut queries: Vec<String> = Vec::new();
    for (at, filter) in FILTERS.iter().enumerate() {
        let name = |query: &str| query.split('=').next().unwrap().to_owned();
        let pairs = FILTERS[at..].iter().filter(|other| name(other) != name(filter));
        let filters = pairs.map(|other| format!("{filter}&{other}")).chain([(*filter).to_owned()]);
        // Each pair of filters with one of the sorts, and each filter with all of them.
        queries
            .extend(filters.enumerate().map(|(number, pair)| format!("{pair}&{}", SORTS[(at + number) % SORTS.len()])));
        queries.extend(SORTS.iter().map(|sort| format!("{filter}&{sort}")));
    }
    queries.extend(SORTS.iter().map(|sort| (*sort).to_owned()));
    let mut strategies = [BTreeSet::new(), BTreeSet::new()];
    for query in &queries {
        for (thresholds, strategies) in [Thresholds::SMALL, Thresholds::default()].into_iter().zip(&mut strategies) {
            for limit in [1, 100] {
                let pages = list(&db, &format!("{query}&limit={limit}&includeTotal=true"), thresholds);
                strategies.extend(pages.into_iter().map(|page| page.strategy));
            }
        }
        let filter = query.split("&sort=").next().unwrap();
        if !filter.starts_with("sort=") {
            let query = MetricsQuery::from_query(&format!("{filter}&groupBy=day")).unwrap();
            metrics::get_call_metrics(&db, &workspace(), &query, small_options()).unwrap();
        }
    }
    db.trace_v2(TraceEventCodes::empty(), None::<fn(TraceEvent<'_>)>).unwrap();
    let statements = STATEMENTS.with_borrow(Clone::clone);
    // The full-text index runs statements of its own.
    let ours = statements.iter().filter(|text| text.starts_with("SELECT") && !text.contains("call_term_"));
    let ours: Vec<_> = ours.collect();
    assert!(ours.len() > 200, "{} statements of {} queries", ours.len(), queries.len());
    // Small thresholds reach every strategy, and so do those of production on these records.
    let expected = BTreeSet::from([
        "bounded_scan",
        "filter_then_sort",
        "narrow_range",
        "ordered_terms",
        "position_set",
        "sort_index",
    ]);
    let [small, production] = strategies;
    assert_eq!(small, expected);
    assert_eq!(production, expected);
    let errors: Vec<_> = ours
        .iter()
        .flat_map(|text| errors(&db, text).into_iter().map(move |error| format!("{error}\n    in {text}")))
        .collect();
    assert!(errors.is_empty(), "{} errors:\n{}", errors.len(), errors[..errors.len().min(5)].join("\n"));
}

/// Every write, and what it reads: deletions, originals, the last change.
#[test]
fn no_write_scans_a_table() {
    let database = Database::new(400);
    let (lock, mut db) = open::open_writer(&database.path(), |_| Ok(())).unwrap();
    let note = |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(statement, _) = event {
            STATEMENTS.with_borrow_mut(|all| all.insert(statement.sql().into_owned()));
        }
    };
    db.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note)).unwrap();
    let mut tx = WriteTransaction::new(db, 0, small_options());
    let (workspace, now, any) = (workspace(), Timestamp::from_unix_nanos(1), Precondition::default());
    let write = |id: &CallId, number: usize| {
        let target =
            Target { workspace: workspace.clone(), id: id.clone(), now: now.clone(), options: small_options() };
        let sent = SentDocument {
            body: number.to_string().into(),
            media_type: String::new(),
            source: String::new(),
            warnings: Vec::new(),
            is_changed: true,
        };
        let write = CallWrite { input: input(number), handling: Handling::Lenient, sent: Some(sent) };
        PreparedCall::make(write, &target).unwrap()
    };
    tx.begin().unwrap();
    for round in 0..3 {
        let (old, new) = (id(round), id(1000 + round));
        let key = IdempotencyKey(round.to_string());
        statements::create_call(&mut tx, (&workspace, &new), write(&new, 1), Some((&key, [0; 32])), &now).unwrap();
        statements::replace_call(&mut tx, (&workspace, &old), write(&old, 500 + round), &any, &now).unwrap();
        assert!(statements::delete_call(&mut tx, &workspace, &old, &any, &now).unwrap());
        let calls = vec![(old.clone(), write(&old, 1)), (new.clone(), write(&new, 2))];
        let batch = statements::import_calls(&mut tx, &workspace, calls, ImportOptions::default(), &now).unwrap();
        assert_eq!(batch.outcomes[0].as_ref().unwrap().outcome, ImportOutcome::Deleted);
    }
    tx.write_deferred().unwrap();
    tx.db.execute_batch("COMMIT").unwrap();
    tx.db.trace_v2(TraceEventCodes::empty(), None::<fn(TraceEvent<'_>)>).unwrap();
    let statements = STATEMENTS.with_borrow(Clone::clone);
    let is_ours = |text: &&String| {
        let words = ["SELECT", "INSERT", "UPDATE", "DELETE"];
        words.iter().any(|word| text.starts_with(word)) && !text.contains("call_term")
    };
    let ours: Vec<_> = statements.iter().filter(is_ours).collect();
    for table in ["FROM original", "INTO original", "kind = 3", "INTO call", "UPDATE call"] {
        assert!(ours.iter().any(|text| text.contains(table)), "{table} in {ours:#?}");
    }
    let errors: Vec<_> = ours.iter().flat_map(|text| errors(&tx.db, text)).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    drop(lock);
}

#[test]
fn the_check_finds_scans() {
    let database = Database::new(1);
    let db = database.reader();
    for bad in [
        "SELECT body FROM call WHERE agent_id = ?1",
        "SELECT id FROM call INDEXED BY call_by_time ORDER BY workspace_id, sort_time, id",
        "SELECT rowid FROM call_term",
        "SELECT calls FROM metric_segment WHERE start > ?1",
        "SELECT 1 FROM change WHERE id = ?1 AND kind = 3",
        "SELECT body FROM original WHERE id = ?1",
    ] {
        assert!(!errors(&db, bad).is_empty(), "{bad}");
    }
}

#[test]
fn a_list_allocates_nothing_for_each_record() {
    let database = Database::new(1200);
    let db = database.reader();
    let allocations = |limit: usize| {
        let query = ListQuery::from_query(&format!("limit={limit}")).unwrap();
        let (workspace, signer) = (workspace(), CursorSigner::new(vec![7; 32]));
        let mut page = None;
        let read =
            || page = Some(lists::list_calls(&db, &workspace, &query, None, (&signer, small_options())).unwrap());
        let counted = allocation_counter::measure(read).count_total;
        assert_eq!(page.unwrap().calls.len(), limit);
        counted
    };
    allocations(10);
    let (few, many) = (allocations(10), allocations(1000));
    // The output and the ends of its records grow by doubling.
    assert!(many <= few + 24, "{few} for 10 records, {many} for 1,000");
}

#[test]
fn nothing_is_prepared_twice() {
    static PREPARED: AtomicUsize = AtomicUsize::new(0);
    let database = Database::new(50);
    let mut db = database.reader();
    let count = |context: AuthContext<'_>| {
        if context.action == AuthAction::Select {
            PREPARED.fetch_add(1, Ordering::Relaxed);
        }
        Authorization::Allow
    };
    db.authorizer(Some(count)).unwrap();
    let everything = |number: usize| {
        get::get_call(&db, &workspace(), &id(number)).unwrap().unwrap();
        list(&db, "limit=10", Thresholds::SMALL);
        list(&db, &format!("limit={}&agentId=a{}", 5 + number, number % 2), Thresholds::SMALL);
        list(&db, &format!("startedAfter={}", 1_767_225_600 + number), Thresholds::SMALL);
        changes::last_sequence(&db, &workspace()).unwrap();
        changes::list_call_changes(&db, &workspace(), Some(number as i64), 5, &CursorSigner::new(vec![7; 32])).unwrap();
    };
    everything(1);
    let first = PREPARED.load(Ordering::Relaxed);
    assert!(first > 5, "the preparations are counted: {first}");
    (2..20).for_each(everything);
    assert_eq!(PREPARED.load(Ordering::Relaxed), first);
}

/// A read does not parse: bytes that are not JSON are returned unchanged.
#[test]
fn no_body_is_parsed_when_it_is_read() {
    let database = Database::new(30);
    let raw = page_checksum::open(&database.path(), OpenFlags::default()).unwrap();
    let body = b"no JSON".as_slice();
    for number in 0..30 {
        let (workspace, id) = (workspace(), self::id(number));
        let bytes = RecordBytes::without_transcript(body);
        let digest = RecordDigest::of(workspace.as_str(), id.as_str(), bytes).record;
        raw.execute("UPDATE call SET body = ?1, digest = ?2 WHERE id = ?3", params![body, digest, id.as_str()])
            .unwrap();
    }
    drop(raw);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&database.path(), small_options()).unwrap();
        let read = store.get_call(&workspace(), &id(3)).await.unwrap().unwrap();
        assert_eq!(&read.body[..], b"no JSON");
        let query = ListQuery::from_query("limit=2&agentId=a1").unwrap();
        let page = store.list_calls(&workspace(), &query).await.unwrap();
        assert_eq!(&page.calls.json()[..], b"[no JSON,no JSON]");
        // Metrics are read from the segments.
        let metrics = MetricsQuery::from_query("groupBy=day,agentId&timezone=Europe/Berlin").unwrap();
        assert_eq!(store.get_call_metrics(&workspace(), &metrics).await.unwrap().total_calls, 30);
    });
}

/// A cached record is invalidated before the write is acknowledged.
#[test]
fn a_read_after_an_acknowledged_write_sees_it() {
    let database = Database::new(1);
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = std::sync::Arc::new(SqliteStore::open(&database.path(), small_options()).unwrap());
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (store, stop) = (std::sync::Arc::clone(&store), std::sync::Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut last = 0;
                    while !stop.load(Ordering::Relaxed) {
                        store.list_calls(&workspace(), &ListQuery::default()).await.unwrap();
                        let read = store.get_call(&workspace(), &id(0)).await.unwrap().unwrap().sequence;
                        assert!(read >= last, "{read} after {last}");
                        last = read;
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for number in 1..600 {
            let now: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
            let any = Precondition::default();
            let written = store.replace_call(&workspace(), &id(0), input(number).into(), any, now).await.unwrap();
            let read = store.get_call(&workspace(), &id(0)).await.unwrap().unwrap();
            assert_eq!(read, written.call);
            let page = store.list_calls(&workspace(), &ListQuery::default()).await.unwrap();
            assert_eq!(page.calls.iter().next(), Some(&written.call.body[..]));
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.unwrap();
        }
    });
}
