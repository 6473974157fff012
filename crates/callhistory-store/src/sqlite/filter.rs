//! How the embedded engine asks for terms: as an expression of its full-text index.

use callhistory_model::{AnalysisClause, CallFilter, WorkspaceId};
use rusqlite::{
    ToSql,
    types::{ToSqlOutput, Value as SqlValue},
};

use crate::{
    filter::{
        BodyTest, COST, Choice, ColumnTest, Condition, Dialect, NO_COST, Predicate, Sql, TermTest, UPDATED, Value,
    },
    terms::{self, Term, Terms},
};

/// What the index has for a record without a duration; less than any that there is.
pub(super) const NO_DURATION: i64 = -1;
/// The columns that the index by time has.
const COVERED: [&str; 5] = ["c.agent_id", "c.call_flow_id", "c.status", "c.direction", "c.call_type"];

/// A billion positions for each second; see the migration.
pub(super) const POSITIONS_PER_SECOND: i64 = 1_000_000_000;

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

/// A statement in the making.
pub(super) fn new_sql() -> Sql {
    Sql::new(Dialect::Sqlite)
}

/// Whether a record has the number of a sort: those that have not are all equal, and would otherwise have to be gone
/// through to find those that have, or the other way round.
struct Presence {
    expected: bool,
    /// The number of those that have none.
    absent: i64,
    term: Term,
    columns: String,
}

/// A filter and what the index of terms makes of it.
pub(super) struct Indexed {
    pub(super) predicate: Predicate,
    every: Term,
    implied: Vec<Term>,
    /// Only records that have the number of the sort, or only those that have not.
    presence: Option<Presence>,
}

impl Indexed {
    pub(super) fn new(workspace: &WorkspaceId, filter: &CallFilter) -> Self {
        let (terms, predicate) = (Terms::new(workspace), Predicate::new(workspace, filter));
        Self { every: terms.every(), implied: predicate.implied(workspace), predicate, presence: None }
    }

    /// The same filter for records that have the number of an index, or for those that have not.
    pub(super) fn having(workspace: &WorkspaceId, filter: &CallFilter, number: (&str, &str), expected: bool) -> Self {
        let (index, key) = number;
        let (name, absent) = if index == COST.0 { (terms::COST, NO_COST) } else { (terms::DURATION, NO_DURATION) };
        let columns = format!("{key} {} {absent}", if expected { ">" } else { "=" });
        let term = Terms::new(workspace).present(name);
        Self { presence: Some(Presence { expected, absent, term, columns }), ..Self::new(workspace, filter) }
    }

    /// Whether all records are equal in the number of the sort, because none has it.
    pub(super) fn is_one_tie(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| !presence.expected)
    }

    /// Whether terms narrow this filter down.
    pub(super) fn has_terms(&self) -> bool {
        self.predicate.conditions.iter().any(|condition| !matches!(condition, Condition::Columns(_)))
    }

    /// Whether columns answer the whole filter.
    pub(super) fn is_of_columns(&self) -> bool {
        self.predicate.conditions.iter().all(|condition| !matches!(condition, Condition::Terms { .. }))
    }

    /// Whether the index by time alone answers the filter.
    pub(super) fn is_covered(&self) -> bool {
        let covered = |condition: &Condition| match condition {
            Condition::Either { columns: ColumnTest::OneOf { columns, .. }, .. }
            | Condition::Columns(ColumnTest::OneOf { columns, .. }) => {
                columns.iter().all(|column| COVERED.contains(column))
            }
            _ => false,
        };
        let Predicate { conditions, ranges, .. } = &self.predicate;
        conditions.iter().all(covered) && ranges.iter().all(|range| range.index != UPDATED.0)
    }

    /// Whether the numbers of calls can be counted without a look at the calls.
    pub(super) fn is_of_numbers(&self) -> bool {
        self.presence.is_none() && self.is_covered()
    }

    /// The conditions on what calls of a group have in common. `c` is the table of groups.
    pub(super) fn of_groups(&self, sql: &mut Sql) -> Vec<String> {
        let mut parts = Vec::new();
        for condition in &self.predicate.conditions {
            if let Condition::Either { columns, .. } | Condition::Columns(columns) = condition {
                parts.push(columns.sql(sql));
            }
        }
        parts
    }

    /// The expression of the index of terms.
    pub(super) fn terms(&self) -> String {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for condition in &self.predicate.conditions {
            let (Condition::Either { terms, .. } | Condition::Terms { terms, .. }) = condition else { continue };
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

    /// What is left to check where the index of terms gives the records. `c` is the table of calls.
    pub(super) fn after_terms(&self, sql: &mut Sql) -> Vec<String> {
        let mut parts = Vec::new();
        for condition in &self.predicate.conditions {
            match condition {
                Condition::Either { exact: true, .. } | Condition::Terms { body: None, .. } => {}
                Condition::Either { columns, .. } | Condition::Columns(columns) => parts.push(columns.sql(sql)),
                Condition::Terms { body: Some(test), .. } => parts.push(body_test(sql, test)),
            }
        }
        parts.extend(self.predicate.every_range().filter_map(|range| range.sql(sql)));
        parts
    }

    /// The whole filter, where another index gives the records; without what bounds one index, if that is told.
    pub(super) fn without_terms(&self, sql: &mut Sql, bounded: Option<&str>) -> Vec<String> {
        let (mut parts, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for condition in &self.predicate.conditions {
            match condition {
                Condition::Either { columns, .. } | Condition::Columns(columns) => parts.push(columns.sql(sql)),
                Condition::Terms { terms, body } => {
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
            let expression = sql.bind(expression);
            parts.push(format!("c.position IN (SELECT rowid FROM call_term WHERE call_term MATCH {expression})"));
        }
        let ranges = self.predicate.every_range().filter(|range| bounded != Some(range.index));
        parts.extend(ranges.filter_map(|range| range.sql(sql)));
        // Its numbers are in the index of the sort.
        parts.extend(self.presence.as_ref().filter(|_| bounded.is_none()).map(|presence| presence.columns.clone()));
        parts
    }

    /// The least and the greatest number that the filter lets through in the index of a sort.
    pub(super) fn bounds_of(&self, index: &str) -> (i64, i64) {
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

    /// The positions that the range of time allows.
    pub(super) fn positions(&self) -> (i64, i64) {
        let low = self.predicate.time.low.map_or(0, first_position);
        let high = self.predicate.time.high.map_or(i64::MAX, last_position);
        (low, high)
    }
}

/// The first and the last position of the second of a time.
pub(super) fn first_position(nanos: i64) -> i64 {
    nanos.div_euclid(1_000_000_000).saturating_mul(POSITIONS_PER_SECOND)
}

pub(super) fn last_position(nanos: i64) -> i64 {
    first_position(nanos).saturating_add(POSITIONS_PER_SECOND - 1)
}

/// The text by which the index knows a term: 16 hexadecimal digits.
pub(super) fn push_text(text: &mut String, term: Term) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in term.0.to_be_bytes() {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// A term as a string of the index's grammar.
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

/// A test of the body, by one of our own functions.
fn body_test(sql: &mut Sql, test: &BodyTest) -> String {
    match test {
        BodyTest::Digits(digits) => format!("call_digits(c.body, {})", sql.bind(digits.clone())),
        BodyTest::Analysis(condition) => {
            let condition = AnalysisClause::to_json(std::slice::from_ref(condition));
            format!("call_analysis(c.body, {})", sql.bind(condition))
        }
    }
}
