//! Every table and every query plan of PostgreSQL leads with the workspace.

use std::{collections::BTreeMap, fs, sync::LazyLock, time::Duration};

use callhistory_model::{CallPatch, ExportQuery, Handling, ImportMode, ListQuery, MetricsQuery};
use callhistory_store::{CallWrite, IdempotencyKey, ImportOptions, Precondition, SentDocument};
use callhistory_test_support::{PATIENCE, postgres::Cluster};
use fastrand::Rng;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::client;
use crate::{
    conformance::{at, id, input, workspace},
    databases::open,
    reference_model::{clauses, query_string, random_call},
};

/// A cluster whose log has the plan of every statement.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let settings = [
        "fsync = off",
        "log_line_prefix = '%d '",
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_format = 'json'",
    ];
    Cluster::start(&settings).unwrap()
});

/// The plans in the log of a database, with their statements, once its sessions have ended.
async fn plans(database: &str) -> Vec<(String, Value)> {
    let observer = client(&CLUSTER.url("postgres")).await;
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    let ended = async {
        while observer.query_one(sessions, &[&database]).await.unwrap().get::<_, i64>(0) > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap();
    let log = fs::read_to_string(CLUSTER.log()).unwrap();
    let mut plans = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with(&format!("{database} ")) || !line.ends_with("plan:") {
            continue;
        }
        let mut json = String::new();
        while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
            json.push_str(more);
        }
        let plan: Value = serde_json::from_str(&json).unwrap();
        plans.push((plan["Query Text"].as_str().unwrap().to_owned(), plan["Plan"].clone()));
    }
    plans
}

/// The conditions of a node and of its inputs that read no table themselves.
fn conditions(node: &Value, text: &mut String) {
    for name in ["Index Cond", "Filter", "Recheck Cond"] {
        text.push_str(node[name].as_str().unwrap_or(""));
    }
    for part in node["Plans"].as_array().into_iter().flatten().filter(|part| part["Relation Name"].is_null()) {
        conditions(part, text);
    }
}

/// Finds scans, and access to a table or an index without the workspace.
fn faults(node: &Value, found: &mut Vec<String>) {
    if let Some(table) = node["Relation Name"].as_str() {
        let kind = node["Node Type"].as_str().unwrap();
        let writes = kind == "ModifyTable";
        let mut text = String::new();
        conditions(node, &mut text);
        if !["secret", "api_key", "index_format"].contains(&table) && !writes {
            if !["Index Scan", "Index Only Scan", "Bitmap Heap Scan"].contains(&kind) {
                found.push(format!("{kind} on {table}"));
            }
            if !text.contains("workspace_id = ") {
                found.push(format!("{table} without its workspace: {text}"));
            }
        }
    }
    if let Some(index) = node["Index Name"].as_str() {
        let condition = node["Index Cond"].as_str().unwrap_or("");
        let leads = condition.contains("workspace_id = ") || index == "call_by_term" && condition.contains("terms");
        if !leads && !["secret_pkey", "api_key_pkey"].contains(&index) {
            found.push(format!("{index} is scanned"));
        }
    }
    node["Plans"].as_array().into_iter().flatten().for_each(|part| faults(part, found));
}

fn check(plans: &[(String, Value)]) -> Vec<String> {
    // The first start of a version reads every workspace once.
    let reads_all = |text: &str| text == "SELECT workspace_id FROM workspace" || text.contains("refinery");
    let ours = |text: &str| !reads_all(text) && !text.contains("pg_") && !text.contains("current_setting");
    let mut all = Vec::new();
    for (text, plan) in plans.iter().filter(|(text, _)| ours(text)) {
        let mut found = Vec::new();
        faults(plan, &mut found);
        all.extend(found.into_iter().map(|fault| format!("{fault}\n    in {text}")));
    }
    all
}

/// Runs every operation of a store on records of three workspaces.
async fn use_everything(url: &str) {
    let store = open(url).await.unwrap();
    let mut rng = Rng::with_seed(3);
    for ws in ["w", "v", "u"] {
        let calls = (0..600).map(|n| (id(&format!("c{n}")), random_call(&mut rng, String::new()).input().into()));
        store.import_calls(&workspace(ws), calls.collect(), ImportOptions::default(), at(1)).await.unwrap();
    }
    client(url).await.batch_execute("VACUUM ANALYZE").await.unwrap();
    let (w, any) = (workspace("w"), Precondition::default);
    for number in 0..5 {
        let key = Some(IdempotencyKey(format!("k{}", number % 3)));
        drop(store.create_call(&w, &id(&format!("n{number}")), input("{}").into(), key, at(1)).await);
        store
            // A record of its own: it has no final status.
            .replace_call(&w, &id("own"), input(&format!(r#"{{"summary":"{number}"}}"#)).into(), any(), at(2))
            .await
            .unwrap();
        let patch = CallPatch::parse(br#"{"agentId":"z"}"#, Handling::Strict).unwrap();
        store.update_call(&w, &id(&format!("c{number}")), patch.into(), any(), at(3)).await.unwrap();
        store.delete_call(&w, &id(&format!("n{number}")), any(), at(4)).await.unwrap();
        let sent = |text: String| {
            let (media_type, source) = ("application/json".to_owned(), "import".to_owned());
            Some(SentDocument { body: text.into(), media_type, source, warnings: Vec::new(), is_changed: true })
        };
        let write = |text: String| CallWrite { sent: sent(text), ..CallWrite::default() };
        let calls = (0..30).map(|n| (id(&format!("n{n}")), write(format!("{n} {number}")))).collect();
        let merge = ImportOptions { mode: ImportMode::Merge, ..ImportOptions::default() };
        store.import_calls(&w, calls, merge, at(5)).await.unwrap();
        store.list_originals(&w, &id("n9")).await.unwrap().unwrap();
        store.get_original(&w, &id("n9"), 1).await.unwrap().unwrap();
        store.get_call(&w, &id("c9")).await.unwrap();
        store.list_call_changes(&w, None, 50).await.unwrap();
    }
    let sorts = ["startTime", "-startTime", "createdAt", "-updatedAt", "duration", "-duration", "cost", "-cost"];
    for round in 0..300 {
        let filter = query_string(&clauses(&mut rng));
        let sort = sorts[round % sorts.len()];
        let Ok(mut query) = ListQuery::from_query(&format!("{filter}&sort={sort}&limit=7&includeTotal=true")) else {
            continue;
        };
        query.cursor = store.list_calls(&w, &query).await.unwrap().next;
        store.list_calls(&w, &query).await.unwrap();
        let metrics = MetricsQuery::from_query(&format!("{filter}&groupBy=day,agentId")).unwrap();
        store.get_call_metrics(&w, &metrics).await.unwrap();
        if round % 10 == 0 {
            let mut export = store.export_calls(&w, &ExportQuery::from(query.filter).sort(query.sort)).await.unwrap();
            while let Some(chunk) = export.recv().await {
                chunk.unwrap();
            }
        }
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_uses_an_index_that_leads_with_the_workspace() {
    let database = CLUSTER.database(None).unwrap();
    let url = CLUSTER.url(&database);
    use_everything(&url).await;
    let plans = plans(&database).await;
    let mut tables: BTreeMap<&str, usize> = BTreeMap::new();
    for (text, _) in &plans {
        for table in [
            "FROM call",
            "INTO call",
            "UPDATE call",
            "INTO change",
            "INTO workspace",
            "INTO idempotency",
            "DECLARE",
            "INTO original",
            "FROM original",
            "JOIN original",
            "FROM change h",
        ] {
            *tables.entry(table).or_default() += usize::from(text.contains(table));
        }
    }
    assert!(tables.len() == 11 && tables.values().all(|count| *count > 0), "the log is not complete: {tables:?}");
    let faults = check(&plans);
    assert!(
        faults.is_empty(),
        "{} of {} plans:\n{}",
        faults.len(),
        plans.len(),
        faults[..faults.len().min(5)].join("\n")
    );
}

/// The negative control: a table scan, an index scan over all workspaces, and a search without the workspace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_finds_scans() {
    let database = CLUSTER.database(None).unwrap();
    let url = CLUSTER.url(&database);
    open(&url).await.unwrap().close().await;
    for bad in [
        "SET enable_seqscan = on; SELECT body FROM call WHERE agent_id = 'a'",
        "SET enable_seqscan = off; SELECT id FROM call ORDER BY workspace_id, sort_time, id",
        "SET enable_seqscan = off; SELECT body FROM call WHERE terms @> ARRAY[1::bigint]",
    ] {
        let before = check(&plans(&database).await).len();
        client(&url).await.batch_execute(bad).await.unwrap();
        assert!(check(&plans(&database).await).len() > before, "{bad} was not found");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_and_index_leads_with_the_workspace() {
    let database = CLUSTER.database(None).unwrap();
    let url = CLUSTER.url(&database);
    open(&url).await.unwrap().close().await;
    let client = client(&url).await;
    let rows = async |query: &str| -> Vec<String> {
        client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let indexes = rows(
        "SELECT i.indexrelid::regclass::text || ' ' || coalesce((SELECT attname FROM pg_attribute a
             WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[0]), 'an expression')
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY 1",
    )
    .await;
    assert!(indexes.len() >= 15, "{indexes:?}");
    let others: Vec<_> = indexes.iter().filter(|index| !index.ends_with(" workspace_id")).collect();
    // Terms are digests that include the workspace. The other tables belong to the whole database.
    assert_eq!(
        others,
        ["api_key_pkey id", "call_by_term terms", "refinery_schema_history_pkey version", "secret_pkey name"]
    );
    let not_null = "SELECT table_name::text FROM information_schema.columns
         WHERE table_schema = 'public' AND column_name = 'workspace_id' AND ordinal_position = 1 AND is_nullable = 'NO'
         ORDER BY 1";
    assert_eq!(rows(not_null).await, ["call", "change", "idempotency", "original", "workspace"]);
    let across = "SELECT conname::text FROM pg_constraint WHERE contype = 'f' UNION ALL
         SELECT relname::text FROM pg_class WHERE relkind = 'S' UNION ALL SELECT tgname::text FROM pg_trigger";
    assert_eq!(rows(across).await, Vec::<String>::new(), "no foreign key, sequence or trigger");
}
