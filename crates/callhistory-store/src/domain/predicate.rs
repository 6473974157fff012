//! The predicate of a filter: clauses and ranges, each by how an index can answer it.

use callhistory_model::{
    Amount, AnalysisClause, AnalysisOperator, CallFilter, CallRecord, MetadataTest, OneOf, Scalar, Seconds, SortKey,
    TextPattern, Timestamp, WorkspaceId, visit_members,
};

use super::index_texts::{compared, compared_prefix};
use super::phone_number::NumberingPlan;
use super::search_terms::{self as terms, OUTCOME, PREFIX_CHARS, Term, Terms};
use super::search_text::{IndexedText, ParsedSearch};

/// One clause of a filter, by how an index can answer it.
pub(crate) enum FilterClause {
    /// By terms or by columns. Terms that are not exact match too much.
    Either { terms: TermTest, exact: bool, columns: ColumnTest },
    /// By terms, and if those match too much also by the body.
    Terms { terms: TermTest, body: Option<BodyTest> },
    /// Only by columns.
    Columns(ColumnTest),
}

/// The presence, or absence, of terms.
pub(crate) struct TermTest {
    pub(crate) negated: bool,
    pub(crate) choice: Choice,
}

/// Any or all of several terms.
pub(crate) enum Choice {
    Any(Vec<Term>),
    All(Vec<Term>),
}

/// A test that columns answer.
pub(crate) enum ColumnTest {
    OneOf { columns: Vec<&'static str>, set: OneOf },
    Ids(Vec<String>),
    IsAnswered(bool),
}

/// A test that reads the body.
#[derive(Clone)]
pub(crate) enum BodyTest {
    /// The text of a search, and the terms of its whole words if a record that has them all is a match.
    Search {
        text: String,
        certain: Vec<Term>,
    },
    Analysis(AnalysisClause),
}

impl BodyTest {
    /// Whether the test reads the transcript as well.
    #[cfg(feature = "postgres")]
    pub(crate) fn reads_transcript(&self) -> bool {
        matches!(self, Self::Search { .. })
    }

    /// The terms with which a record certainly passes, if there are any. They are worth a look-up where many bodies would be read.
    pub(crate) fn certain(&self) -> Option<TermTest> {
        match self {
            Self::Search { certain, .. } if !certain.is_empty() => {
                Some(TermTest { negated: false, choice: Choice::All(certain.clone()) })
            }
            _ => None,
        }
    }

    pub(crate) fn holds(&self, record: &CallRecord) -> bool {
        match self {
            Self::Search { text, .. } => ParsedSearch::parse(text).holds(record),
            Self::Analysis(clause) => {
                let mut holds = false;
                visit_members(record.analyzed_data.as_str(), &mut |path, value| {
                    let scalar = || Scalar::from_json(value);
                    holds |= path == clause.member && scalar().is_some_and(|value| clause.test.holds(&value));
                });
                holds
            }
        }
    }
}

/// A range of an indexed number.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) index: &'static str,
    pub(crate) key: &'static str,
    pub(crate) low: Option<i64>,
    /// The first value above the range.
    pub(crate) high: Option<i64>,
}

pub(crate) const TIME: (&str, &str) = ("call_by_time", "c.sort_time");
const CREATED: (&str, &str) = ("call_by_created", "c.created_at");
pub(crate) const UPDATED: (&str, &str) = ("call_by_updated", "c.updated_at");
pub(crate) const DURATION: (&str, &str) = ("call_by_duration", "coalesce(c.duration, -1)");
pub(crate) const COST: (&str, &str) = ("call_by_cost", "coalesce(c.cost, -9223372036854775807)");

/// The index of a sort key, and its expression.
pub(crate) fn sort_index(key: SortKey) -> (&'static str, &'static str) {
    match key {
        SortKey::StartTime => TIME,
        SortKey::CreatedAt => CREATED,
        SortKey::UpdatedAt => UPDATED,
        SortKey::Duration => DURATION,
        SortKey::Cost => COST,
    }
}

/// The value of a record without a cost in the index; less than any cost.
pub(crate) const NO_COST: i64 = -i64::MAX;

/// A filter, compiled to clauses and ranges.
pub(crate) struct Predicate {
    pub(crate) clauses: Vec<FilterClause>,
    pub(crate) time: Range,
    /// Ranges of numbers other than the time.
    pub(crate) ranges: Vec<Range>,
}

impl Predicate {
    pub(crate) fn new(workspace: &WorkspaceId, filter: &CallFilter, plan: NumberingPlan) -> Self {
        let terms = Terms::new(workspace);
        let mut clauses = Vec::new();
        let sets = [
            ("agentId", "c.agent_id", &filter.agent_id),
            ("callFlowId", "c.call_flow_id", &filter.call_flow_id),
            ("batchId", "c.batch_id", &filter.batch_id),
            ("status", "c.status", &filter.status),
            ("direction", "c.direction", &filter.direction),
            ("callType", "c.call_type", &filter.call_type),
            (OUTCOME, "c.outcome", &filter.outcome),
            ("currency", "c.currency", &filter.currency),
        ];
        for (name, column, set) in sets {
            clauses.extend(set.as_ref().map(|set| one_of(&terms, &[(name, column)], set, plan)));
        }
        let (from, to) = (("fromPhoneNumber", "c.from_phone_number"), ("toPhoneNumber", "c.to_phone_number"));
        let sides: [(&[(&str, &'static str)], _); 3] = [
            (&[from], &filter.from_phone_number),
            (&[to], &filter.to_phone_number),
            (&[from, to], &filter.phone_number),
        ];
        for (sides, set) in sides {
            clauses.extend(set.as_ref().map(|set| one_of(&terms, sides, set, plan)));
        }
        clauses.extend(filter.answered.map(|expected| answered(&terms, expected)));
        clauses.extend(filter.call_ids.as_deref().map(|ids| call_ids(&terms, ids)));
        clauses.extend(filter.metadata.iter().flat_map(|(path, value)| metadata(&terms, path, value)));
        clauses.extend(filter.post_analysis.iter().map(|clause| analysis(&terms, clause)));
        clauses.extend(filter.search.iter().flat_map(|text| search(&terms, text)));
        let nanos = |time: &Option<Timestamp>| time.as_ref().map(Timestamp::unix_nanos);
        let range = |(index, key), low, high| Range { index, key, low, high };
        let above = |number: i64| number.saturating_add(1);
        let duration = |seconds: &Option<Seconds>| seconds.as_ref().and_then(Seconds::nanos);
        let cost = |amount: &Option<Amount>| amount.as_ref().and_then(Amount::nanos);
        let mut ranges = vec![
            range(UPDATED, nanos(&filter.updated_after), nanos(&filter.updated_before)),
            range(
                DURATION,
                // A record without a duration matches no range of durations.
                duration(&filter.min_duration).or(filter.max_duration.as_ref().map(|_| 0)),
                duration(&filter.max_duration).map(above),
            ),
            range(
                COST,
                cost(&filter.min_cost).or(filter.max_cost.as_ref().map(|_| NO_COST + 1)),
                cost(&filter.max_cost).map(above),
            ),
        ];
        ranges.retain(|range| range.low.is_some() || range.high.is_some());
        let time = range(TIME, nanos(&filter.started_after), nanos(&filter.started_before));
        Self { clauses, time, ranges }
    }

    /// Terms that the ranges imply. They only support other terms: alone, ranges are faster.
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

fn one_of(terms: &Terms, columns: &[(&str, &'static str)], set: &OneOf, plan: NumberingPlan) -> FilterClause {
    let set = &compared_set(columns[0].0, set, plan);
    let (mut any, mut exact) = (Vec::new(), true);
    for (name, _) in columns {
        any.extend(set.values.iter().map(|pattern| match pattern {
            TextPattern::Exact(text) => terms.term(name, text),
            TextPattern::Prefix(start) if start.is_empty() && *name == OUTCOME => terms.every(),
            TextPattern::Prefix(start) if start.is_empty() => terms.present(name),
            TextPattern::Prefix(start) => {
                let end = start.char_indices().nth(PREFIX_CHARS).map_or(start.len(), |(end, _)| end);
                exact &= end == start.len();
                terms.prefix(name, &start[..end])
            }
        }));
    }
    let test = match set.values.as_slice() {
        // A term of its own: excluding all records with the member would scan them.
        [TextPattern::Prefix(start)] if set.negated && start.is_empty() => {
            let absent = columns.iter().map(|(name, _)| terms.absent(name)).collect();
            TermTest { negated: false, choice: Choice::All(absent) }
        }
        _ => TermTest { negated: set.negated, choice: Choice::Any(any) },
    };
    let columns = ColumnTest::OneOf { columns: columns.iter().map(|(_, column)| *column).collect(), set: set.clone() };
    // Excluding by a term that is not exact would exclude too much.
    if set.negated && !exact {
        return FilterClause::Columns(columns);
    }
    FilterClause::Either { terms: test, exact, columns }
}

/// The values of a set as they are compared with those of records.
fn compared_set(name: &str, set: &OneOf, plan: NumberingPlan) -> OneOf {
    let form = |pattern: &TextPattern| match pattern {
        TextPattern::Exact(text) => TextPattern::Exact(compared(name, text, plan).into_owned()),
        TextPattern::Prefix(start) => compared_prefix(start, plan),
    };
    let values: Vec<_> = set.values.iter().map(form).collect();
    match values.as_slice() {
        // An empty text is no value.
        [TextPattern::Exact(text)] if text.is_empty() => OneOf { negated: !set.negated, ..OneOf::present() },
        _ => OneOf { negated: set.negated, values },
    }
}

fn answered(terms: &Terms, expected: bool) -> FilterClause {
    let test = TermTest { negated: false, choice: Choice::Any(vec![terms.answered(expected)]) };
    FilterClause::Either { terms: test, exact: true, columns: ColumnTest::IsAnswered(expected) }
}

fn call_ids(terms: &Terms, ids: &[String]) -> FilterClause {
    // No `_id` has a blank, and a program that does not escape a plus sign sends one. A `callId` can have either.
    let forms = |id: &String| [Some(id.clone()), id.contains(' ').then(|| id.replace(' ', "+"))].into_iter().flatten();
    let ids: Vec<_> =
        ids.iter().flat_map(forms).map(|id| compared("callIds", &id, NumberingPlan::default()).into_owned()).collect();
    let any = ids.iter().map(|id| terms.term("callIds", id)).collect();
    let terms = TermTest { negated: false, choice: Choice::Any(any) };
    FilterClause::Either { terms, exact: true, columns: ColumnTest::Ids(ids) }
}

fn metadata(terms: &Terms, path: &str, value: &str) -> Vec<FilterClause> {
    let clause =
        |negated, any| FilterClause::Terms { terms: TermTest { negated, choice: Choice::Any(any) }, body: None };
    let equals =
        |values: &[Scalar]| clause(false, values.iter().map(|value| terms.scalar("metadata", path, value)).collect());
    let exists = || vec![terms.exists("metadata", path)];
    let several = || vec![terms.several("metadata", path)];
    match MetadataTest::parse(value) {
        MetadataTest::Present => vec![clause(false, exists())],
        MetadataTest::Absent => vec![clause(true, exists())],
        MetadataTest::Any(values) => vec![equals(&values)],
        MetadataTest::Only(values) => vec![equals(&values), clause(true, several())],
        MetadataTest::Several(values) if values.is_empty() => vec![clause(false, several())],
        MetadataTest::Several(values) => vec![equals(&values), clause(false, several())],
    }
}

fn analysis(terms: &Terms, clause: &AnalysisClause) -> FilterClause {
    let member = &clause.member;
    let equals = |value| terms.scalar("analyzedData", member, value);
    let exists = || vec![terms.exists("analyzedData", member)];
    let (negated, any, exact) = match &clause.test {
        AnalysisOperator::In(choices) => (false, choices.iter().map(equals).collect(), true),
        AnalysisOperator::Not(value) => (true, vec![equals(value)], true),
        AnalysisOperator::Exists(expected) => (!expected, exists(), true),
        AnalysisOperator::Greater(..) | AnalysisOperator::Less(..) => (false, exists(), false),
    };
    let body = (!exact).then(|| BodyTest::Analysis(clause.clone()));
    FilterClause::Terms { terms: TermTest { negated, choice: Choice::Any(any) }, body }
}

/// The clauses of a search: what the index must have, and a test of the body if that is not all.
fn search(terms: &Terms, text: &str) -> Vec<FilterClause> {
    let search = ParsedSearch::parse(text);
    // No record has the word without letters: a search without words finds nothing.
    let (mut all, mut any) = (Vec::new(), Vec::new());
    if search.items.is_empty() {
        all.push(terms.text(IndexedText::Word("")));
    }
    let (mut is_exact, mut certain) = (true, Some(Vec::new()));
    for item in &search.items {
        let (groups, is_own_exact) = item.groups();
        is_exact &= is_own_exact;
        if !is_own_exact {
            let word = item.certain().map(|word| terms.text(IndexedText::Word(word)));
            certain = certain.zip(word).map(|(words, word)| [words, vec![word]].concat());
        }
        for group in groups {
            match *group.as_slice() {
                [IndexedText::Digits(digits)] => all.extend(terms.covering_fragments(digits)),
                [text] => all.push(terms.text(text)),
                _ => any.push(group.iter().map(|text| terms.text(*text)).collect()),
            }
        }
    }
    let all = (!all.is_empty()).then_some(Choice::All(all));
    let mut body =
        (!is_exact).then(|| BodyTest::Search { text: text.to_owned(), certain: certain.unwrap_or_default() });
    let tests = all.into_iter().chain(any.into_iter().map(Choice::Any));
    let tests = tests.map(|choice| TermTest { negated: false, choice });
    tests.map(|terms| FilterClause::Terms { terms, body: body.take() }).collect()
}
