//! The conformance suite on PostgreSQL; its URLs, migrations, roles and TLS.

mod failover;
mod faults;
mod query_plans;
mod several_servers;

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock, OnceLock},
};

use callhistory_store::{CallStore, DatabaseUrl, Severity, StoreOptions};

use crate::conformance::{self, Database, conformance, put, refusal};
use crate::databases::{open, open_options};
use callhistory_test_support::postgres::Cluster;
use tokio_postgres::error::SqlState;

/// One cluster for all tests of this program.
pub(crate) static CLUSTER: LazyLock<Cluster> =
    LazyLock::new(|| Cluster::start(&["fsync = off", "full_page_writes = off", "autovacuum_naptime = 5"]).unwrap());

/// A database of one test.
pub(crate) struct PostgresDatabase {
    pub(crate) url: String,
}

impl Database for PostgresDatabase {
    const STRATEGIES: &[&str] = &["bounded_scan", "filter_then_sort", "sort_index"];

    async fn open_with(&self, options: StoreOptions) -> Arc<dyn CallStore> {
        open_options(&self.url, options).await.unwrap()
    }
}

/// A copy of a migrated template database.
pub(crate) fn empty() -> PostgresDatabase {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        let name = CLUSTER.database(None).unwrap();
        let url = CLUSTER.url(&name);
        // The runtime of the test cannot block on this thread.
        let migrated = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async { open(&url).await.unwrap().close().await });
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        });
        migrated.join().unwrap();
        name
    });
    PostgresDatabase { url: CLUSTER.url(&CLUSTER.database(Some(template)).unwrap()) }
}

/// A session that does not belong to the store.
pub(crate) async fn client(url: &str) -> tokio_postgres::Client {
    let (client, session) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(session);
    client
}

conformance!(empty);

#[tokio::test]
async fn an_unusable_url_is_reported_without_its_password() {
    let dead = "postgres://me:s3cret@127.0.0.1:1/db";
    for (url, says) in [
        (dead.to_owned(), "127.0.0.1:1/db"),
        (format!("{dead}?sslmode=maybe"), "sslmode=maybe is none of disable, prefer, require, verify-ca, verify-full"),
        (format!("{dead}?colour=red"), "colour"),
        (format!("{dead}?sslmode=verify-full&sslrootcert=/no/such/file"), "/no/such/file"),
        (CLUSTER.url("no_such_database"), "\"no_such_database\" does not exist"),
    ] {
        let message = refusal(&url).await;
        assert!(message.contains(says) && !message.contains("s3cret"), "{message}");
    }
    let shown = |url: &str| url.parse::<DatabaseUrl>().unwrap().to_string();
    assert_eq!(shown("postgres://me:s3c@ret@h:1,i:2/db?password=x&sslmode=require"), "postgres://me@h:1,i:2/db");
    assert_eq!(shown("postgresql:///db?host=%2Ftmp&user=me"), "postgresql:///db?host=%2Ftmp");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let url = empty().url;
    let newer = "INSERT INTO refinery_schema_history VALUES (9999, 'future', '2026-01-01T00:00:00Z', '1')";
    client(&url).await.batch_execute(newer).await.unwrap();
    assert!(refusal(&url).await.contains("newer version (migration 9999)"));
}

#[tokio::test]
async fn a_database_with_changed_migrations_is_refused() {
    let url = empty().url;
    let other = "UPDATE refinery_schema_history SET checksum = '1' WHERE version = 1";
    client(&url).await.batch_execute(other).await.unwrap();
    assert!(refusal(&url).await.contains("cannot be migrated"));
}

#[tokio::test]
async fn a_database_without_utf8_is_refused() {
    let admin = client(&CLUSTER.url("postgres")).await;
    admin
        .batch_execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        .await
        .unwrap();
    assert!(refusal(&CLUSTER.url("latin")).await.contains("ENCODING 'UTF8'"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_together_migrate_once() {
    let url = CLUSTER.url(&CLUSTER.database(None).unwrap());
    let starts = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { open(&url).await.unwrap() })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap().check().await.unwrap();
    }
    let migrations = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres")).unwrap().count();
    let applied = client(&url).await.query_one("SELECT count(*) FROM refinery_schema_history", &[]).await.unwrap();
    assert_eq!(usize::try_from(applied.get::<_, i64>(0)).unwrap(), migrations);
}

#[tokio::test]
async fn a_role_that_cannot_change_the_schema_can_serve() {
    let url = empty().url;
    let grants =
        "CREATE ROLE clerk LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk";
    client(&url).await.batch_execute(grants).await.unwrap();
    let url = url.replace("callhistory@", "clerk@");
    let session = client(&url).await;
    for change in ["CREATE TABLE extra ()", "ALTER TABLE call ADD extra int"] {
        let refused = session.batch_execute(change).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{change}: {refused}");
    }
    let store = open(&url).await.unwrap();
    put(&*store, "w", "c", "{}", 1).await;
    store.check().await.unwrap();
}

/// A cluster with TLS, its URL with the host `HOST`, and the file of the certificate authority.
fn with_tls() -> (Cluster, String, PathBuf) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = ["listen_addresses = '127.0.0.1'".to_owned(), format!("port = {port}"), "fsync = off".to_owned()];
    let cluster = Cluster::start(&settings.each_ref().map(String::as_str)).unwrap();
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let leaf = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let root_file = cluster.directory().join("root.crt");
    std::fs::write(&root_file, root.pem()).unwrap();
    cluster.serve_tls(&leaf.pem(), &key.serialize_pem()).unwrap();
    (cluster, format!("postgres://callhistory@HOST:{port}/postgres"), root_file)
}

#[tokio::test]
async fn sslmode_decides_encryption_and_verification() {
    let (cluster, url, root) = with_tls();
    let url = |host: &str, query: &str| {
        format!("{}?{}", url.replace("HOST", host), query.replace("ROOT", root.to_str().unwrap()))
    };
    let foreign = cluster.directory().join("foreign.crt");
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
    std::fs::write(&foreign, other.cert.pem()).unwrap();
    for (host, query, encrypted) in [
        ("localhost", "sslmode=verify-full&sslrootcert=ROOT", true),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=ROOT", true),
        ("127.0.0.1", "sslmode=require&sslrootcert=ROOT", true),
        ("127.0.0.1", "sslmode=require", true),
        ("127.0.0.1", "", true),
        ("127.0.0.1", "sslmode=disable", false),
    ] {
        let store = open(&url(host, query)).await.unwrap();
        store.check().await.unwrap();
        let own = client(&url("127.0.0.1", "sslmode=disable&application_name=test")).await;
        let sessions = "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name = 'callhistory'";
        let row = own.query_one(sessions, &[]).await.unwrap();
        let (with_tls, all): (i64, i64) = (row.get(0), row.get(1));
        assert!(all > 0 && with_tls == if encrypted { all } else { 0 }, "{query}: {with_tls} of {all}");
        store.close().await;
        drop(store);
        // The sessions end a moment later.
        while own.query_one(sessions, &[]).await.unwrap().get::<_, i64>(1) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    let foreign = format!("sslmode=verify-ca&sslrootcert={}", foreign.display());
    for (host, query) in [
        ("127.0.0.1", "sslmode=verify-full&sslrootcert=ROOT"),
        ("localhost", "sslmode=verify-full"),
        ("localhost", foreign.as_str()),
        ("localhost", "sslmode=verify-full&sslrootcert=/dev/null"),
    ] {
        refusal(&url(host, query)).await;
    }
}

#[tokio::test]
async fn a_damaged_record_fails_alone() {
    let database = empty();
    let severity = async || {
        let diagnostics = callhistory_store::diagnose(&database.url.parse().unwrap(), true).await;
        diagnostics.into_iter().find(|diagnostic| diagnostic.name == "records").unwrap().severity
    };
    let damage = async || {
        assert_eq!(severity().await, Severity::Ok);
        let changed =
            "UPDATE call SET body = overlay(body PLACING '9'::bytea FROM length(body) - 4) WHERE id = 'damaged'";
        assert_eq!(client(&database.url).await.execute(changed, &[]).await.unwrap(), 1);
        assert_eq!(severity().await, Severity::Error);
    };
    conformance::a_damaged_record_fails_alone(&database, damage).await;
    assert_eq!(severity().await, Severity::Ok);
}

#[tokio::test]
async fn a_damaged_transcript_is_not_returned() {
    let database = empty();
    let damage = async || {
        let changed = "UPDATE call SET transcript = overlay(transcript PLACING '9'::bytea FROM length(transcript) - 6)";
        assert_eq!(client(&database.url).await.execute(changed, &[]).await.unwrap(), 1);
    };
    crate::transcripts::a_damaged_transcript_is_not_returned(&database, damage).await;
}

#[tokio::test]
async fn a_damaged_original_fails_alone() {
    let database = empty();
    let damage = async || {
        let changed =
            "UPDATE original SET body = overlay(body PLACING '0'::bytea FROM length(body) - 2) WHERE id = 'damaged'";
        assert_eq!(client(&database.url).await.execute(changed, &[]).await.unwrap(), 1);
        let diagnostics = callhistory_store::diagnose(&database.url.parse().unwrap(), true).await;
        assert!(diagnostics.iter().any(|found| found.detail.contains("1 of 2 originals")), "{diagnostics:?}");
    };
    crate::late_facts::a_damaged_original_fails_alone(&database, damage).await;
}
