//! The parts of statements that both engines build in the same way: bound values, column tests and ranges.

use callhistory_model::{OneOf, TextPattern};

use crate::domain::predicate::{ColumnTest, Range};

/// The columns of an original without its body.
pub(crate) const ORIGINAL_COLUMNS: &str =
    "o.number, o.received_at, o.source, o.media_type, o.warnings, o.bytes, o.total_bytes, o.content_hash, o.digest";

/// The dialect of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// A bound value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Integer(i64),
    Text(String),
    Texts(Vec<String>),
    #[cfg(feature = "postgres")]
    Terms(Vec<i64>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Builds a statement and collects its bound values.
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    dialect: Dialect,
    pub(crate) values: Vec<Value>,
}

impl Sql {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, values: Vec::new() }
    }

    /// Binds a value; returns the placeholder.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        match self.dialect {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => format!("?{}", self.values.len()),
            #[cfg(feature = "postgres")]
            Dialect::Postgres => format!("${}", self.values.len()),
        }
    }

    /// Binds a list; returns a table expression with one column, `value`.
    fn table<'a>(&mut self, texts: impl Iterator<Item = &'a str>) -> String {
        let list = self.bind(Value::Texts(texts.map(str::to_owned).collect()));
        match self.dialect {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => format!("json_each({list})"),
            #[cfg(feature = "postgres")]
            Dialect::Postgres => format!("unnest({list}) AS list (value)"),
        }
    }
}

impl ColumnTest {
    /// The condition of the test.
    pub(crate) fn sql(&self, sql: &mut Sql) -> String {
        match self {
            Self::OneOf { columns, set } => one_of_columns(sql, columns, set),
            Self::IsAnswered(true) => "c.is_answered".to_owned(),
            Self::IsAnswered(false) => "NOT c.is_answered".to_owned(),
            Self::Ids(ids) => {
                let table = sql.table(ids.iter().map(String::as_str));
                let list = format!("(SELECT value FROM {table})");
                format!("(c.id IN {list} OR coalesce(c.call_id IN {list}, FALSE))")
            }
        }
    }
}

impl Range {
    /// The condition of the range; `None` if it is unbounded.
    pub(crate) fn sql(&self, sql: &mut Sql) -> Option<String> {
        let low = self.low.map(|low| format!("{} >= {}", self.key, sql.bind(low)));
        let high = self.high.map(|high| format!("{} < {}", self.key, sql.bind(high)));
        let parts: Vec<_> = low.into_iter().chain(high).collect();
        (!parts.is_empty()).then(|| parts.join(" AND "))
    }
}

fn one_of_columns(sql: &mut Sql, columns: &[&str], set: &OneOf) -> String {
    let (mut exact, mut starts) = (Vec::new(), Vec::new());
    for pattern in &set.values {
        match pattern {
            TextPattern::Exact(text) => exact.push(text.as_str()),
            TextPattern::Prefix(start) => starts.push(start.as_str()),
        }
    }
    let exact = (!exact.is_empty()).then(|| sql.table(exact.into_iter()));
    let starts = (!starts.is_empty()).then(|| sql.table(starts.into_iter()));
    let mut parts = Vec::new();
    for column in columns {
        parts.extend(exact.as_ref().map(|table| format!("{column} IN (SELECT value FROM {table})")));
        // One list, because an expression with a thousand terms exceeds the depth limit of SQLite.
        let begins =
            |table: &String| format!("EXISTS (SELECT 1 FROM {table} WHERE substr({column}, 1, length(value)) = value)");
        parts.extend(starts.as_ref().map(begins));
    }
    // A comparison with NULL is NULL, which a negation must treat as false.
    let any = parts.iter().map(|part| format!("coalesce({part}, FALSE)")).collect::<Vec<_>>().join(" OR ");
    if set.negated { format!("NOT ({any})") } else { format!("({any})") }
}
