//! From a filter to the parts of a statement, every value bound. `sqlite_read.rs` puts them together; no other place
//! assembles SQL.

use callhistory_model::{AnalysisCondition, AnalysisTest, CallFilter, OneOf, TextPattern, WorkspaceId, words};
use rusqlite::types::Value;

use crate::terms::{self, FRAGMENT_DIGITS, PREFIX_CHARS, Terms, is_fragment};

/// A billion positions for each second; see the migration.
pub(crate) const POSITIONS_PER_SECOND: i64 = 1_000_000_000;

/// A statement in the making, with the values of its parameters.
#[derive(Debug)]
pub(crate) struct Sql {
    pub(crate) values: Vec<Value>,
}

impl Sql {
    pub(crate) fn new() -> Self {
        Self { values: Vec::new() }
    }

    /// Binds a value and gives the text of its parameter.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    fn bind_texts<'a>(&mut self, texts: impl Iterator<Item = &'a str>) -> String {
        self.bind(serde_json::Value::from_iter(texts).to_string())
    }
}

/// A test that columns answer: made into SQL when a statement is built, because that numbers its parameters.
type ColumnTest = Box<dyn Fn(&mut Sql) -> String>;

/// One condition of a filter, by how it can be answered.
enum Condition {
    /// By the index of terms or by columns; the terms alone may let too much through.
    Either { terms: TermTest, exact: bool, covered: bool, columns: ColumnTest },
    /// By the index of terms, and where that lets too much through also by a look at the body.
    Terms { terms: TermTest, check: Option<ColumnTest> },
    /// By columns alone.
    Columns(ColumnTest),
}

/// Has, or has not, one of several terms; each alternative is an expression of the index.
struct TermTest {
    negated: bool,
    any: Vec<String>,
}

impl TermTest {
    fn has(term: String) -> Self {
        Self { negated: false, any: vec![quoted(&term)] }
    }
}

/// A range of one indexed number.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) index: &'static str,
    pub(crate) key: &'static str,
    low: Option<i64>,
    /// The first value above.
    high: Option<i64>,
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
pub(crate) const CREATED: (&str, &str) = ("call_by_created", "c.created_at");
pub(crate) const UPDATED: (&str, &str) = ("call_by_updated", "c.updated_at");
pub(crate) const DURATION: (&str, &str) = ("call_by_duration", "ifnull(c.duration, -1)");
pub(crate) const COST: (&str, &str) = ("call_by_cost", "ifnull(c.cost, -9223372036854775807)");

/// What the indexes have for a record without the number; less than any that there is.
pub(crate) const NO_DURATION: i64 = -1;
pub(crate) const NO_COST: i64 = -i64::MAX;

/// Whether a record has the number of a sort: those that have not are all equal, and would otherwise have to be gone
/// through to find those that have, or the other way round.
struct Presence {
    expected: bool,
    term: String,
    columns: String,
}

/// A filter, ready to become SQL.
pub(crate) struct Predicate {
    every: String,
    /// Terms that the ranges imply. They only help other terms: alone, the ranges do better.
    implied: Vec<String>,
    /// Only records that have the number of the sort, or only those that have not.
    presence: Option<Presence>,
    conditions: Vec<Condition>,
    pub(crate) time: Range,
    /// Ranges of other numbers than the time.
    pub(crate) ranges: Vec<Range>,
}

impl Predicate {
    pub(crate) fn new(workspace: &WorkspaceId, filter: &CallFilter) -> Self {
        let terms = Terms::new(workspace);
        let mut conditions = Vec::new();
        let sets = [
            ("agentId", "c.agent_id", &filter.agent_id, true),
            ("callFlowId", "c.call_flow_id", &filter.call_flow_id, true),
            ("batchId", "c.batch_id", &filter.batch_id, false),
            ("status", "c.status", &filter.status, true),
            ("direction", "c.direction", &filter.direction, true),
            ("callType", "c.call_type", &filter.call_type, true),
        ];
        for (name, column, set, covered) in sets {
            conditions.extend(set.as_ref().map(|set| one_of(&terms, &[(name, column)], set, covered)));
        }
        let (from, to) = (("fromPhoneNumber", "c.from_phone_number"), ("toPhoneNumber", "c.to_phone_number"));
        let sides: [(&[(&str, &'static str)], _); 3] = [
            (&[from], &filter.from_phone_number),
            (&[to], &filter.to_phone_number),
            (&[from, to], &filter.phone_number),
        ];
        for (sides, set) in sides {
            conditions.extend(set.as_ref().map(|set| one_of(&terms, sides, set, false)));
        }
        conditions.extend(filter.call_ids.as_deref().map(|ids| call_ids(&terms, ids)));
        for (path, value) in &filter.metadata {
            let readings = callhistory_model::Scalar::readings(value);
            let any = readings.iter().map(|value| quoted(&terms.scalar("metadata", path, value))).collect();
            conditions.push(Condition::Terms { terms: TermTest { negated: false, any }, check: None });
        }
        conditions.extend(filter.post_analysis.iter().map(|condition| analysis(&terms, condition)));
        conditions.extend(filter.search.iter().flat_map(|text| words(text)).map(|word| search(&terms, word)));
        let nanos =
            |time: &Option<callhistory_model::Timestamp>| time.as_ref().map(callhistory_model::Timestamp::unix_nanos);
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
        let implied = [(DURATION.0, terms::DURATION), (COST.0, terms::COST)].into_iter();
        let implied = implied.filter(|(index, _)| ranges.iter().any(|range| range.index == *index));
        let implied = implied.map(|(_, name)| quoted(&terms.present(name))).collect();
        let time = range(TIME, nanos(&filter.started_after), nanos(&filter.started_before));
        Self { every: terms.every(), implied, presence: None, conditions, time, ranges }
    }

    /// The same filter for records that have the number of an index, or for those that have not.
    pub(crate) fn having(workspace: &WorkspaceId, filter: &CallFilter, number: (&str, &str), expected: bool) -> Self {
        let (index, key) = number;
        let (name, absent) = if index == COST.0 { (terms::COST, NO_COST) } else { (terms::DURATION, NO_DURATION) };
        let columns = format!("{key} {} {absent}", if expected { ">" } else { "=" });
        let term = quoted(&Terms::new(workspace).present(name));
        Self { presence: Some(Presence { expected, term, columns }), ..Self::new(workspace, filter) }
    }

    /// Whether all records are equal in the number of the sort, because none has it.
    pub(crate) fn is_one_tie(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| !presence.expected)
    }

    /// Whether the index of terms narrows this filter down.
    pub(crate) fn has_terms(&self) -> bool {
        self.conditions.iter().any(|condition| !matches!(condition, Condition::Columns(_)))
    }

    /// Whether the index by time alone answers the filter.
    pub(crate) fn is_covered(&self) -> bool {
        let covered = |condition: &Condition| matches!(condition, Condition::Either { covered: true, .. });
        self.conditions.iter().all(covered) && self.ranges.iter().all(|range| range.index != UPDATED.0)
    }

    /// The expression of the index of terms.
    pub(crate) fn terms(&self) -> String {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for condition in &self.conditions {
            let (Condition::Either { terms, .. } | Condition::Terms { terms, .. }) = condition else { continue };
            let any = format!("({})", terms.any.join(" OR "));
            if terms.negated { without.push(any) } else { with.push(any) }
        }
        with.extend(self.implied.iter().cloned());
        if let Some(presence) = &self.presence {
            if presence.expected { with.push(presence.term.clone()) } else { without.push(presence.term.clone()) }
        }
        self.expression(with, &without)
    }

    fn expression(&self, mut with: Vec<String>, without: &[String]) -> String {
        if with.is_empty() {
            with.push(quoted(&self.every));
        }
        let with = with.join(" AND ");
        if without.is_empty() { with } else { format!("({with}) NOT ({})", without.join(" OR ")) }
    }

    /// What is left to check where the index of terms gives the records. `c` is the table of calls.
    pub(crate) fn after_terms(&self, sql: &mut Sql) -> Vec<String> {
        let mut parts: Vec<_> = self
            .conditions
            .iter()
            .filter_map(|condition| match condition {
                Condition::Either { exact: true, .. } | Condition::Terms { check: None, .. } => None,
                Condition::Either { columns: test, .. }
                | Condition::Terms { check: Some(test), .. }
                | Condition::Columns(test) => Some(test(sql)),
            })
            .collect();
        parts.extend(self.all_ranges(sql));
        parts
    }

    /// The whole filter, where another index gives the records.
    pub(crate) fn without_terms(&self, sql: &mut Sql) -> Vec<String> {
        let (mut parts, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for condition in &self.conditions {
            match condition {
                Condition::Either { columns, .. } | Condition::Columns(columns) => parts.push(columns(sql)),
                Condition::Terms { terms, check } => {
                    let any = format!("({})", terms.any.join(" OR "));
                    if terms.negated {
                        without.push(any)
                    } else {
                        with.push(any)
                    }
                    parts.extend(check.as_ref().map(|check| check(sql)));
                }
            }
        }
        if !with.is_empty() || !without.is_empty() {
            let expression = self.expression(with, &without);
            let expression = sql.bind(expression);
            parts.push(format!("c.position IN (SELECT rowid FROM call_term WHERE call_term MATCH {expression})"));
        }
        parts.extend(self.all_ranges(sql));
        parts.extend(self.presence.as_ref().map(|presence| presence.columns.clone()));
        parts
    }

    fn all_ranges(&self, sql: &mut Sql) -> Vec<String> {
        self.ranges.iter().chain([&self.time]).filter_map(|range| range.sql(sql)).collect()
    }

    /// The positions that the range of time allows.
    pub(crate) fn positions(&self) -> (i64, i64) {
        let low = self.time.low.map_or(0, first_position);
        let high = self.time.high.map_or(i64::MAX, last_position);
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

/// A term as a string of the index's grammar. It has hexadecimal digits alone.
fn quoted(term: &str) -> String {
    format!("\"{term}\"")
}

fn one_of(terms: &Terms, columns: &[(&str, &'static str)], set: &OneOf, covered: bool) -> Condition {
    let (mut any, mut exact) = (Vec::new(), true);
    for (name, _) in columns {
        any.extend(set.values.iter().map(|pattern| match pattern {
            TextPattern::Exact(text) => quoted(&terms.term(name, text)),
            TextPattern::Prefix(start) if start.is_empty() => quoted(&terms.present(name)),
            TextPattern::Prefix(start) => {
                let end = start.char_indices().nth(PREFIX_CHARS).map_or(start.len(), |(end, _)| end);
                exact &= end == start.len();
                quoted(&terms.prefix(name, &start[..end]))
            }
        }));
    }
    let test = match set.values.as_slice() {
        // A term of its own: to exclude all that have the member would mean to go through them.
        [TextPattern::Prefix(start)] if set.negated && start.is_empty() => {
            let absent: Vec<_> = columns.iter().map(|(name, _)| quoted(&terms.absent(name))).collect();
            TermTest { negated: false, any: vec![format!("({})", absent.join(" AND "))] }
        }
        _ => TermTest { negated: set.negated, any },
    };
    // To exclude by a term that lets too much through would exclude too much.
    let columns = columns_test(columns.iter().map(|(_, column)| *column).collect(), set.clone());
    if set.negated && !exact {
        return Condition::Columns(columns);
    }
    Condition::Either { terms: test, exact, covered, columns }
}

fn columns_test(columns: Vec<&'static str>, set: OneOf) -> ColumnTest {
    Box::new(move |sql| {
        let exact = set.values.iter().filter_map(|pattern| match pattern {
            TextPattern::Exact(text) => Some(text.as_str()),
            TextPattern::Prefix(_) => None,
        });
        let exact: Vec<_> = exact.collect();
        let listed = (!exact.is_empty()).then(|| sql.bind_texts(exact.into_iter()));
        let mut parts = Vec::new();
        for column in &columns {
            parts.extend(listed.as_ref().map(|list| format!("{column} IN (SELECT value FROM json_each({list}))")));
        }
        let starts = set.values.iter().filter_map(|pattern| match pattern {
            TextPattern::Prefix(start) => Some(start.as_str()),
            TextPattern::Exact(_) => None,
        });
        let starts: Vec<_> = starts.collect();
        let starts = (!starts.is_empty()).then(|| sql.bind_texts(starts.into_iter()));
        for column in &columns {
            // One list, because an expression of a thousand terms is deeper than SQLite takes.
            let begins = |list: &String| {
                format!("EXISTS (SELECT 1 FROM json_each({list}) WHERE substr({column}, 1, length(value)) = value)")
            };
            parts.extend(starts.as_ref().map(begins));
        }
        // A comparison with NULL is NULL, which a negation must take for false.
        let any = parts.iter().map(|part| format!("ifnull({part}, 0)")).collect::<Vec<_>>().join(" OR ");
        if set.negated { format!("NOT ({any})") } else { format!("({any})") }
    })
}

fn call_ids(terms: &Terms, ids: &[String]) -> Condition {
    let any = ids.iter().map(|id| quoted(&terms.term("callIds", id))).collect();
    let ids = ids.to_vec();
    let columns: ColumnTest = Box::new(move |sql| {
        let list = sql.bind_texts(ids.iter().map(String::as_str));
        let list = format!("(SELECT value FROM json_each({list}))");
        format!("(c.id IN {list} OR ifnull(c.call_id IN {list}, 0))")
    });
    Condition::Either { terms: TermTest { negated: false, any }, exact: true, covered: false, columns }
}

fn analysis(terms: &Terms, condition: &AnalysisCondition) -> Condition {
    let member = &condition.member;
    let equals = |value| quoted(&terms.scalar("analyzedData", member, value));
    let (negated, any, exact) = match &condition.test {
        AnalysisTest::In(choices) => (false, choices.iter().map(equals).collect(), true),
        AnalysisTest::Not(value) => (true, vec![equals(value)], true),
        AnalysisTest::Exists(expected) => (!expected, vec![quoted(&terms.exists("analyzedData", member))], true),
        AnalysisTest::Greater(..) | AnalysisTest::Less(..) => {
            (false, vec![quoted(&terms.exists("analyzedData", member))], false)
        }
    };
    let condition = AnalysisCondition::to_json(std::slice::from_ref(condition));
    let check: ColumnTest = Box::new(move |sql| format!("call_analysis(c.body, {})", sql.bind(condition.clone())));
    Condition::Terms { terms: TermTest { negated, any }, check: (!exact).then_some(check) }
}

fn search(terms: &Terms, word: String) -> Condition {
    if !is_fragment(&word) {
        return Condition::Terms { terms: TermTest::has(terms.word(&word)), check: None };
    }
    let fragments: Vec<_> = terms.fragments(&word).map(|term| quoted(&term)).collect();
    let terms = TermTest { negated: false, any: vec![format!("({})", fragments.join(" AND "))] };
    let longer = word.len() > FRAGMENT_DIGITS;
    let check: ColumnTest = Box::new(move |sql| format!("call_digits(c.body, {})", sql.bind(word.clone())));
    Condition::Terms { terms, check: longer.then_some(check) }
}
