//! PostgreSQL: the store next to a bare driver that sends the store's own statements, read from the server's log, so that
//! they cannot differ.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use callhistory_model::{CallId, CallInput, ListQuery, Timestamp, WorkspaceId};
use callhistory_store::{CallStore, Precondition, open};
use callhistory_test_support::{
    history::{Call, History, Period, WORKSPACE},
    postgres::Cluster,
};
use tokio_postgres::{
    Client, NoTls, Row, Statement,
    types::{ToSql, Type},
};

use crate::{
    bench::Bench,
    error::BoxError,
    load::{median, to_f64},
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
        let input = CallInput::from_json(call.json.as_bytes()).map_err(|faults| format!("{faults:?}"))?;
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
    texts: Texts,
    writer: Arc<BareWriter>,
    calls: Arc<Vec<(CallId, CallInput)>>,
    time: Duration,
}

/// Statements as the store sent them.
#[derive(Clone)]
struct Texts {
    get: String,
    page: String,
    lock: String,
    take: String,
    insert: String,
    change: String,
}

impl Texts {
    /// Every statement of a database that the log has.
    fn read(log: &str, database: &str) -> Result<Self, BoxError> {
        let mut texts = Vec::new();
        let mut lines = log.lines().peekable();
        while let Some(line) = lines.next() {
            if line.starts_with(&format!("{database} ")) && line.ends_with("plan:") {
                let mut json = String::new();
                while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
                    json.push_str(more);
                }
                let plan: serde_json::Value = serde_json::from_str(&json)?;
                texts.extend(plan["Query Text"].as_str().map(str::to_owned));
            }
        }
        let find = |part: &str| {
            let found = texts.iter().rev().find(|text| text.contains(part));
            found.cloned().ok_or_else(|| format!("the log has no {part}"))
        };
        Ok(Self {
            get: find("SELECT sequence, body FROM call")?,
            page: find("octet_length(p.body)")?,
            lock: find("FOR UPDATE")?,
            take: find("INTO workspace")?,
            insert: find("INTO call")?,
            change: find("INTO change")?,
        })
    }
}

async fn session(url: &str) -> Result<Client, BoxError> {
    let (client, session) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(session);
    client.batch_execute("SET enable_seqscan = off; SET jit = off").await?;
    Ok(client)
}

/// Writes groups of rows as the store does, with everything computed in advance.
struct BareWriter {
    client: Client,
    statements: [Statement; 4],
    rows: Vec<Row>,
}

/// The columns of a group, taken from stored rows; the ids differ.
const COLUMNS: &str =
    "sort_time, created_at, updated_at, duration, cost, agent_id, call_flow_id, batch_id, call_id, status,
    direction, call_type, from_phone_number, to_phone_number, terms::text, body";

impl BareWriter {
    async fn new(url: &str, texts: &Texts) -> Result<Self, BoxError> {
        let client = session(url).await?;
        let rows = client.query(&format!("SELECT {COLUMNS} FROM call LIMIT {TASKS}"), &[]).await?;
        let statements = [
            client.prepare(&texts.lock).await?,
            client.prepare(&texts.take).await?,
            client.prepare(&texts.insert).await?,
            client.prepare(&texts.change).await?,
        ];
        Ok(Self { client, statements, rows })
    }

    async fn write(&self, number: u64) -> Result<u64, BoxError> {
        let ids: Vec<String> = (0..self.rows.len()).map(|row| format!("bare-{number}-{row}")).collect();
        let (workspace, count) = (WORKSPACE.to_owned(), self.rows.len() as i64);
        let [lock, take, insert, change] = &self.statements;
        let lock_values: [&(dyn ToSql + Sync); 2] = [&workspace, &ids];
        let (begun, locked) =
            tokio::join!(biased; self.client.batch_execute("BEGIN"), self.client.query(lock, &lock_values));
        begun?;
        locked?;
        let integers: Vec<Vec<Option<i64>>> =
            (0..5).map(|column| self.rows.iter().map(|row| row.get(column)).collect()).collect();
        let texts: Vec<Vec<Option<&str>>> =
            (5..15).map(|column| self.rows.iter().map(|row| row.get(column)).collect()).collect();
        let bodies: Vec<&[u8]> = self.rows.iter().map(|row| row.get(15)).collect();
        let numbers: Vec<i64> = (1..=count).collect();
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&workspace, &count, &ids, &numbers];
        values.extend(integers.iter().map(|column| column as &(dyn ToSql + Sync)));
        values.extend(texts.iter().map(|column| column as &(dyn ToSql + Sync)));
        values.push(&bodies);
        let (kinds, times) = (vec![1_i16; ids.len()], vec![0_i64; ids.len()]);
        let take_values: [&(dyn ToSql + Sync); 2] = [&workspace, &count];
        let changes: [&(dyn ToSql + Sync); 6] = [&workspace, &count, &numbers, &kinds, &ids, &times];
        let (taken, inserted, changed, committed) = tokio::join!(
            biased;
            self.client.query_one(take, &take_values),
            self.client.execute(insert, &values),
            self.client.execute(change, &changes),
            self.client.batch_execute("COMMIT"),
        );
        taken?;
        changed?;
        committed?;
        Ok(inserted?)
    }
}

async fn put(store: Arc<dyn CallStore>, number: u64, input: CallInput) -> Result<u64, BoxError> {
    let any = Precondition::default();
    store.replace_call(&workspace()?, &call_id(number)?, input, any, now()?).await?;
    Ok(1)
}

impl Sides {
    /// Whether both sides read the same record and the same page.
    async fn compare(&self) -> Result<(), BoxError> {
        let (id, _) = self.calls.last().ok_or("there are no calls")?;
        let ours = self.postgres.get_call(&workspace()?, id).await?.ok_or("a record is missing")?;
        let (client, statement) = self.sessions.first().ok_or("there are no sessions")?;
        let row = client.query_one(statement, &[&WORKSPACE, &id.as_str()]).await?;
        let query = ListQuery { limit: Some(50), ..ListQuery::default() };
        let page = self.postgres.list_calls(&workspace()?, &query).await?;
        let values: [(&(dyn ToSql + Sync), Type); 4] =
            [(&WORKSPACE, Type::TEXT), (&51_i64, Type::INT8), (&0_i64, Type::INT8), (&51_i64, Type::INT8)];
        let rows = self.scans.first().ok_or("there are no sessions")?.query_typed(&self.texts.page, &values).await?;
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
                    let query = ListQuery { limit: Some(50), ..ListQuery::default() };
                    Ok(u64::from(store.list_calls(&workspace()?, &query).await?.calls.len() == 50))
                }
            }
        };
        let (scans, text) = (Arc::clone(&self.scans), self.texts.page.clone());
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
        store.import_calls(&workspace()?, batch.to_vec(), now()?).await?;
    }
    Ok(())
}

/// The statements of the store, as it sends them.
async fn texts(cluster: &Cluster) -> Result<Texts, BoxError> {
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
    Texts::read(&fs::read_to_string(cluster.log())?, &name)
}

pub(crate) async fn next_to_bare(bench: &Bench) -> Outcome {
    let calls = Arc::new(calls(bench.history, if bench.quick { 500 } else { 50_000 })?);
    let cluster = Cluster::start(&[
        "shared_buffers = '1GB'",
        "max_wal_size = '8GB'",
        "log_line_prefix = '%d '",
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_format = 'json'",
    ])?;
    let texts = texts(&cluster).await?;
    let url = cluster.url(&cluster.database(None)?);
    let postgres = open(&url.parse()?).await?;
    fill(&*postgres, &calls).await?;
    let admin = session(&url).await?;
    admin.batch_execute("VACUUM ANALYZE").await?;
    admin.batch_execute("CHECKPOINT").await?;
    let (mut sessions, mut scans) = (Vec::new(), Vec::new());
    for _ in 0..SESSIONS {
        let client = session(&url).await?;
        let statement = client.prepare(&texts.get).await?;
        sessions.push((client, statement));
    }
    for _ in 0..SCANS {
        scans.push(session(&url).await?);
    }
    let writer = Arc::new(BareWriter::new(&url, &texts).await?);
    let time = bench.time();
    let sides = Sides { postgres, sessions: Arc::new(sessions), scans: Arc::new(scans), texts, writer, calls, time };
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
