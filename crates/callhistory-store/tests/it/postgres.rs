//! PostgreSQL against the conformance suite.

use std::sync::{Arc, LazyLock, OnceLock};

use callhistory_store::{CallStore, open};

use crate::{
    cluster::Cluster,
    conformance::{Database, conformance},
};

/// One cluster for all tests of this binary. Nothing in it has to survive the machine.
pub(crate) static CLUSTER: LazyLock<Cluster> =
    LazyLock::new(|| Cluster::start(&["fsync = off", "full_page_writes = off", "autovacuum_naptime = 5"]).unwrap());

/// A database of its own.
pub(crate) struct PostgresDatabase {
    pub(crate) url: String,
}

impl Database for PostgresDatabase {
    async fn open(&self) -> Arc<dyn CallStore> {
        open(&self.url).await.unwrap()
    }
}

/// A copy of a database that has been migrated once.
pub(crate) fn empty() -> PostgresDatabase {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        let name = CLUSTER.database(None).unwrap();
        let url = CLUSTER.url(&name);
        // A thread of its own, because the test's own runtime is at work on this one.
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

/// A session beside the store's own.
pub(crate) async fn client(url: &str) -> tokio_postgres::Client {
    let (client, session) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(session);
    client
}

conformance!(empty);
