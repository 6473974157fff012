//! From a filter to conditions and ranges, the same for every engine, and from those to the parts of a statement, every
//! value bound. How an engine asks for terms stands beside its reads; no other place assembles SQL.

use callhistory_model::{
    AnalysisClause, AnalysisOperator, CallFilter, CallRecord, OneOf, Scalar, SortKey, TextPattern, Timestamp,
    WorkspaceId, visit_members, words,
};

use crate::terms::{self, FRAGMENT_DIGITS, PREFIX_CHARS, Term, Terms, has_digits, is_fragment};

/// The SQL that a statement is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// The value of a parameter.
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

/// A statement in the making, with the values of its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    dialect: Dialect,
    pub(crate) values: Vec<Value>,
}

impl Sql {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, values: Vec::new() }
    }

    /// Binds a value and gives the text of its parameter.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        match self.dialect {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => format!("?{}", self.values.len()),
            #[cfg(feature = "postgres")]
            Dialect::Postgres => format!("${}", self.values.len()),
        }
    }

    /// Binds a list and gives the text of a table of it, whose one column is `value`.
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

/// One condition of a filter, by how it can be answered.
pub(crate) enum Condition {
    /// By terms or by columns; the terms alone may let too much through.
    Either { terms: TermTest, exact: bool, columns: ColumnTest },
    /// By terms, and where those let too much through also by a look at the body.
    Terms { terms: TermTest, body: Option<BodyTest> },
    /// By columns alone.
    Columns(ColumnTest),
}

/// Has, or has not, certain terms.
pub(crate) struct TermTest {
    pub(crate) negated: bool,
    pub(crate) choice: Choice,
}

/// Of several terms.
pub(crate) enum Choice {
    Any(Vec<Term>),
    All(Vec<Term>),
}

/// A test that columns answer.
pub(crate) enum ColumnTest {
    OneOf { columns: Vec<&'static str>, set: OneOf },
    Ids(Vec<String>),
}

/// A test that needs a look at the body.
#[derive(Clone)]
pub(crate) enum BodyTest {
    Digits(String),
    Analysis(AnalysisClause),
}

impl BodyTest {
    pub(crate) fn holds(&self, record: &CallRecord) -> bool {
        match self {
            Self::Digits(digits) => has_digits(record, digits),
            Self::Analysis(condition) => {
                let mut holds = false;
                visit_members(record.analyzed_data.as_str(), &mut |path, value| {
                    let scalar = || Scalar::from_json(value);
                    holds |= path == condition.member && scalar().is_some_and(|value| condition.test.holds(&value));
                });
                holds
            }
        }
    }
}

impl ColumnTest {
    pub(crate) fn sql(&self, sql: &mut Sql) -> String {
        match self {
            Self::OneOf { columns, set } => one_of_columns(sql, columns, set),
            Self::Ids(ids) => {
                let table = sql.table(ids.iter().map(String::as_str));
                let list = format!("(SELECT value FROM {table})");
                format!("(c.id IN {list} OR coalesce(c.call_id IN {list}, FALSE))")
            }
        }
    }
}

/// A range of one indexed number.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) index: &'static str,
    pub(crate) key: &'static str,
    pub(crate) low: Option<i64>,
    /// The first value above.
    pub(crate) high: Option<i64>,
}

impl Range {
    pub(crate) fn sql(&self, sql: &mut Sql) -> Option<String> {
        let low = self.low.map(|low| format!("{} >= {}", self.key, sql.bind(low)));
        let high = self.high.map(|high| format!("{} < {}", self.key, sql.bind(high)));
        let parts: Vec<_> = low.into_iter().chain(high).collect();
        (!parts.is_empty()).then(|| parts.join(" AND "))
    }
}

pub(crate) const TIME: (&str, &str) = ("call_by_time", "c.sort_time");
const CREATED: (&str, &str) = ("call_by_created", "c.created_at");
pub(crate) const UPDATED: (&str, &str) = ("call_by_updated", "c.updated_at");
pub(crate) const DURATION: (&str, &str) = ("call_by_duration", "coalesce(c.duration, -1)");
pub(crate) const COST: (&str, &str) = ("call_by_cost", "coalesce(c.cost, -9223372036854775807)");

/// The index of a sort and its key.
pub(crate) fn of_sort(key: SortKey) -> (&'static str, &'static str) {
    match key {
        SortKey::StartTime => TIME,
        SortKey::CreatedAt => CREATED,
        SortKey::UpdatedAt => UPDATED,
        SortKey::Duration => DURATION,
        SortKey::CallCost => COST,
    }
}

/// What the index has for a record without a cost; less than any that there is.
pub(crate) const NO_COST: i64 = -i64::MAX;

/// A filter, ready to become SQL.
pub(crate) struct Predicate {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) time: Range,
    /// Ranges of other numbers than the time.
    pub(crate) ranges: Vec<Range>,
}

impl Predicate {
    pub(crate) fn new(workspace: &WorkspaceId, filter: &CallFilter) -> Self {
        let terms = Terms::new(workspace);
        let mut conditions = Vec::new();
        let sets = [
            ("agentId", "c.agent_id", &filter.agent_id),
            ("callFlowId", "c.call_flow_id", &filter.call_flow_id),
            ("batchId", "c.batch_id", &filter.batch_id),
            ("status", "c.status", &filter.status),
            ("direction", "c.direction", &filter.direction),
            ("callType", "c.call_type", &filter.call_type),
        ];
        for (name, column, set) in sets {
            conditions.extend(set.as_ref().map(|set| one_of(&terms, &[(name, column)], set)));
        }
        let (from, to) = (("fromPhoneNumber", "c.from_phone_number"), ("toPhoneNumber", "c.to_phone_number"));
        let sides: [(&[(&str, &'static str)], _); 3] = [
            (&[from], &filter.from_phone_number),
            (&[to], &filter.to_phone_number),
            (&[from, to], &filter.phone_number),
        ];
        for (sides, set) in sides {
            conditions.extend(set.as_ref().map(|set| one_of(&terms, sides, set)));
        }
        conditions.extend(filter.call_ids.as_deref().map(|ids| call_ids(&terms, ids)));
        for (path, value) in &filter.metadata {
            let readings = Scalar::readings(value);
            let any = readings.iter().map(|value| terms.scalar("metadata", path, value)).collect();
            let terms = TermTest { negated: false, choice: Choice::Any(any) };
            conditions.push(Condition::Terms { terms, body: None });
        }
        conditions.extend(filter.post_analysis.iter().map(|condition| analysis(&terms, condition)));
        conditions.extend(filter.search.iter().flat_map(|text| words(text)).map(|word| search(&terms, word)));
        let nanos = |time: &Option<Timestamp>| time.as_ref().map(Timestamp::unix_nanos);
        let range = |(index, key), low, high| Range { index, key, low, high };
        let above = |number: i64| number.saturating_add(1);
        let mut ranges = vec![
            range(UPDATED, nanos(&filter.updated_after), nanos(&filter.updated_before)),
            range(
                DURATION,
                // A record without a length is in no range of lengths.
                filter.min_duration.as_ref().map(|least| least.nanos()).or(filter.max_duration.as_ref().map(|_| 0)),
                filter.max_duration.as_ref().map(|most| above(most.nanos())),
            ),
            range(
                COST,
                filter.min_cost.as_ref().map(|least| least.nanos()).or(filter.max_cost.as_ref().map(|_| NO_COST + 1)),
                filter.max_cost.as_ref().map(|most| above(most.nanos())),
            ),
        ];
        ranges.retain(|range| range.low.is_some() || range.high.is_some());
        let time = range(TIME, nanos(&filter.started_after), nanos(&filter.started_before));
        Self { conditions, time, ranges }
    }

    /// Terms that the ranges imply. They only help other terms: alone, the ranges do better.
    pub(crate) fn implied(&self, workspace: &WorkspaceId) -> Vec<Term> {
        let terms = Terms::new(workspace);
        let implied = [(DURATION.0, terms::DURATION), (COST.0, terms::COST)].into_iter();
        let implied = implied.filter(|(index, _)| self.ranges.iter().any(|range| range.index == *index));
        implied.map(|(_, name)| terms.present(name)).collect()
    }

    pub(crate) fn every_range(&self) -> impl Iterator<Item = &Range> {
        self.ranges.iter().chain([&self.time])
    }
}

fn one_of(terms: &Terms, columns: &[(&str, &'static str)], set: &OneOf) -> Condition {
    let (mut any, mut exact) = (Vec::new(), true);
    for (name, _) in columns {
        any.extend(set.values.iter().map(|pattern| match pattern {
            TextPattern::Exact(text) => terms.term(name, text),
            TextPattern::Prefix(start) if start.is_empty() => terms.present(name),
            TextPattern::Prefix(start) => {
                let end = start.char_indices().nth(PREFIX_CHARS).map_or(start.len(), |(end, _)| end);
                exact &= end == start.len();
                terms.prefix(name, &start[..end])
            }
        }));
    }
    let test = match set.values.as_slice() {
        // A term of its own: to exclude all that have the member would mean to go through them.
        [TextPattern::Prefix(start)] if set.negated && start.is_empty() => {
            let absent = columns.iter().map(|(name, _)| terms.absent(name)).collect();
            TermTest { negated: false, choice: Choice::All(absent) }
        }
        _ => TermTest { negated: set.negated, choice: Choice::Any(any) },
    };
    let columns = ColumnTest::OneOf { columns: columns.iter().map(|(_, column)| *column).collect(), set: set.clone() };
    // To exclude by a term that lets too much through would exclude too much.
    if set.negated && !exact {
        return Condition::Columns(columns);
    }
    Condition::Either { terms: test, exact, columns }
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
        // One list, because an expression of a thousand terms is deeper than SQLite takes.
        let begins =
            |table: &String| format!("EXISTS (SELECT 1 FROM {table} WHERE substr({column}, 1, length(value)) = value)");
        parts.extend(starts.as_ref().map(begins));
    }
    // A comparison with NULL is NULL, which a negation must take for false.
    let any = parts.iter().map(|part| format!("coalesce({part}, FALSE)")).collect::<Vec<_>>().join(" OR ");
    if set.negated { format!("NOT ({any})") } else { format!("({any})") }
}

fn call_ids(terms: &Terms, ids: &[String]) -> Condition {
    let any = ids.iter().map(|id| terms.term("callIds", id)).collect();
    let terms = TermTest { negated: false, choice: Choice::Any(any) };
    Condition::Either { terms, exact: true, columns: ColumnTest::Ids(ids.to_vec()) }
}

fn analysis(terms: &Terms, condition: &AnalysisClause) -> Condition {
    let member = &condition.member;
    let equals = |value| terms.scalar("analyzedData", member, value);
    let exists = || vec![terms.exists("analyzedData", member)];
    let (negated, any, exact) = match &condition.test {
        AnalysisOperator::In(choices) => (false, choices.iter().map(equals).collect(), true),
        AnalysisOperator::Not(value) => (true, vec![equals(value)], true),
        AnalysisOperator::Exists(expected) => (!expected, exists(), true),
        AnalysisOperator::Greater(..) | AnalysisOperator::Less(..) => (false, exists(), false),
    };
    let body = (!exact).then(|| BodyTest::Analysis(condition.clone()));
    Condition::Terms { terms: TermTest { negated, choice: Choice::Any(any) }, body }
}

fn search(terms: &Terms, word: String) -> Condition {
    let all = |all| TermTest { negated: false, choice: Choice::All(all) };
    if !is_fragment(&word) {
        return Condition::Terms { terms: all(vec![terms.word(&word)]), body: None };
    }
    let fragments = all(terms.covering_fragments(&word).collect());
    let longer = word.len() > FRAGMENT_DIGITS;
    Condition::Terms { terms: fragments, body: longer.then_some(BodyTest::Digits(word)) }
}
