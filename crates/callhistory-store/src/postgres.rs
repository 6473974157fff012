//! PostgreSQL, or an engine with its protocol: any number of servers over one database. A server keeps no state that another
//! server would need.

use std::{cmp::Ordering, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use callhistory_model::{
    CallId, CallMetrics, ExportQuery, ListQuery, MetricsQuery, OriginalInfo, SearchQuery, Timestamp, WorkspaceId,
};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep, timeout_at},
};

mod admin;
mod config;
mod epoch;
mod error;
mod notify;
mod open;
mod pipeline;
mod pool;
mod read;
mod tls;
mod write;

pub(crate) use admin::diagnose::diagnose;

use admin::api_keys::{self, PostgresApiKeys};
use config::{DatabaseServer, SessionKind};
use epoch::CurrentEpoch;
use notify::Listener;
use pipeline::ConnectionPipeline;
use pool::PgReadPool;
use write::{
    group::{PgWriter, WriteSet},
    plan::GroupPlan,
    prepare::{PatchReply, PatchRequest, WriteRequest},
};

use crate::{
    call_write::{CallWrite, ImportBatch, ImportOptions, Original, PatchWrite},
    concurrency::{change_notifier::ChangeNotifier, export_stream, fair_semaphore::FairSemaphore},
    domain::{
        cursor::ListPosition,
        import_parts::ImportParts,
        mutation::{IdempotencyKey, Precondition, request_hash},
        options::StoreOptions,
        original::PreparedDocument,
        search_text::evidence::search_page,
    },
    error::StoreError,
    results::{CallPage, CallSearchPage, ChangeBatch, Epoch, StoredCall, WrittenCall},
    store::CallStore,
};

/// Maximum number of concurrent groups of writes, each of another workspace.
const WRITE_SESSIONS: usize = 8;
/// Maximum number of concurrent lists and metrics queries, and of reads of the change feed, of all workspaces and of one.
const READ_SESSIONS: (usize, usize) = (8, 4);
const FOLLOWER_SESSIONS: (usize, usize) = (4, 2);
pub(crate) struct PostgresStore {
    server: Arc<DatabaseServer>,
    pipeline: ConnectionPipeline,
    read_pool: PgReadPool,
    follower_pool: PgReadPool,
    writer: Arc<PgWriter>,
    exports: Arc<FairSemaphore>,
    epoch: Arc<CurrentEpoch>,
    notifier: ChangeNotifier,
    listener: Listener,
    listening: AbortHandle,
    options: StoreOptions,
}

impl PostgresStore {
    pub(crate) async fn open(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let server = Arc::new(DatabaseServer::parse(url)?);
        let epoch = open::prepare(&server).await?;
        let plan = open::reindex(&server, options.numbering_plan).await?;
        let options = StoreOptions { numbering_plan: Some(plan), ..options };
        let notifier = ChangeNotifier::default();
        let (listener, listening) = Listener::start(Arc::clone(&server), notifier.clone(), seed(&server));
        Ok(Self {
            pipeline: ConnectionPipeline::new(Arc::clone(&server), &read::get::STATEMENTS, Arc::clone(&epoch)),
            read_pool: PgReadPool::new(&server, READ_SESSIONS)?,
            follower_pool: PgReadPool::new(&server, FOLLOWER_SESSIONS)?,
            writer: PgWriter::new(
                server.pool(SessionKind::Write, WRITE_SESSIONS)?,
                listener.clone(),
                Arc::clone(&epoch),
                options,
            ),
            exports: export_stream::semaphore(),
            epoch,
            notifier,
            listener,
            listening,
            server,
            options,
        })
    }

    /// The position of a cursor of a list. Another server can have begun the epoch of the cursor, so an unknown one is looked up.
    async fn list_position(
        &self,
        workspace: &WorkspaceId,
        query: &ListQuery,
    ) -> Result<Option<ListPosition>, StoreError> {
        let Some(cursor) = &query.cursor else { return Ok(None) };
        match self.epoch.signer().verify_list(workspace, query, cursor) {
            Err(StoreError::CursorExpired) => {
                let (_, signer) = read::get::last_sequence(&self.pipeline, &self.epoch, workspace).await?;
                signer.verify_list(workspace, query, cursor).map(Some)
            }
            verified => verified.map(Some),
        }
    }

    /// Imports records in one transaction.
    async fn import_part(
        &self,
        workspace: &WorkspaceId,
        calls: Vec<(CallId, CallWrite)>,
        options: ImportOptions,
        now: Timestamp,
    ) -> Result<ImportBatch, StoreError> {
        let (own, plan) = (workspace.clone(), self.options.plan());
        let prepare = move || {
            let each =
                calls.into_iter().map(|(id, write)| Ok((id.clone(), WriteRequest::prepare(write, (&own, &id), plan)?)));
            each.collect::<Result<Vec<_>, StoreError>>()
        };
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let calls = prepared.map_err(|error| StoreError::Internal(error.to_string()))??;
        let hash = |(id, request): &(CallId, WriteRequest)| Some((id.clone(), *request.document.as_ref()?.hash()));
        let write_set = WriteSet {
            ids: calls.iter().map(|(id, _)| id.clone()).collect(),
            documents: calls.iter().filter_map(hash).collect(),
            is_import: true,
            key: None,
        };
        self.writer.run(workspace, write_set, move |plan| plan.import_calls(&calls, options, &now)).await
    }
}

/// The API keys of a database, which is migrated first.
pub(crate) async fn open_api_keys(url: &str) -> Result<PostgresApiKeys, StoreError> {
    let server = Arc::new(DatabaseServer::parse(url)?);
    open::prepare(&server).await?;
    Ok(PostgresApiKeys(server.pool(SessionKind::Write, api_keys::SESSIONS)?))
}

/// A seed that differs between the servers of a database. Only backoffs depend on it.
fn seed(server: &Arc<DatabaseServer>) -> u64 {
    u64::from(std::process::id()) << 32 ^ Arc::as_ptr(server).addr() as u64
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

fn one(id: &CallId) -> WriteSet {
    WriteSet { ids: vec![id.clone()], ..WriteSet::default() }
}

fn with_document(id: &CallId, document: Option<&PreparedDocument>) -> WriteSet {
    let documents = document.map(|document| (id.clone(), *document.hash()));
    WriteSet { documents: documents.into_iter().collect(), ..one(id) }
}

#[async_trait]
impl CallStore for PostgresStore {
    async fn get_call(&self, workspace: &WorkspaceId, id: &CallId) -> Result<Option<StoredCall>, StoreError> {
        read::get::get_call(&self.pipeline, workspace, id.as_str()).await
    }

    async fn create_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        write: CallWrite,
        key: Option<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError> {
        let key = key.map(|key| Ok::<_, StoreError>((key, request_hash(&write.input)?))).transpose()?;
        let request = WriteRequest::make(write, (workspace, id), self.options.plan()).await?;
        let key_name = key.as_ref().map(|(key, _)| key.0.clone());
        let (write_set, id) = (WriteSet { key: key_name, ..one(id) }, id.clone());
        self.writer.run(workspace, write_set, move |plan| plan.create_call(&id, &request, key.as_ref(), &now)).await
    }

    async fn replace_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        write: CallWrite,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError> {
        let request = WriteRequest::make(write, (workspace, id), self.options.plan()).await?;
        let (write_set, id) = (with_document(id, request.document.as_deref()), id.clone());
        self.writer.run(workspace, write_set, move |plan| plan.replace_call(&id, &request, &precondition, &now)).await
    }

    async fn update_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        write: PatchWrite,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<Option<WrittenCall>, StoreError> {
        let request = PatchRequest::make(write, workspace, id).await?;
        let update = async |request: PatchRequest| {
            let (write_set, id) = (with_document(id, request.document.as_deref()), id.clone());
            let (precondition, now) = (precondition.clone(), now.clone());
            let work = move |plan: &mut GroupPlan| plan.update_call(&id, &request, &precondition, &now);
            self.writer.run(workspace, write_set, work).await
        };
        let wanted = match update(request.clone()).await? {
            PatchReply::Written(written) => return Ok(written),
            PatchReply::WantsTerms(wanted) => wanted,
        };
        match update(request.with_terms(wanted, self.options.plan()).await?).await? {
            PatchReply::Written(written) => Ok(written),
            PatchReply::WantsTerms(_) => Err(StoreError::Internal("a patch was not applied".to_owned())),
        }
    }

    async fn delete_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (write_set, id) = (one(id), id.clone());
        self.writer.run(workspace, write_set, move |plan| plan.delete_call(&id, &precondition, &now)).await
    }

    async fn import_calls(
        &self,
        workspace: &WorkspaceId,
        calls: Vec<(CallId, CallWrite)>,
        options: ImportOptions,
        now: Timestamp,
    ) -> Result<ImportBatch, StoreError> {
        let sizes = read::get::call_sizes(&self.pipeline, workspace, &ImportParts::ids(&calls)).await?;
        let mut parts = ImportParts::split(calls, sizes, options)?;
        while let Some((calls, options)) = parts.next_part() {
            parts.add(self.import_part(workspace, calls, options, now.clone()).await?);
        }
        Ok(parts.done())
    }

    async fn list_originals(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
    ) -> Result<Option<Vec<OriginalInfo>>, StoreError> {
        let arguments = (workspace.clone(), id.clone());
        self.read_pool
            .run(workspace, arguments, |db, (workspace, id)| {
                Box::pin(read::originals::list_originals(db, workspace, id))
            })
            .await
    }

    async fn get_original(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        number: i64,
    ) -> Result<Option<Original>, StoreError> {
        let arguments = (workspace.clone(), id.clone(), number);
        self.read_pool
            .run(workspace, arguments, |db, (workspace, id, number)| {
                Box::pin(read::originals::get_original(db, workspace, id, *number))
            })
            .await
    }

    async fn list_calls(&self, workspace: &WorkspaceId, query: &ListQuery) -> Result<CallPage, StoreError> {
        let after = self.list_position(workspace, query).await?;
        let arguments = (workspace.clone(), query.clone(), after, self.epoch.signer(), self.options);
        self.read_pool
            .run(workspace, arguments, |db, (workspace, query, after, signer, options)| {
                Box::pin(read::list::list_calls(db, workspace, query, after.as_ref(), (signer, *options)))
            })
            .await
    }

    async fn search_calls(
        &self,
        workspace: &WorkspaceId,
        query: &SearchQuery,
        sees_phone_numbers: bool,
    ) -> Result<CallSearchPage, StoreError> {
        let list = query.list_query();
        let after = self.list_position(workspace, &list).await?;
        let options = (self.options, sees_phone_numbers);
        let arguments = (workspace.clone(), list, after, self.epoch.signer(), query.clone(), options);
        self.read_pool
            .run(workspace, arguments, |db, (workspace, list, after, signer, query, (options, sees))| {
                Box::pin(async move {
                    let page = read::list::list_calls(db, workspace, list, after.as_ref(), (signer, *options)).await?;
                    let (query, sees) = (query.clone(), *sees);
                    let show = tokio::task::spawn_blocking(move || search_page(&page, &query, sees));
                    Ok(show.await.map_err(|error| StoreError::Internal(error.to_string()))??)
                })
            })
            .await
    }

    async fn get_call_metrics(&self, workspace: &WorkspaceId, query: &MetricsQuery) -> Result<CallMetrics, StoreError> {
        let arguments = (workspace.clone(), query.clone(), self.options.plan());
        self.read_pool
            .run(workspace, arguments, |db, (workspace, query, plan)| {
                Box::pin(read::metrics::get_call_metrics(db, workspace, query, *plan))
            })
            .await
    }

    async fn export_calls(
        &self,
        workspace: &WorkspaceId,
        query: &ExportQuery,
    ) -> Result<mpsc::Receiver<Result<Bytes, StoreError>>, StoreError> {
        let permit = export_stream::acquire(&self.exports, workspace)?;
        let (chunks, error_slot, receiver) = export_stream::channel();
        let (workspace, query, server) = (workspace.clone(), query.clone(), Arc::clone(&self.server));
        let plan = self.options.plan();
        tokio::spawn(async move {
            let deadline = Instant::now() + export_stream::TIMEOUT;
            let export = async {
                let db = server.client(SessionKind::Export).await?;
                read::export::export_calls(&db, &workspace, &query, plan, &chunks).await
            };
            // A slow reader must not hold the snapshot for ever.
            let outcome = timeout_at(deadline, export).await;
            if let Err(error) = outcome.unwrap_or_else(|_| Err(read::export::slow_reader())) {
                error_slot.send(Err(error.into()));
            }
            drop(permit);
        });
        Ok(receiver)
    }

    async fn list_call_changes(
        &self,
        workspace: &WorkspaceId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ChangeBatch, StoreError> {
        // First: every change up to this sequence is committed, and the cursor is verified in the same epoch.
        let (last, signer) = read::get::last_sequence(&self.pipeline, &self.epoch, workspace).await?;
        let after = signer.feed_start(workspace, cursor)?;
        let arguments = (workspace.clone(), after.unwrap_or(last), last, limit, signer);
        self.follower_pool
            .run(workspace, arguments, |db, (workspace, after, last, limit, signer)| {
                Box::pin(read::changes::list_call_changes(db, workspace, *after..*last, *limit, signer))
            })
            .await
    }

    async fn wait_for_change(&self, workspace: &WorkspaceId, cursor: &str) -> Result<(), StoreError> {
        // Before the read: a later commit sends a notification.
        let mut notifications = self.notifier.subscribe(workspace);
        loop {
            let (last, signer) = read::get::last_sequence(&self.pipeline, &self.epoch, workspace).await?;
            match last.cmp(&signer.verify_feed(workspace, cursor)?) {
                Ordering::Greater => return Ok(()),
                Ordering::Less => return Err(StoreError::CursorExpired),
                Ordering::Equal => {}
            }
            tokio::select! {
                received = notifications.changed() => received.map_err(|_| closed())?,
                () = sleep(self.listener.poll_interval()) => {}
            }
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        read::get::get_call(&self.pipeline, &"check".parse().map_err(|_| closed())?, "").await?;
        self.writer.check().await
    }

    fn epoch(&self) -> Epoch {
        self.epoch.signer().epoch()
    }

    async fn close(&self) {
        self.writer.close().await;
        self.listening.abort();
        self.read_pool.close();
        self.follower_pool.close();
    }
}

#[cfg(test)]
mod tests {
    use callhistory_test_support::postgres::Cluster;

    use super::{
        write::plan::{Rejection, Reply},
        *,
    };

    /// A write that panics leaves nothing behind, and the other writes of its group are committed.
    #[tokio::test]
    async fn a_panicking_write_does_not_fail_other_writes() {
        let cluster = Cluster::start(&["fsync = off"]).unwrap();
        let store = PostgresStore::open(&cluster.url("postgres"), StoreOptions::default()).await.unwrap();
        let workspace: WorkspaceId = "w".parse().unwrap();
        let (id, other): (CallId, CallId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let (any, now) = (Precondition::default(), Timestamp::from_unix_nanos(1));
        let put = async |id: &CallId| {
            store
                .replace_call(&workspace, id, CallWrite::default(), any.clone(), now.clone())
                .await
                .unwrap()
                .call
                .sequence
        };
        let panics =
            store.writer.run(&workspace, one(&id), |_| -> Result<Reply<()>, Rejection> { panic!("in a write") });
        // Both are in the queue before the task of the workspace runs.
        let (panicked, sequence) = tokio::join!(panics, put(&other));
        assert!(matches!(panicked, Err(StoreError::Internal(_))), "{panicked:?}");
        assert_eq!(sequence, 1);
        let many = WriteSet { ids: vec![id.clone(), other], ..WriteSet::default() };
        let (first, at) = (id.clone(), now.clone());
        let request = WriteRequest::prepare(CallWrite::default(), (&workspace, &id), StoreOptions::default().plan());
        let request = request.unwrap();
        let panics = store.writer.run(&workspace, many, move |plan| -> Result<Reply<()>, Rejection> {
            let _reply = plan.replace_call(&first, &request, &Precondition::default(), &at)?;
            panic!("after its first record")
        });
        let panicked = panics.await;
        assert!(matches!(panicked, Err(StoreError::Internal(_))), "{panicked:?}");
        assert_eq!(store.get_call(&workspace, &id).await.unwrap(), None);
        assert_eq!(put(&id).await, 2);
        store.close().await;
    }
}
