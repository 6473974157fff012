//! PostgreSQL: the store compared with a bare driver that sends the store's own statements.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use callhistory_model::{CallId, CallInput, ListQuery, Timestamp, WorkspaceId};
use callhistory_store::{CallStore, ImportOptions, Precondition, open};
use callhistory_test_support::{
    history::{Call, History, Period, WORKSPACE},
    postgres::Cluster,
};
use tokio_postgres::{
    Client, Statement,
    types::{ToSql, Type},
};

use crate::{
    bench::Bench,
    error::BoxError,
    load::{median, to_f64},
    peers::postgres_baseline::{BareWriter, StoreStatements, session},
    table::{Goal, Line, Outcome},
};

const TASKS: usize = 64;
/// Sessions of the bare driver: as many as the store has for point reads and for lists.
const SESSIONS: usize = 4;
const SCANS: usize = 8;

/// The calls of the largest workspace of a history, with their ids.
fn calls(history: History, count: u32) -> Result<Vec<(CallId, CallInput)>, BoxError> {
    let calls = history.calls(1, count, Period::PAST).filter(|call| call.workspace == WORKSPACE);
    let input = |call: Call| {
        let input = CallInput::from_json(call.json.as_bytes()).map_err(|errors| errors.to_string())?;
        Ok((call.id.parse()?, input))
    };
    calls.map(input).collect()
}

fn call_id(number: u64) -> Result<CallId, BoxError> {
    Ok(format!("{number:024x}").parse()?)
}

fn workspace() -> Result<WorkspaceId, BoxError> {
    Ok(WORKSPACE.parse()?)
}

fn now() -> Result<Timestamp, BoxError> {
    Ok("2026-01-01T00:00:00Z".parse()?)
}

/// How often a second concurrent tasks do some work.
async fn rate<F>(
    time: Duration,
    tasks: usize,
    work: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Result<f64, BoxError>
where
    F: Future<Output = Result<u64, BoxError>> + Send,
{
    let (done, next) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (work, done, next) = (work.clone(), Arc::clone(&done), Arc::clone(&next));
            tokio::spawn(async move {
                while start.elapsed() < time {
                    let count = work(next.fetch_add(1, Ordering::Relaxed)).await?;
                    done.fetch_add(count, Ordering::Relaxed);
                }
                Ok::<_, BoxError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(to_f64(done.load(Ordering::Relaxed) as usize) / start.elapsed().as_secs_f64())
}

/// The sides of the comparison.
struct Sides {
    postgres: Arc<dyn CallStore>,
    sessions: Arc<Vec<(Client, Statement)>>,
    scans: Arc<Vec<Client>>,
    statements: StoreStatements,
    writer: Arc<BareWriter>,
    calls: Arc<Vec<(CallId, CallInput)>>,
    time: Duration,
}

async fn put(store: Arc<dyn CallStore>, number: u64, input: CallInput) -> Result<u64, BoxError> {
    let any = Precondition::default();
    store.replace_call(&workspace()?, &call_id(number)?, input.into(), any, now()?).await?;
    Ok(1)
}

impl Sides {
    /// Whether both sides read the same record and the same page.
    async fn compare(&self) -> Result<(), BoxError> {
        let (id, _) = self.calls.last().ok_or("there are no calls")?;
        let ours = self.postgres.get_call(&workspace()?, id).await?.ok_or("a record is missing")?;
        let (client, statement) = self.sessions.first().ok_or("there are no sessions")?;
        let row = client.query_one(statement, &[&WORKSPACE, &id.as_str()]).await?;
        let query = ListQuery::new().limit(50);
        let page = self.postgres.list_calls(&workspace()?, &query).await?;
        let values: [(&(dyn ToSql + Sync), Type); 4] =
            [(&WORKSPACE, Type::TEXT), (&51_i64, Type::INT8), (&0_i64, Type::INT8), (&51_i64, Type::INT8)];
        let rows =
            self.scans.first().ok_or("there are no sessions")?.query_typed(&self.statements.page, &values).await?;
        let is_same_page = page.calls.iter().zip(&rows).all(|(body, row)| body[..] == *row.get::<_, &[u8]>(0));
        if row.get::<_, &[u8]>(1) == &ours.body[..] && is_same_page && (page.calls.len(), rows.len()) == (50, 51) {
            return Ok(());
        }
        Err("the bare driver reads something else".into())
    }

    async fn get(&self) -> Result<[f64; 2], BoxError> {
        let read = |store: Arc<dyn CallStore>| {
            let calls = Arc::clone(&self.calls);
            move |number: u64| {
                let (store, calls) = (Arc::clone(&store), Arc::clone(&calls));
                async move {
                    let (id, _) = &calls[number.wrapping_mul(7919) as usize % calls.len()];
                    store.get_call(&workspace()?, id).await?.ok_or("a record is missing")?;
                    Ok(1)
                }
            }
        };
        let (sessions, calls) = (Arc::clone(&self.sessions), Arc::clone(&self.calls));
        let bare = move |number: u64| {
            let (sessions, calls) = (Arc::clone(&sessions), Arc::clone(&calls));
            async move {
                let (client, statement) = &sessions[number as usize % SESSIONS];
                let (id, _) = &calls[number.wrapping_mul(7919) as usize % calls.len()];
                let row = client.query_opt(statement, &[&WORKSPACE, &id.as_str()]).await?;
                let body = bytes::Bytes::copy_from_slice(row.ok_or("a record is missing")?.get(1));
                Ok(u64::from(!body.is_empty()))
            }
        };
        let postgres = rate(self.time, TASKS, read(Arc::clone(&self.postgres))).await?;
        Ok([postgres, rate(self.time, TASKS, bare).await?])
    }

    async fn page(&self) -> Result<[f64; 2], BoxError> {
        let list = |store: Arc<dyn CallStore>| {
            move |_| {
                let store = Arc::clone(&store);
                async move {
                    let query = ListQuery::new().limit(50);
                    Ok(u64::from(store.list_calls(&workspace()?, &query).await?.calls.len() == 50))
                }
            }
        };
        let (scans, text) = (Arc::clone(&self.scans), self.statements.page.clone());
        let bare = move |number: u64| {
            let (scans, text) = (Arc::clone(&scans), text.clone());
            async move {
                let values: [(&(dyn ToSql + Sync), Type); 4] =
                    [(&WORKSPACE, Type::TEXT), (&51_i64, Type::INT8), (&0_i64, Type::INT8), (&51_i64, Type::INT8)];
                let rows = scans[number as usize % SCANS].query_typed(&text, &values).await?;
                let bodies: Vec<_> = rows.iter().map(|row| bytes::Bytes::copy_from_slice(row.get(0))).collect();
                if bodies.len() == 51 { Ok(1) } else { Err("a page is not whole".into()) }
            }
        };
        let postgres = rate(self.time, SCANS, list(Arc::clone(&self.postgres))).await?;
        Ok([postgres, rate(self.time, SCANS, bare).await?])
    }

    async fn write(&self, round: u64) -> Result<[f64; 2], BoxError> {
        let write = |store: Arc<dyn CallStore>| {
            let calls = Arc::clone(&self.calls);
            move |number: u64| {
                let (_, input) = &calls[number as usize % calls.len()];
                // The times of the stored call are not those of a new one, and the id is another.
                let input = CallInput { id: None, created_at: None, updated_at: None, ..input.clone() };
                put(Arc::clone(&store), (round + 1) * 100_000_000 + number, input)
            }
        };
        let writer = Arc::clone(&self.writer);
        let bare = move |number: u64| {
            let writer = Arc::clone(&writer);
            async move { writer.write((round + 1) * 100_000_000 + number).await }
        };
        let postgres = rate(self.time, TASKS, write(Arc::clone(&self.postgres))).await?;
        Ok([postgres, rate(self.time, 1, bare).await?])
    }
}

/// Fills a store in batches, as an import does.
async fn fill(store: &dyn CallStore, calls: &[(CallId, CallInput)]) -> Result<(), BoxError> {
    for batch in calls.chunks(2000) {
        let calls = batch.iter().map(|(id, input)| (id.clone(), input.clone().into())).collect();
        store.import_calls(&workspace()?, calls, ImportOptions::default(), now()?).await?;
    }
    Ok(())
}

/// Records the statements that the store sends.
async fn record_statements(cluster: &Cluster) -> Result<StoreStatements, BoxError> {
    let name = cluster.database(None)?;
    let admin = session(&cluster.url("postgres")).await?;
    admin.batch_execute(&format!("ALTER DATABASE {name} SET auto_explain.log_min_duration = 0")).await?;
    let store = open(&cluster.url(&name).parse()?).await?;
    put(Arc::clone(&store), 1, CallInput::default()).await?;
    store.get_call(&workspace()?, &call_id(1)?).await?;
    store.list_calls(&workspace()?, &ListQuery::default()).await?;
    store.close().await;
    drop(store);
    tokio::time::sleep(Duration::from_millis(500)).await;
    StoreStatements::read(&fs::read_to_string(cluster.log())?, &name)
}

pub(crate) async fn compared_with_bare(bench: &Bench) -> Outcome {
    let calls = Arc::new(calls(bench.history, if bench.quick { 500 } else { 50_000 })?);
    let cluster = Cluster::start(&[
        "shared_buffers = '1GB'",
        "max_wal_size = '8GB'",
        "log_line_prefix = '%d '",
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_format = 'json'",
    ])?;
    let statements = record_statements(&cluster).await?;
    let url = cluster.url(&cluster.database(None)?);
    let postgres = open(&url.parse()?).await?;
    fill(&*postgres, &calls).await?;
    let admin = session(&url).await?;
    admin.batch_execute("VACUUM ANALYZE").await?;
    admin.batch_execute("CHECKPOINT").await?;
    let (mut sessions, mut scans) = (Vec::new(), Vec::new());
    for _ in 0..SESSIONS {
        let client = session(&url).await?;
        let statement = client.prepare(&statements.get).await?;
        sessions.push((client, statement));
    }
    for _ in 0..SCANS {
        scans.push(session(&url).await?);
    }
    let writer = Arc::new(BareWriter::new(&url, &statements, TASKS).await?);
    let time = bench.time();
    let sides =
        Sides { postgres, sessions: Arc::new(sessions), scans: Arc::new(scans), statements, writer, calls, time };
    sides.compare().await?;
    let mut measured: [[Vec<f64>; 2]; 3] = Default::default();
    for round in 0..bench.rounds() {
        let rates = [sides.get().await?, sides.page().await?, sides.write(round as u64).await?];
        for (row, rates) in measured.iter_mut().zip(rates) {
            row.iter_mut().zip(rates).for_each(|(side, rate)| side.push(rate));
        }
    }
    sides.postgres.close().await;
    let names = ["get_call, 64 at once", "list_calls of 50, 8 at once", "durable writes, 64 at once"];
    let lines = names.iter().zip(measured).map(|(name, [ours, bare])| {
        let (ours, bare) = (median(ours), median(bare));
        let line = Line::new(format!("PostgreSQL: {name}"), Goal::AtLeast(0.8), ours / bare, "×");
        line.between(format!("{ours:.0}/s"), format!("{bare:.0}/s"))
    });
    Ok(lines.collect())
}
