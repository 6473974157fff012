//! Compiles a filter for the embedded engine: an expression of the full-text index, and conditions for other indexes.

use callhistory_model::{AnalysisClause, CallFilter, WorkspaceId};
use rusqlite::{
    ToSql,
    types::{ToSqlOutput, Value as SqlValue},
};

use crate::{
    domain::{
        phone_number::NumberingPlan,
        predicate::{BodyTest, COST, Choice, ColumnTest, FilterClause, NO_COST, Predicate, TermTest, UPDATED},
        search_terms::{self as terms, Term, Terms},
    },
    sql::{Dialect, Sql, Value},
};

/// The value of a record without a duration in the index; less than any duration.
pub(crate) const NO_DURATION: i64 = -1;
/// The columns that groups of metrics have.
const COVERED: [&str; 7] =
    ["c.agent_id", "c.call_flow_id", "c.status", "c.direction", "c.call_type", "c.outcome", "c.currency"];

/// Positions per second; see the migration.
pub(crate) const POSITIONS_PER_SECOND: i64 = 1_000_000_000;

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Integer(number) => ToSqlOutput::from(*number),
            Self::Text(text) => ToSqlOutput::from(text.as_str()),
            Self::Texts(texts) => {
                ToSqlOutput::Owned(SqlValue::Text(serde_json::Value::from(texts.as_slice()).to_string()))
            }
            #[cfg(feature = "postgres")]
            Self::Terms(_) => return Err(rusqlite::Error::InvalidQuery),
        })
    }
}

/// A statement of this engine.
pub(crate) fn new_statement() -> Sql {
    Sql::new(Dialect::Sqlite)
}

/// Limits a list to records with, or without, the sort key. Records without it are all equal; otherwise one kind would be
/// scanned to find the other.
struct Presence {
    expected: bool,
    /// The value of records without it.
    absent: i64,
    term: Term,
    columns: String,
}

/// A filter, compiled for the indexes.
pub(crate) struct CompiledFilter {
    pub(crate) predicate: Predicate,
    every: Term,
    implied: Vec<Term>,
    /// Only records with the sort key, or only those without.
    presence: Option<Presence>,
}

impl CompiledFilter {
    pub(crate) fn new(workspace: &WorkspaceId, filter: &CallFilter, plan: NumberingPlan) -> Self {
        let (terms, predicate) = (Terms::new(workspace), Predicate::new(workspace, filter, plan));
        Self { every: terms.every(), implied: predicate.implied(workspace), predicate, presence: None }
    }

    /// The same filter, for records with or without the key of an index.
    pub(crate) fn having(
        workspace: &WorkspaceId,
        filter: &CallFilter,
        number: (&str, &str),
        (expected, plan): (bool, NumberingPlan),
    ) -> Self {
        let (index, key) = number;
        let (name, absent) = if index == COST.0 { (terms::COST, NO_COST) } else { (terms::DURATION, NO_DURATION) };
        let columns = format!("{key} {} {absent}", if expected { ">" } else { "=" });
        let term = Terms::new(workspace).present(name);
        Self { presence: Some(Presence { expected, absent, term, columns }), ..Self::new(workspace, filter, plan) }
    }

    /// Whether all records have equal sort keys, because none has the value.
    pub(crate) fn is_one_tie(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| !presence.expected)
    }

    /// Whether the filter has terms.
    pub(crate) fn has_terms(&self) -> bool {
        self.predicate.clauses.iter().any(|clause| !matches!(clause, FilterClause::Columns(_)))
    }

    /// Whether columns answer the whole filter.
    pub(crate) fn is_of_columns(&self) -> bool {
        self.predicate.clauses.iter().all(|clause| !matches!(clause, FilterClause::Terms { .. }))
    }

    /// Whether the columns of metrics alone answer the filter.
    pub(crate) fn is_of_metric_columns(&self) -> bool {
        let covered = |clause: &FilterClause| {
            let (FilterClause::Either { columns, .. } | FilterClause::Columns(columns)) = clause else { return false };
            match columns {
                ColumnTest::OneOf { columns, .. } => columns.iter().all(|column| COVERED.contains(column)),
                ColumnTest::IsAnswered(_) => true,
                ColumnTest::Ids(_) => false,
            }
        };
        let Predicate { clauses, ranges, .. } = &self.predicate;
        self.presence.is_none() && clauses.iter().all(covered) && ranges.iter().all(|range| range.index != UPDATED.0)
    }

    /// The conditions on groups of calls with equal values. `c` is the table of groups.
    pub(crate) fn group_conditions(&self, sql: &mut Sql) -> Vec<String> {
        let mut parts = Vec::new();
        for clause in &self.predicate.clauses {
            if let FilterClause::Either { columns, .. } | FilterClause::Columns(columns) = clause {
                parts.push(columns.sql(sql));
            }
        }
        parts
    }

    /// The expression of the full-text index.
    pub(crate) fn terms(&self) -> String {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for clause in &self.predicate.clauses {
            let (FilterClause::Either { terms, .. } | FilterClause::Terms { terms, .. }) = clause else { continue };
            if terms.negated { without.push(expression(terms)) } else { with.push(expression(terms)) }
        }
        with.extend(self.implied.iter().map(quoted));
        if let Some(presence) = &self.presence {
            if presence.expected { with.push(quoted(&presence.term)) } else { without.push(quoted(&presence.term)) }
        }
        self.combined(with, &without)
    }

    fn combined(&self, mut with: Vec<String>, without: &[String]) -> String {
        if with.is_empty() {
            with.push(quoted(&self.every));
        }
        let with = with.join(" AND ");
        if without.is_empty() { with } else { format!("({with}) NOT ({})", without.join(" OR ")) }
    }

    /// The conditions that the full-text index does not answer. `c` is the table of calls. Where every record of the filter is
    /// read, the index says first which bodies need not be.
    pub(crate) fn after_terms(&self, sql: &mut Sql, reads_all: bool) -> Vec<String> {
        let mut parts = Vec::new();
        for clause in &self.predicate.clauses {
            match clause {
                FilterClause::Either { exact: true, .. } | FilterClause::Terms { body: None, .. } => {}
                FilterClause::Either { columns, .. } | FilterClause::Columns(columns) => parts.push(columns.sql(sql)),
                FilterClause::Terms { body: Some(test), .. } => {
                    let certain = test.certain().filter(|_| reads_all).map(|terms| has_terms(sql, expression(&terms)));
                    let body = body_test(sql, test);
                    // Of an OR, SQLite evaluates the side without a query first.
                    let with = |certain| format!("CASE WHEN {certain} THEN TRUE ELSE {body} END");
                    parts.push(certain.map_or_else(|| body.clone(), with));
                }
            }
        }
        parts.extend(self.predicate.every_range().filter_map(|range| range.sql(sql)));
        parts
    }

    /// The conditions of the whole filter, for another index; without those that bound the index `bounded`.
    pub(crate) fn without_terms(&self, sql: &mut Sql, bounded: Option<&str>) -> Vec<String> {
        let (mut parts, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for clause in &self.predicate.clauses {
            match clause {
                FilterClause::Either { columns, .. } | FilterClause::Columns(columns) => parts.push(columns.sql(sql)),
                FilterClause::Terms { terms, body } => {
                    if terms.negated {
                        without.push(expression(terms))
                    } else {
                        with.push(expression(terms))
                    }
                    parts.extend(body.as_ref().map(|test| body_test(sql, test)));
                }
            }
        }
        if !with.is_empty() || !without.is_empty() {
            let expression = self.combined(with, &without);
            parts.push(has_terms(sql, expression));
        }
        let ranges = self.predicate.every_range().filter(|range| bounded != Some(range.index));
        parts.extend(ranges.filter_map(|range| range.sql(sql)));
        // The bounds of the index contain it.
        parts.extend(self.presence.as_ref().filter(|_| bounded.is_none()).map(|presence| presence.columns.clone()));
        parts
    }

    /// The least and the greatest key that the filter allows in the index of a sort.
    pub(crate) fn bounds_of(&self, index: &str) -> (i64, i64) {
        let (mut low, mut high) = (i64::MIN, i64::MAX);
        for range in self.predicate.every_range().filter(|range| range.index == index) {
            low = low.max(range.low.unwrap_or(low));
            high = high.min(range.high.map_or(high, |high| high.saturating_sub(1)));
        }
        match self.presence.as_ref().map(|presence| (presence.expected, presence.absent)) {
            Some((true, absent)) => (low.max(absent + 1), high),
            Some((false, absent)) => (low.max(absent), high.min(absent)),
            None => (low, high),
        }
    }

    /// The range of positions that the time range allows.
    pub(crate) fn positions(&self) -> (i64, i64) {
        let low = self.predicate.time.low.map_or(0, first_position);
        let high = self.predicate.time.high.map_or(i64::MAX, last_position);
        (low, high)
    }
}

/// The first and the last position of the second of a time.
pub(crate) fn first_position(nanos: i64) -> i64 {
    nanos.div_euclid(1_000_000_000).saturating_mul(POSITIONS_PER_SECOND)
}

pub(crate) fn last_position(nanos: i64) -> i64 {
    first_position(nanos).saturating_add(POSITIONS_PER_SECOND - 1)
}

/// Appends a term as the index stores it: 16 hexadecimal digits.
pub(crate) fn push_text(text: &mut String, term: Term) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in term.0.to_be_bytes() {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// A term as a string in the grammar of the index.
fn quoted(term: &Term) -> String {
    let mut text = "\"".to_owned();
    push_text(&mut text, *term);
    text.push('"');
    text
}

fn expression(test: &TermTest) -> String {
    let (terms, operator) = match &test.choice {
        Choice::Any(terms) => (terms, " OR "),
        Choice::All(terms) => (terms, " AND "),
    };
    format!("({})", terms.iter().map(quoted).collect::<Vec<_>>().join(operator))
}

/// The condition that a record is in the result of an expression, which is computed once.
fn has_terms(sql: &mut Sql, expression: String) -> String {
    format!("c.position IN (SELECT rowid FROM call_term WHERE call_term MATCH {})", sql.bind(expression))
}

/// A test of the body, by a registered function.
fn body_test(sql: &mut Sql, test: &BodyTest) -> String {
    match test {
        BodyTest::Search { text, .. } => format!("call_search(c.body, c.transcript, {})", sql.bind(text.clone())),
        BodyTest::Analysis(clause) => {
            let clause = AnalysisClause::to_json(std::slice::from_ref(clause));
            format!("call_analysis(c.body, {})", sql.bind(clause))
        }
    }
}
