//! The reads of PostgreSQL that go through many records: lists, numbers, exports, changes.

use std::ops::Range;

use bytes::Bytes;
use callhistory_model::{CallFilter, CallRecord, ListQuery, Sort, Timestamp, WorkspaceId};
use futures_util::{StreamExt as _, TryStreamExt as _, pin_mut};
use tokio::sync::mpsc;
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use super::failure::Failure;
use crate::{
    CallPage, Change, ChangeBatch, StoreError,
    cursor::{ListPosition, Seal, after_the_end},
    exports,
    filter::{self as keys, BodyTest, Choice, Condition, Dialect, Predicate, Sql, TermTest, Value},
    page::{PAGE_BYTES, Page},
    terms::Term,
    write::Kind,
};

/// Records of the index of the sort that are looked at before anything else is tried.
const SHORT_WALK: usize = 1_000;
/// The same where the filter is known to have many records, so that these will fill the page unless they lie far off.
const LONG_WALK: usize = 50_000;
/// Records of a filter that are fetched and sorted at once.
const FEW: usize = 20_000;
/// Records that are fetched at first where the body decides; each further time, four times as many.
const CANDIDATES: usize = 200;
const MOST_CANDIDATES: usize = 5_000;

/// Where the records of a page come from.
#[derive(Clone, Copy)]
enum Source {
    /// The index of the sort, from the place on: so many records at most, of which the filter leaves some.
    Walk(usize),
    /// Whatever finds the records of the filter, all of which are then sorted; so many at most, beyond which there is no
    /// page.
    Found(usize),
}

/// Which records of which order: what a page and its cursor are made of.
pub(super) struct Listing<'a> {
    workspace: &'a WorkspaceId,
    predicate: Predicate,
    /// What is left to be tested with the body in hand.
    pub(super) bodies: Vec<BodyTest>,
    /// Terms that the ranges imply: they rule out what has no number at all.
    implied: Vec<Term>,
    sort: Sort,
    index: &'static str,
    key: &'static str,
}

/// One record that a statement found.
struct Entry {
    body: Bytes,
    position: ListPosition,
}

/// Records in order that pass what SQL can test.
struct Candidates {
    entries: Vec<Entry>,
    more: bool,
}

impl<'a> Listing<'a> {
    pub(super) fn new(workspace: &'a WorkspaceId, filter: &CallFilter, sort: Sort) -> Self {
        let (index, key) = keys::of_sort(sort.key);
        let predicate = Predicate::new(workspace, filter);
        let bodies = predicate.conditions.iter().filter_map(|condition| match condition {
            Condition::Terms { body, .. } => body.clone(),
            _ => None,
        });
        let bodies = bodies.collect();
        let implied = if predicate.conditions.is_empty() { Vec::new() } else { predicate.implied(workspace) };
        Self { workspace, predicate, bodies, implied, sort, index, key }
    }

    fn direction(&self) -> &'static str {
        if self.sort.ascending { "ASC" } else { "DESC" }
    }

    /// The records after a place that pass every test.
    async fn page(
        &self,
        db: &Client,
        after: Option<&ListPosition>,
        limit: usize,
        offset: usize,
    ) -> Result<Page, Failure> {
        if self.bodies.is_empty() {
            let Candidates { entries, more } = self.candidates(db, after, limit, offset).await?;
            let mut page = Page { more, ..Page::default() };
            entries.iter().for_each(|entry| page.calls.push(&entry.body));
            page.last = entries.into_iter().next_back().map(|entry| entry.position);
            return Ok(page);
        }
        let (mut after, mut skip) = (after.cloned(), offset);
        let (mut page, mut most) = (Page::default(), limit.max(CANDIDATES));
        loop {
            let candidates = self.candidates(db, after.as_ref(), most, 0).await?;
            most = MOST_CANDIDATES.min(4 * most);
            for entry in candidates.entries {
                after = Some(entry.position.clone());
                if !passes(&self.bodies, &entry.body) {
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
                page.calls.push(&entry.body);
                page.last = Some(entry.position);
            }
            if !candidates.more {
                return Ok(page);
            }
        }
    }

    /// The records after a place that pass what SQL can test. Where the filter lets many through, a walk along the index of
    /// the sort fills the page; where it lets few through, the planner chooses the indexes of the filter, and what they find
    /// is sorted. Which it is shows in trying the cheap ones first: nobody's statistics have to be right.
    async fn candidates(
        &self,
        db: &Client,
        after: Option<&ListPosition>,
        limit: usize,
        offset: usize,
    ) -> Result<Candidates, Failure> {
        let wanted = offset + limit + 1;
        let walk = async |most: usize| {
            let page = self.fetch(db, Source::Walk(most), after, limit, offset).await?;
            // A page that is not full may have more behind the end of the walk.
            Ok::<_, Failure>(page.filter(|page| page.more))
        };
        if self.rest(&mut new_sql(), false).is_empty() {
            let page = self.fetch(db, Source::Walk(wanted), after, limit, offset).await?;
            return page.ok_or_else(no_page);
        }
        if let Some(page) = walk(SHORT_WALK.max(2 * wanted)).await? {
            return Ok(page);
        }
        if let Some(page) = self.fetch(db, Source::Found(FEW.max(wanted)), after, limit, offset).await? {
            return Ok(page);
        }
        if let Some(page) = walk(LONG_WALK).await? {
            return Ok(page);
        }
        let all = Source::Found(usize::try_from(i64::MAX - 1).unwrap_or(usize::MAX));
        self.fetch(db, all, after, limit, offset).await?.ok_or_else(no_page)
    }

    async fn fetch(
        &self,
        db: &Client,
        source: Source,
        after: Option<&ListPosition>,
        limit: usize,
        offset: usize,
    ) -> Result<Option<Candidates>, Failure> {
        let (mut sql, key, direction) = (new_sql(), self.key, self.direction());
        let start = self.start(&mut sql, after);
        // One more tells whether there is a next page.
        let bounds = format!("LIMIT {} OFFSET {}", sql.bind(limit as i64 + 1), sql.bind(offset as i64));
        let order = format!("ORDER BY k {direction}, i {direction}");
        let page = match source {
            Source::Walk(most) => {
                let most = sql.bind(most as i64);
                let rest = all(self.rest(&mut sql, false));
                format!(
                    "SELECT c.body, {key} AS k, c.id AS i FROM (
                         SELECT * FROM call c WHERE {start} ORDER BY {key} {direction}, c.id {direction} LIMIT {most}
                     ) c WHERE {rest} {order} {bounds}"
                )
            }
            // The list of what was found has no bodies; only those of the page are fetched, and none where there are too
            // many: then the one row says so.
            Source::Found(most) => {
                let most = sql.bind(most as i64);
                let rest = all(self.rest(&mut sql, true));
                format!(
                    "WITH found AS MATERIALIZED (SELECT {key} AS k, c.id AS i FROM call c WHERE {start} AND {rest}),
                     few AS MATERIALIZED (SELECT k, i FROM found LIMIT {most} + 1),
                     counted AS MATERIALIZED (SELECT count(*) > {most} AS too_many FROM few)
                     SELECT c.body, f.k, f.i FROM (
                         SELECT k, i FROM few WHERE NOT (SELECT too_many FROM counted) {order} {bounds}
                     ) f JOIN call c ON c.workspace_id = $1 AND c.id = f.i
                     UNION ALL SELECT NULL, NULL, NULL FROM counted WHERE too_many"
                )
            }
        };
        // No body leaves the database beyond what a page may hold.
        let text = format!(
            "SELECT CASE WHEN sum(octet_length(p.body)) OVER before - octet_length(p.body) < {PAGE_BYTES} THEN p.body END,
                 p.k, p.i
             FROM ({page}) p WINDOW before AS ({order} ROWS UNBOUNDED PRECEDING) {order}"
        );
        let rows = db.query_typed(&text, &parameters(&sql)).await?;
        if rows.first().map_or(Ok(false), |row| Ok::<_, Failure>(row.try_get::<_, Option<&str>>(2)?.is_none()))? {
            return Ok(None);
        }
        let mut entries = Vec::with_capacity(rows.len().min(limit));
        for row in &rows {
            let Some(body) = row.try_get::<_, Option<&[u8]>>(0)?.filter(|_| entries.len() < limit) else {
                return Ok(Some(Candidates { entries, more: true }));
            };
            let id = row.try_get::<_, &str>(2)?.parse();
            let id = id.map_err(|_| StoreError::Internal("a record has no sound id".to_owned()))?;
            let position = ListPosition { key: row.try_get(1)?, id };
            entries.push(Entry { body: Bytes::copy_from_slice(body), position });
        }
        Ok(Some(Candidates { entries, more: false }))
    }

    /// Where the index of the sort is entered: the workspace, its own range, and the place to go on at.
    fn start(&self, sql: &mut Sql, after: Option<&ListPosition>) -> String {
        let mut parts = vec![format!("c.workspace_id = {}", sql.bind(self.workspace.as_str().to_owned()))];
        parts.extend(self.predicate.every_range().filter(|range| range.index == self.index).filter_map(|r| r.sql(sql)));
        if let Some(after) = after {
            let (key, id) = (sql.bind(after.key), sql.bind(after.id.as_str().to_owned()));
            let (own, beyond) = (self.key, if self.sort.ascending { ">" } else { "<" });
            parts.push(format!("({own}, c.id) {beyond} ({key}, {id})"));
        }
        parts.join(" AND ")
    }

    /// What else the filter says, by terms or, where columns can tell, by columns.
    fn rest(&self, sql: &mut Sql, by_terms: bool) -> Vec<String> {
        let mut parts = Vec::new();
        for condition in &self.predicate.conditions {
            match condition {
                // An index finds what has a term, not what has not.
                Condition::Either { terms, exact, columns, .. } if by_terms && !terms.negated => {
                    parts.push(term_test(sql, terms));
                    parts.extend((!exact).then(|| columns.sql(sql)));
                }
                Condition::Either { columns, .. } | Condition::Columns(columns) => parts.push(columns.sql(sql)),
                Condition::Terms { terms, .. } => parts.push(term_test(sql, terms)),
            }
        }
        if by_terms && !self.implied.is_empty() {
            parts.push(term_test(sql, &TermTest { negated: false, choice: Choice::All(self.implied.clone()) }));
        }
        let others = self.predicate.every_range().filter(|range| range.index != self.index);
        parts.extend(others.filter_map(|range| range.sql(sql)));
        parts
    }

    /// Rows of the records of the filter, in no order, each with its body behind them if that has to be looked at.
    pub(super) fn rows(&self, columns: &str) -> (String, Sql) {
        let mut sql = new_sql();
        let (start, rest) = (self.start(&mut sql, None), all(self.rest(&mut sql, true)));
        let body = if self.bodies.is_empty() { "" } else { ", c.body" };
        (format!("SELECT {columns}{body} FROM call c WHERE {start} AND {rest}"), sql)
    }

    async fn count(&self, db: &Client) -> Result<u64, Failure> {
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
            count += u64::from(passes(&self.bodies, row.try_get(1)?));
        }
        Ok(count)
    }
}

fn no_page() -> Failure {
    StoreError::Internal("a list that has no bound was too long".to_owned()).into()
}

fn new_sql() -> Sql {
    Sql::new(Dialect::Postgres)
}

fn all(parts: Vec<String>) -> String {
    if parts.is_empty() { "TRUE".to_owned() } else { parts.join(" AND ") }
}

pub(super) fn passes(tests: &[BodyTest], body: &[u8]) -> bool {
    let record: Option<CallRecord> = serde_json::from_slice(body).ok();
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

/// The values of a statement with their types, so that it need not be prepared: its text is one of very many.
pub(super) fn parameters(sql: &Sql) -> Vec<(&(dyn ToSql + Sync), Type)> {
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

pub(super) async fn list_calls(
    db: &Client,
    workspace: &WorkspaceId,
    query: &ListQuery,
    after: Option<&ListPosition>,
    seal: &Seal,
) -> Result<CallPage, Failure> {
    let listing = Listing::new(workspace, &query.filter, query.sort);
    let page = listing.page(db, after, query.page_size(), query.offset()).await?;
    let total = if query.include_total { Some(listing.count(db).await?) } else { None };
    Ok(page.answer(workspace, query, total, seal)?)
}

/// Sends every record of the filter in chunks, from one snapshot, until there are no more or nobody takes them.
pub(super) async fn export_calls(
    db: &Client,
    workspace: &WorkspaceId,
    filter: &CallFilter,
    chunks: &mpsc::Sender<Result<Bytes, StoreError>>,
) -> Result<(), Failure> {
    let listing = Listing::new(workspace, filter, Sort::default());
    let mut sql = new_sql();
    let (start, rest) = (listing.start(&mut sql, None), all(listing.rest(&mut sql, true)));
    // The beginning is wanted soon: of two ways the planner prefers the one that is in order.
    db.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL cursor_tuple_fraction = 0.01").await?;
    let text = format!(
        "DECLARE export NO SCROLL CURSOR FOR
         SELECT c.body FROM call c WHERE {start} AND {rest} ORDER BY c.sort_time DESC, c.id DESC"
    );
    let declared = db.query_typed_raw(&text, parameters(&sql)).await?;
    pin_mut!(declared);
    while declared.next().await.transpose()?.is_some() {}
    let fetch = db.prepare(&format!("FETCH {} FROM export", exports::PAGE)).await?;
    let mut chunk = Vec::new();
    loop {
        let rows = db.query_raw(&fetch, std::iter::empty::<i64>()).await?;
        pin_mut!(rows);
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            count += 1;
            let body: &[u8] = row.try_get(0)?;
            if !listing.bodies.is_empty() && !passes(&listing.bodies, body) {
                continue;
            }
            chunk.extend_from_slice(body);
            chunk.push(b'\n');
            if chunk.len() >= exports::CHUNK_BYTES {
                let full = Ok(std::mem::take(&mut chunk).into());
                chunks.send(full).await.map_err(|_| slow_reader())?;
            }
        }
        if count < exports::PAGE {
            break;
        }
    }
    if !chunk.is_empty() {
        chunks.send(Ok(chunk.into())).await.map_err(|_| slow_reader())?;
    }
    Ok(db.batch_execute("COMMIT").await?)
}

/// The end of an export that nobody takes.
pub(super) fn slow_reader() -> Failure {
    StoreError::Unavailable("the reader of an export is gone or too slow".to_owned()).into()
}

/// The changes after a number, up to one that was the last when it was read.
pub(super) async fn list_call_changes(
    db: &Client,
    workspace: &WorkspaceId,
    Range { start: after, end: last }: Range<i64>,
    limit: usize,
    seal: &Seal,
) -> Result<ChangeBatch, Failure> {
    if after > last {
        return Err(after_the_end().into());
    }
    let text = format!(
        "SELECT p.sequence, p.kind, p.id, p.changed_at,
             CASE WHEN coalesce(sum(octet_length(p.body)) OVER before, 0) - coalesce(octet_length(p.body), 0) < {PAGE_BYTES}
                 THEN p.body END,
             coalesce(sum(octet_length(p.body)) OVER before, 0) - coalesce(octet_length(p.body), 0) < {PAGE_BYTES}
         FROM (
             SELECT h.sequence, h.kind, h.id, h.changed_at, c.body
             FROM change h LEFT JOIN call c ON c.workspace_id = $1 AND c.id = h.id AND c.sequence = h.sequence
             WHERE h.workspace_id = $1 AND h.sequence > $2 AND h.sequence <= $3 ORDER BY h.sequence LIMIT $4
         ) p WINDOW before AS (ORDER BY p.sequence ROWS UNBOUNDED PRECEDING) ORDER BY p.sequence"
    );
    let limit = limit as i64;
    let values: [(&(dyn ToSql + Sync), Type); 4] =
        [(&workspace.as_str(), Type::TEXT), (&after, Type::INT8), (&last, Type::INT8), (&limit, Type::INT8)];
    let mut changes = Vec::new();
    for row in db.query_typed(&text, &values).await? {
        if !row.try_get::<_, bool>(5)? {
            break;
        }
        changes.push(change(&row, workspace, seal)?);
    }
    let reached = changes.last().map_or(after, |change: &Change| change.sequence);
    let start = seal.feed(workspace, after);
    Ok(ChangeBatch { start, changes, cursor: seal.feed(workspace, reached), has_more: reached < last })
}

fn change(row: &Row, workspace: &WorkspaceId, seal: &Seal) -> Result<Change, Failure> {
    let sequence = row.try_get(0)?;
    let unsound = |_| StoreError::Internal("a change has no sound id".to_owned());
    Ok(Change {
        kind: Kind::read(row.try_get::<_, i16>(1)?),
        id: row.try_get::<_, &str>(2)?.parse().map_err(unsound)?,
        sequence,
        at: Timestamp::from_unix_nanos(row.try_get(3)?),
        body: row.try_get::<_, Option<&[u8]>>(4)?.map(Bytes::copy_from_slice),
        cursor: seal.feed(workspace, sequence),
    })
}
