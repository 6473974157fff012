//! Lists.

use callhistory_model::{CallFilter, CallRecord, ListQuery, Sort, WorkspaceId};
use futures_util::{TryStreamExt as _, pin_mut};
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use super::get::{RECORD_BYTES, record_bytes, record_digest};
use crate::{
    domain::{
        cursor::{CursorSigner, ListPosition},
        options::StoreOptions,
        page::{self, PAGE_BYTES, Page, PageWindow},
        phone_number::NumberingPlan,
        predicate::{self, BodyTest, Choice, FilterClause, Predicate, TermTest},
        search_terms::Term,
        strategy::{Strategy, Thresholds},
    },
    error::StoreError,
    postgres::error::PgError,
    record_bytes::RecordBytes,
    results::CallPage,
    sql::{Dialect, Sql, Value},
};

/// Records of the first fetch if bodies are tested; each further fetch has four times as many.
const CANDIDATES: usize = 200;
const MAX_CANDIDATES: usize = 5_000;

/// A column in place of a transcript that nothing reads.
pub(crate) const NO_TRANSCRIPT: &str = "NULL::bytea";

/// A list: a filter and an order.
pub(crate) struct PgListing<'a> {
    workspace: &'a WorkspaceId,
    predicate: Predicate,
    /// The tests that read the body.
    pub(crate) bodies: Vec<BodyTest>,
    /// Whether the records of the page have their transcripts.
    pub(crate) has_transcripts: bool,
    /// Terms that the ranges imply: they exclude records without the number.
    implied: Vec<Term>,
    sort: Sort,
    index: &'static str,
    key: &'static str,
}

/// A record that a statement found.
struct FoundRecord {
    body: Vec<u8>,
    transcript: Option<Vec<u8>>,
    position: ListPosition,
}

impl FoundRecord {
    fn bytes(&self) -> RecordBytes<'_> {
        RecordBytes { body: &self.body, transcript: self.transcript.as_deref() }
    }
}

/// Records in order that match the tests in SQL.
struct Candidates {
    entries: Vec<FoundRecord>,
    more: bool,
    strategy: Strategy,
}

impl<'a> PgListing<'a> {
    pub(crate) fn new(workspace: &'a WorkspaceId, filter: &CallFilter, sort: Sort, plan: NumberingPlan) -> Self {
        let (index, key) = predicate::sort_index(sort.key);
        let compiled = Predicate::new(workspace, filter, plan);
        let bodies = compiled.clauses.iter().filter_map(|clause| match clause {
            FilterClause::Terms { body, .. } => body.clone(),
            _ => None,
        });
        let bodies = bodies.collect();
        let implied = if compiled.clauses.is_empty() { Vec::new() } else { compiled.implied(workspace) };
        Self { workspace, predicate: compiled, bodies, has_transcripts: true, implied, sort, index, key }
    }

    /// The transcript as a column, if a page needs it.
    pub(crate) fn transcript_column(&self) -> &'static str {
        let is_needed = self.has_transcripts || self.bodies.iter().any(BodyTest::reads_transcript);
        if is_needed { "c.transcript" } else { NO_TRANSCRIPT }
    }

    /// A found record as the page has it.
    pub(crate) fn shown<'b>(&self, bytes: RecordBytes<'b>) -> RecordBytes<'b> {
        if self.has_transcripts { bytes } else { RecordBytes::without_transcript(bytes.body) }
    }

    /// The order of an export.
    pub(crate) fn order(&self) -> String {
        let (key, direction) = (self.key, self.direction());
        format!("{key} {direction}, c.id {direction}")
    }

    fn direction(&self) -> &'static str {
        if self.sort.ascending { "ASC" } else { "DESC" }
    }

    /// The records after a position that match every test.
    async fn page(&self, db: &Client, window: PageWindow<'_>, thresholds: Thresholds) -> Result<Page, PgError> {
        let PageWindow { after, limit, offset } = window;
        if self.bodies.is_empty() {
            let Candidates { entries, more, strategy } = self.candidates(db, window, thresholds).await?;
            let mut page = Page { more, strategy: Some(strategy), ..Page::default() };
            if let Some(first) = entries.first() {
                page.calls.reserve(entries.len(), first.bytes().len());
            }
            entries.iter().for_each(|entry| page.calls.push(self.shown(entry.bytes())));
            page.last = entries.into_iter().next_back().map(|entry| entry.position);
            return Ok(page);
        }
        let (mut after, mut skip) = (after.cloned(), offset);
        let (mut page, mut most) = (Page::default(), limit.max(CANDIDATES));
        loop {
            let window = PageWindow { after: after.as_ref(), limit: most, offset: 0 };
            let candidates = self.candidates(db, window, thresholds).await?;
            page.strategy = Some(candidates.strategy);
            most = MAX_CANDIDATES.min(4 * most);
            for entry in candidates.entries {
                after = Some(entry.position.clone());
                if !passes(&self.bodies, entry.bytes()) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                if page.calls.len() == limit || page.calls.bytes() >= PAGE_BYTES {
                    page.more = true;
                    return Ok(page);
                }
                page.calls.push(self.shown(entry.bytes()));
                page.last = Some(entry.position);
            }
            if !candidates.more {
                return Ok(page);
            }
        }
    }

    /// The records of a window that match the tests in SQL: those of the first strategy of the plan that does not give up.
    async fn candidates(
        &self,
        db: &Client,
        window: PageWindow<'_>,
        thresholds: Thresholds,
    ) -> Result<Candidates, PgError> {
        let has_filter = !self.rest(&mut new_statement(), false).is_empty();
        for strategy in Strategy::postgres_plan(has_filter, window.wanted(), thresholds) {
            if let Some(found) = self.execute(db, strategy, window).await? {
                return Ok(found);
            }
        }
        Err(StoreError::Internal("no strategy found a page".to_owned()).into())
    }

    /// Runs a strategy; `None` if it gives up.
    async fn execute(
        &self,
        db: &Client,
        strategy: Strategy,
        window: PageWindow<'_>,
    ) -> Result<Option<Candidates>, PgError> {
        let PageWindow { after, limit, offset } = window;
        let (mut sql, key, direction) = (new_statement(), self.key, self.direction());
        let start = self.start(&mut sql, after);
        // One more row tells whether there is a next page.
        let bounds = format!("LIMIT {} OFFSET {}", sql.bind(limit as i64 + 1), sql.bind(offset as i64));
        let order = format!("ORDER BY k {direction}, i {direction}");
        let transcript_column = self.transcript_column();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX - 1);
        let page = match strategy {
            Strategy::FilterThenSort { max_records } => {
                let most = sql.bind(count(max_records));
                let rest = all(self.rest(&mut sql, true));
                // The found records have no bodies; only those of the page are fetched. If there are too many, one row says so.
                format!(
                    "WITH found AS MATERIALIZED (SELECT {key} AS k, c.id AS i FROM call c WHERE {start} AND {rest}),
                     few AS MATERIALIZED (SELECT k, i FROM found LIMIT {most} + 1),
                     counted AS MATERIALIZED (SELECT count(*) > {most} AS too_many FROM few)
                     SELECT f.k, f.i, c.digest, c.transcript_digest, c.body, {transcript_column} AS transcript FROM (
                         SELECT k, i FROM few WHERE NOT (SELECT too_many FROM counted) {order} {bounds}
                     ) f JOIN call c ON c.workspace_id = $1 AND c.id = f.i
                     UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL FROM counted WHERE too_many"
                )
            }
            // A scan of the index of the sort, from the cursor; its rows are then filtered.
            scan => {
                let row_budget =
                    if let Strategy::BoundedScan { row_budget } = scan { row_budget } else { window.wanted() };
                let most = sql.bind(count(row_budget));
                let rest = all(self.rest(&mut sql, false));
                format!(
                    "SELECT {key} AS k, c.id AS i, c.digest, c.transcript_digest, c.body, {transcript_column} AS transcript FROM (
                         SELECT * FROM call c WHERE {start} ORDER BY {key} {direction}, c.id {direction} LIMIT {most}
                     ) c WHERE {rest} {order} {bounds}"
                )
            }
        };
        // The database sends no bodies beyond the size of a page.
        let text = format!(
            "SELECT c.k, c.i, c.digest, c.transcript_digest, CASE WHEN c.fits THEN c.body END,
                 CASE WHEN c.fits THEN c.transcript END
             FROM (SELECT c.*, sum({RECORD_BYTES} + 1) OVER before - ({RECORD_BYTES} + 1) < {PAGE_BYTES} AS fits
                 FROM ({page}) c WINDOW before AS ({order} ROWS UNBOUNDED PRECEDING)) c {order}"
        );
        let rows = db.query_typed(&text, &parameters(&sql)).await?;
        if rows.first().map_or(Ok(false), |row| Ok::<_, PgError>(row.try_get::<_, Option<&str>>(1)?.is_none()))? {
            return Ok(None);
        }
        let mut entries = Vec::with_capacity(rows.len().min(limit));
        for row in &rows {
            let Some(body) = row.try_get::<_, Option<&[u8]>>(4)?.filter(|_| entries.len() < limit) else {
                return Ok(Some(Candidates { entries, more: true, strategy }));
            };
            let (id, transcript): (&str, Option<&[u8]>) = (row.try_get(1)?, row.try_get(5)?);
            let digest = record_digest(row, 2)?;
            digest.verify_body(self.workspace.as_str(), id, body)?;
            if transcript_column != NO_TRANSCRIPT {
                digest.verify_transcript(transcript)?;
            }
            let id = id.parse();
            let id = id.map_err(|_| StoreError::Internal("a record has an invalid ID".to_owned()))?;
            let position = ListPosition { key: row.try_get(0)?, id };
            entries.push(FoundRecord { body: body.to_vec(), transcript: transcript.map(<[u8]>::to_vec), position });
        }
        // Records can follow the last row of a bounded scan.
        let is_complete = !matches!(strategy, Strategy::BoundedScan { .. });
        Ok(is_complete.then_some(Candidates { entries, more: false, strategy }))
    }

    /// The conditions on the sort index: the workspace, its range, and the cursor.
    pub(crate) fn start(&self, sql: &mut Sql, after: Option<&ListPosition>) -> String {
        let mut parts = vec![format!("c.workspace_id = {}", sql.bind(self.workspace.as_str().to_owned()))];
        parts.extend(self.predicate.every_range().filter(|range| range.index == self.index).filter_map(|r| r.sql(sql)));
        if let Some(after) = after {
            let (key, id) = (sql.bind(after.key), sql.bind(after.id.as_str().to_owned()));
            let (own, beyond) = (self.key, if self.sort.ascending { ">" } else { "<" });
            parts.push(format!("({own}, c.id) {beyond} ({key}, {id})"));
        }
        parts.join(" AND ")
    }

    /// The other conditions of the filter, by terms or by columns.
    pub(crate) fn rest(&self, sql: &mut Sql, by_terms: bool) -> Vec<String> {
        let mut parts = Vec::new();
        for clause in &self.predicate.clauses {
            match clause {
                // An index finds present terms, not absent ones.
                FilterClause::Either { terms, exact, columns, .. } if by_terms && !terms.negated => {
                    parts.push(term_test(sql, terms));
                    parts.extend((!exact).then(|| columns.sql(sql)));
                }
                FilterClause::Either { columns, .. } | FilterClause::Columns(columns) => parts.push(columns.sql(sql)),
                FilterClause::Terms { terms, .. } => parts.push(term_test(sql, terms)),
            }
        }
        if by_terms && !self.implied.is_empty() {
            parts.push(term_test(sql, &TermTest { negated: false, choice: Choice::All(self.implied.clone()) }));
        }
        let others = self.predicate.every_range().filter(|range| range.index != self.index);
        parts.extend(others.filter_map(|range| range.sql(sql)));
        parts
    }

    /// The rows of the filter, in any order. If the body and the transcript are tested, they are the last columns, except in a row
    /// that certainly passes.
    pub(crate) fn rows(&self, columns: &str) -> (String, Sql) {
        let mut sql = new_statement();
        let (start, rest) = (self.start(&mut sql, None), all(self.rest(&mut sql, true)));
        let has_transcript = self.bodies.iter().any(BodyTest::reads_transcript);
        let transcript = if has_transcript { "c.transcript" } else { NO_TRANSCRIPT };
        let certain = if let [test] = &*self.bodies { test.certain() } else { None };
        let body = match certain.map(|terms| term_test(&mut sql, &terms)) {
            _ if self.bodies.is_empty() => String::new(),
            None => format!(", c.body, {transcript}"),
            Some(has) => format!(", CASE WHEN NOT {has} THEN c.body END, CASE WHEN NOT {has} THEN {transcript} END"),
        };
        (format!("SELECT {columns}{body} FROM call c WHERE {start} AND {rest}"), sql)
    }

    /// Whether a row of [`rows`](Self::rows), whose body is at `first`, passes the tests.
    pub(crate) fn passes(&self, row: &Row, first: usize) -> Result<bool, PgError> {
        if self.bodies.is_empty() || row.try_get::<_, Option<&[u8]>>(first)?.is_none() {
            return Ok(true);
        }
        Ok(passes(&self.bodies, record_bytes(row, first)?))
    }

    async fn count(&self, db: &Client) -> Result<u64, PgError> {
        if self.bodies.is_empty() {
            let (text, sql) = self.rows("count(*)");
            let count: i64 = db.query_typed_one(&text, &parameters(&sql)).await?.try_get(0)?;
            return Ok(count.unsigned_abs());
        }
        let (text, sql) = self.rows("NULL");
        let rows = db.query_typed_raw(&text, parameters(&sql)).await?;
        pin_mut!(rows);
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            count += u64::from(self.passes(&row, 1)?);
        }
        Ok(count)
    }
}

pub(crate) fn new_statement() -> Sql {
    Sql::new(Dialect::Postgres)
}

pub(crate) fn all(parts: Vec<String>) -> String {
    if parts.is_empty() { "TRUE".to_owned() } else { parts.join(" AND ") }
}

pub(crate) fn passes(tests: &[BodyTest], bytes: RecordBytes<'_>) -> bool {
    let record: Option<CallRecord> = serde_json::from_slice(&bytes.to_json()).ok();
    record.is_some_and(|record| tests.iter().all(|test| test.holds(&record)))
}

fn term_test(sql: &mut Sql, test: &TermTest) -> String {
    let (terms, operator) = match &test.choice {
        Choice::All(terms) => (terms, "@>"),
        Choice::Any(terms) => (terms, "&&"),
    };
    let has = format!("c.terms {operator} {}", sql.bind(Value::Terms(terms.iter().map(Term::number).collect())));
    if test.negated { format!("NOT ({has})") } else { has }
}

/// The values with their types: the statement is not prepared, because its text varies.
pub(crate) fn parameters(sql: &Sql) -> Vec<(&(dyn ToSql + Sync), Type)> {
    sql.values
        .iter()
        .map(|value| match value {
            Value::Integer(number) => (number as &(dyn ToSql + Sync), Type::INT8),
            Value::Text(text) => (text as _, Type::TEXT),
            Value::Texts(texts) => (texts as _, Type::TEXT_ARRAY),
            Value::Terms(terms) => (terms as _, Type::INT8_ARRAY),
        })
        .collect()
}

pub(crate) async fn list_calls(
    db: &Client,
    workspace: &WorkspaceId,
    query: &ListQuery,
    after: Option<&ListPosition>,
    (signer, options): (&CursorSigner, StoreOptions),
) -> Result<CallPage, PgError> {
    let listing = PgListing {
        has_transcripts: page::has_transcripts(query),
        ..PgListing::new(workspace, &query.filter, query.sort, options.plan())
    };
    let window = PageWindow { after, limit: query.page_size(), offset: query.offset() };
    let page = listing.page(db, window, options.thresholds).await?;
    let total = if query.include_total { Some(listing.count(db).await?) } else { None };
    Ok(page.finish(workspace, query, total, signer)?)
}
