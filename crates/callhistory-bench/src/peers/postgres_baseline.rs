//! The baseline of PostgreSQL: a bare driver that sends the statements of the store, which are read from the server's log. The two
//! cannot differ.

use callhistory_test_support::history::WORKSPACE;
use tokio_postgres::{Client, NoTls, Row, Statement, types::ToSql};

use crate::error::BoxError;

/// Statements as the store sent them.
#[derive(Clone)]
pub(crate) struct StoreStatements {
    pub(crate) get: String,
    pub(crate) page: String,
    lock: String,
    take: String,
    insert: String,
    change: String,
}

impl StoreStatements {
    /// Every statement of a database that the log has.
    pub(crate) fn read(log: &str, database: &str) -> Result<Self, BoxError> {
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
            get: find("SELECT sequence, digest, transcript_digest, body, transcript FROM call")?,
            page: find("octet_length(c.body)")?,
            lock: find("FOR UPDATE")?,
            take: find("INTO workspace")?,
            insert: find("INTO call")?,
            change: find("INTO change")?,
        })
    }
}

pub(crate) async fn session(url: &str) -> Result<Client, BoxError> {
    let (client, session) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(session);
    client.batch_execute("SET enable_seqscan = off; SET jit = off").await?;
    Ok(client)
}

/// Writes groups of rows as the store does, with everything computed in advance.
pub(crate) struct BareWriter {
    client: Client,
    statements: [Statement; 4],
    rows: Vec<Row>,
}

/// The columns of a group, taken from stored rows; the ids differ.
const COLUMNS: &str =
    "sort_time, created_at, updated_at, duration, cost, talk_time, caller, agent_id, call_flow_id, batch_id, call_id, status,
    direction, call_type, outcome, from_phone_number, to_phone_number, currency, is_answered, terms::text, digest,
    transcript_digest, body, transcript";

impl BareWriter {
    pub(crate) async fn new(url: &str, texts: &StoreStatements, group: usize) -> Result<Self, BoxError> {
        let client = session(url).await?;
        let rows = client.query(&format!("SELECT {COLUMNS} FROM call LIMIT {group}"), &[]).await?;
        let statements = [
            client.prepare(&texts.lock).await?,
            client.prepare(&texts.take).await?,
            client.prepare(&texts.insert).await?,
            client.prepare(&texts.change).await?,
        ];
        Ok(Self { client, statements, rows })
    }

    pub(crate) async fn write(&self, number: u64) -> Result<u64, BoxError> {
        let ids: Vec<String> = (0..self.rows.len()).map(|row| format!("bare-{number}-{row}")).collect();
        let (workspace, count) = (WORKSPACE.to_owned(), self.rows.len() as i64);
        let [lock, take, insert, change] = &self.statements;
        let lock_values: [&(dyn ToSql + Sync); 2] = [&workspace, &ids];
        let (begun, locked) =
            tokio::join!(biased; self.client.batch_execute("BEGIN"), self.client.query(lock, &lock_values));
        begun?;
        locked?;
        let integers: Vec<Vec<Option<i64>>> =
            (0..7).map(|column| self.rows.iter().map(|row| row.get(column)).collect()).collect();
        let texts: Vec<Vec<Option<&str>>> =
            (7..18).map(|column| self.rows.iter().map(|row| row.get(column)).collect()).collect();
        let are_answered: Vec<bool> = self.rows.iter().map(|row| row.get(18)).collect();
        let terms: Vec<Option<&str>> = self.rows.iter().map(|row| row.get(19)).collect();
        let digests: Vec<Vec<Option<i64>>> =
            (20..22).map(|column| self.rows.iter().map(|row| row.get(column)).collect()).collect();
        let bodies: Vec<Vec<Option<&[u8]>>> =
            (22..24).map(|column| self.rows.iter().map(|row| row.get(column)).collect()).collect();
        let numbers: Vec<i64> = (1..=count).collect();
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&workspace, &count, &ids, &numbers];
        values.extend(integers.iter().map(|column| column as &(dyn ToSql + Sync)));
        values.extend(texts.iter().map(|column| column as &(dyn ToSql + Sync)));
        values.extend([&are_answered as &(dyn ToSql + Sync), &terms]);
        values.extend(digests.iter().map(|column| column as &(dyn ToSql + Sync)));
        values.extend(bodies.iter().map(|column| column as &(dyn ToSql + Sync)));
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
