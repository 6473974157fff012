//! PostgreSQL, or an engine that speaks its protocol: any number of servers over one database. A server keeps nothing
//! between requests that another would have to know.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use callhistory_model::{
    CallFilter, CallId, CallInput, CallMetrics, CallPatch, FieldErrors, ListQuery, MetricsQuery, Timestamp, WorkspaceId,
};
use deadpool_postgres::{ClientWrapper, Object, Pool};
use futures_util::future::BoxFuture;
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

mod connect;
mod failure;
mod keys;
mod listen;
mod metrics;
mod open;
mod plan;
mod read;
mod tls;
mod write;
mod writer;

pub(crate) use connect::redacted;

use connect::{Lines, Server, Work};
use failure::{Failure, late};
use listen::Listener;
use writer::{Touched, Writer};

use crate::{
    CallPage, CallStore, ChangeBatch, Diagnostic, IdempotencyKey, Precondition, StoreError, StoredCall, WriteOutcome,
    WrittenCall,
    cursor::Seal,
    exports::{self, Exports},
    fair::Fair,
    feed::Feed,
    write::request_hash,
};

/// Groups of writes at a time; each is of another workspace.
const WRITERS: usize = 8;
/// Lists and numbers at a time, and apart from them reads of the feed, of all workspaces and of one.
const SCANS: (usize, usize) = (8, 4);
const FOLLOWERS: (usize, usize) = (4, 2);
/// How long one read may take, of several statements and beside the server's own bound on each.
const SCAN_TIMEOUT: Duration = Duration::from_secs(35);

pub(crate) struct PostgresStore {
    server: Arc<Server>,
    lines: Lines,
    scans: Sessions,
    followers: Sessions,
    writer: Writer,
    exports: Arc<Exports>,
    seal: Arc<Seal>,
    feed: Feed,
    listener: Listener,
    listening: AbortHandle,
}

impl PostgresStore {
    pub(crate) async fn open(url: &str) -> Result<Self, StoreError> {
        let server = Arc::new(Server::parse(url)?);
        let secret = open::prepare(&server).await?;
        let feed = Feed::default();
        let (listener, listening) = Listener::start(Arc::clone(&server), feed.clone(), seed(&server));
        Ok(Self {
            lines: Lines::new(Arc::clone(&server)),
            scans: Sessions::new(&server, SCANS)?,
            followers: Sessions::new(&server, FOLLOWERS)?,
            writer: Writer::new(server.pool(Work::Write, WRITERS)?, listener.clone()),
            exports: Arc::default(),
            seal: Arc::new(Seal::new(secret)),
            feed,
            listener,
            listening,
            server,
        })
    }
}

/// The keys of a database, which is migrated first.
pub(crate) async fn open_api_keys(url: &str) -> Result<keys::PostgresKeys, StoreError> {
    let server = Arc::new(Server::parse(url)?);
    open::prepare(&server).await?;
    Ok(keys::PostgresKeys(server.pool(Work::Write, keys::SESSIONS)?))
}

/// What an operator wants to know of a database, found out without changing it.
pub(crate) async fn diagnose(url: &str) -> Vec<Diagnostic> {
    match Server::parse(url) {
        Ok(server) => {
            open::diagnose(&server).await.unwrap_or_else(|error| vec![Diagnostic::error("database", error.to_string())])
        }
        Err(error) => vec![Diagnostic::error("database", error.to_string())],
    }
}

/// Something that differs between the servers of a database. Only pauses depend on it.
fn seed(server: &Arc<Server>) -> u64 {
    u64::from(std::process::id()) << 32 ^ Arc::as_ptr(server).addr() as u64
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Sessions for reads that may take long, and the places of those who use them.
struct Sessions {
    pool: Pool,
    places: Arc<Fair>,
}

impl Sessions {
    fn new(server: &Arc<Server>, (number, share): (usize, usize)) -> Result<Self, StoreError> {
        Ok(Self { pool: server.pool(Work::Read, number)?, places: Fair::new(number, share) })
    }
}

/// Runs a read on a session of its own, and once more where that session had ended. It goes on when its caller has hung
/// up: a session goes back to the others only after its statement.
async fn scan<T: Send + 'static, A: Send + Sync + 'static>(
    sessions: &Sessions,
    workspace: &WorkspaceId,
    arguments: A,
    work: for<'a> fn(&'a ClientWrapper, &'a A) -> BoxFuture<'a, Result<T, Failure>>,
) -> Result<T, StoreError> {
    let (pool, place) = (sessions.pool.clone(), sessions.places.enter(workspace).await?);
    let read = tokio::spawn(async move {
        let _place = place;
        let mut again = true;
        loop {
            let outcome = match pool.get().await {
                Ok(db) => match timeout(SCAN_TIMEOUT, work(&db, &arguments)).await {
                    Ok(outcome) => outcome,
                    Err(_) => {
                        // Its statement goes on, and nobody else should wait for that.
                        drop(Object::take(db));
                        Err(late())
                    }
                },
                Err(error) => Err(error.into()),
            };
            match outcome {
                Err(failure) if again && failure.is_disconnected() => again = false,
                outcome => return Ok(outcome?),
            }
        }
    });
    read.await.map_err(|error| StoreError::Internal(error.to_string()))?
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

fn one(id: &CallId) -> Touched {
    Touched { ids: vec![id.clone()], key: None }
}

#[async_trait]
impl CallStore for PostgresStore {
    async fn get_call(&self, workspace: &WorkspaceId, id: &CallId) -> Result<Option<StoredCall>, StoreError> {
        let Some(row) = self.lines.call(workspace, id.as_str()).await? else { return Ok(None) };
        Ok(Some(StoredCall { sequence: row.try_get(0)?, body: Bytes::copy_from_slice(row.try_get(1)?) }))
    }

    async fn create_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        input: CallInput,
        key: Option<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError> {
        let key = key.map(|key| Ok::<_, StoreError>((key, request_hash(&input)?))).transpose()?;
        let touched = Touched { ids: vec![id.clone()], key: key.as_ref().map(|(key, _)| key.0.clone()) };
        let id = id.clone();
        self.writer.run(workspace, touched, move |plan| plan.create(&id, &input, key.as_ref(), &now)).await
    }

    async fn replace_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        input: CallInput,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<WrittenCall, StoreError> {
        let (touched, id) = (one(id), id.clone());
        self.writer.run(workspace, touched, move |plan| plan.put(&id, &input, &precondition, &now)).await
    }

    async fn update_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        patch: CallPatch,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<Option<WrittenCall>, StoreError> {
        let (touched, id) = (one(id), id.clone());
        self.writer.run(workspace, touched, move |plan| plan.patch(&id, &patch, &precondition, &now)).await
    }

    async fn delete_call(
        &self,
        workspace: &WorkspaceId,
        id: &CallId,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (touched, id) = (one(id), id.clone());
        self.writer.run(workspace, touched, move |plan| plan.delete(&id, &precondition, &now)).await
    }

    async fn import_calls(
        &self,
        workspace: &WorkspaceId,
        calls: Vec<(CallId, CallInput)>,
        now: Timestamp,
    ) -> Result<Vec<Result<WriteOutcome, FieldErrors>>, StoreError> {
        let touched = Touched { ids: calls.iter().map(|(id, _)| id.clone()).collect(), key: None };
        self.writer.run(workspace, touched, move |plan| plan.import(&calls, &now)).await
    }

    async fn list_calls(&self, workspace: &WorkspaceId, query: &ListQuery) -> Result<CallPage, StoreError> {
        let cursor = query.cursor.as_ref();
        let after = cursor.map(|cursor| self.seal.open_list(workspace, query, cursor)).transpose()?;
        let arguments = (workspace.clone(), query.clone(), after, Arc::clone(&self.seal));
        scan(&self.scans, workspace, arguments, |db, (workspace, query, after, seal)| {
            Box::pin(read::list_calls(db, workspace, query, after.as_ref(), seal))
        })
        .await
    }

    async fn get_call_metrics(&self, workspace: &WorkspaceId, query: &MetricsQuery) -> Result<CallMetrics, StoreError> {
        let arguments = (workspace.clone(), query.clone());
        scan(&self.scans, workspace, arguments, |db, (workspace, query)| {
            Box::pin(metrics::get_call_metrics(db, workspace, query))
        })
        .await
    }

    async fn export_calls(
        &self,
        workspace: &WorkspaceId,
        filter: &CallFilter,
    ) -> Result<mpsc::Receiver<Result<Bytes, StoreError>>, StoreError> {
        let place = Exports::enter(&self.exports, workspace)?;
        let (chunks, severity, receiver) = exports::channel();
        let (workspace, filter, server) = (workspace.clone(), filter.clone(), Arc::clone(&self.server));
        tokio::spawn(async move {
            let deadline = Instant::now() + exports::TIMEOUT;
            let export = async {
                let db = server.client(Work::Export).await?;
                read::export_calls(&db, &workspace, &filter, &chunks).await
            };
            // A reader that takes a byte now and then must not keep the snapshot for ever.
            let outcome = timeout_at(deadline, export).await;
            if let Err(failure) = outcome.unwrap_or_else(|_| Err(read::slow_reader())) {
                severity.send(Err(failure.into()));
            }
            drop(place);
        });
        Ok(receiver)
    }

    async fn list_call_changes(
        &self,
        workspace: &WorkspaceId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ChangeBatch, StoreError> {
        let after = self.seal.start_of_feed(workspace, cursor)?;
        // First: whatever has a number up to this one is committed, and so is everything before it.
        let last = self.lines.last_sequence(workspace).await?;
        let arguments = (workspace.clone(), after.unwrap_or(last), last, limit, Arc::clone(&self.seal));
        scan(&self.followers, workspace, arguments, |db, (workspace, after, last, limit, seal)| {
            Box::pin(read::list_call_changes(db, workspace, *after..*last, *limit, seal))
        })
        .await
    }

    async fn wait_for_change(&self, workspace: &WorkspaceId, cursor: &str) -> Result<(), StoreError> {
        let after = self.seal.open_feed(workspace, cursor)?;
        // Before the look: what is committed after it is announced.
        let mut announcements = self.feed.subscribe(workspace);
        while self.lines.last_sequence(workspace).await? <= after {
            tokio::select! {
                heard = announcements.changed() => heard.map_err(|_| closed())?,
                () = sleep(self.listener.look()) => {}
            }
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.lines.call(&"check".parse().map_err(|_| closed())?, "").await?;
        self.writer.check().await
    }

    async fn close(&self) {
        self.writer.close().await;
        self.listening.abort();
        self.scans.pool.close();
        self.followers.pool.close();
    }
}
