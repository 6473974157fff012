//! Query strings: what they mean, and that a query which is written and parsed is the same query.

use callhistory_model::{
    CallFilter, CallOutcome, ChangesQuery, ExportQuery, ImportQuery, ListQuery, MetadataValue, MetricsQuery, OneOf,
    TextPattern, Timestamp, UpdateQuery,
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};

/// A query of these parameters, all with one value.
fn with_value(lists: &[&[&str]], value: &str) -> String {
    lists.concat().iter().map(|name| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[test]
fn a_blank_parameter_is_not_given() {
    for blank in ["", "+", "%20%20", "%09+"] {
        let filters = [CallFilter::PARAMETERS, &["metadata.x", "metadata[y]"]].concat();
        let list = with_value(&[ListQuery::PARAMETERS, &filters], blank);
        assert_eq!(ListQuery::from_query(&list), Ok(ListQuery::default()), "{list}");
        let metrics = with_value(&[MetricsQuery::PARAMETERS, &filters], blank);
        assert_eq!(MetricsQuery::from_query(&metrics), Ok(MetricsQuery::default()), "{metrics}");
        let export = with_value(&[ExportQuery::PARAMETERS, &filters], blank);
        assert_eq!(ExportQuery::from_query(&export), Ok(ExportQuery::default()), "{export}");
        let changes = with_value(&[ChangesQuery::PARAMETERS], blank);
        assert_eq!(ChangesQuery::from_query(&changes), Ok(ChangesQuery::default()), "{changes}");
        let update = with_value(&[UpdateQuery::PARAMETERS], blank);
        assert_eq!(UpdateQuery::from_query(&update), Ok(UpdateQuery::default()), "{update}");
        let import = with_value(&[ImportQuery::PARAMETERS], blank);
        assert_eq!(ImportQuery::from_query(&import), Ok(ImportQuery::default()), "{import}");
        for unknown in ["agent", "metadata.", "metadata[]", "metadatax"] {
            assert!(ListQuery::from_query(&format!("{unknown}={blank}")).is_err(), "an unknown parameter is an error");
        }
        for changes in ["metadata.x", "metadata[x]", "metadata"] {
            assert!(ChangesQuery::from_query(&format!("{changes}={blank}")).is_err(), "it has no such filter");
        }
    }
    // The value that counts is the other one.
    let list = ListQuery::from_query("agentId=&agentId=a&status=").unwrap();
    assert_eq!(list.filter, CallFilter::new().agent_id("a"));
}

#[test]
fn a_member_of_metadata_is_named_in_brackets_or_after_a_dot() {
    let of = |query: &str| ListQuery::from_query(query).map(|list| list.filter.metadata);
    let ticket = vec![("ticket".to_owned(), "A-1".to_owned())];
    for query in ["metadata.ticket=A-1", "metadata[ticket]=A-1", "metadata%5Bticket%5D=A-1", "metadata%5bticket]=A-1"] {
        assert_eq!(of(query), Ok(ticket.clone()), "{query}");
        let written = ListQuery::from_query(query).unwrap().to_query();
        assert_eq!(written, "metadata.ticket=A-1", "queries that the service writes have one form");
        assert!(MetricsQuery::from_query(query).is_ok() && ExportQuery::from_query(query).is_ok());
    }
    assert_eq!(of("metadata[a.b]=1"), of("metadata.a.b=1"));
    // A name may itself have brackets.
    assert_eq!(of("metadata[a[0]]=1"), Ok(vec![("a[0]".to_owned(), "1".to_owned())]));
    for (query, name, detail) in [
        ("metadata=1", "metadata", "has no member name"),
        ("metadata[]=1", "metadata[]", "has no member name"),
        ("metadata%5B%5D=1", "metadata[]", "has no member name"),
        ("metadata.=1", "metadata.", "has no member name"),
        ("metadata[a][b]=1", "metadata[a][b]", "write metadata[A.B]"),
        ("metadata[a=1", "metadata[a", "is unknown"),
        ("metadata.a=1&metadata[a]=2", "metadata[a]", "occurs more than once"),
        ("metadata[a]=%00", "metadata[a]", "contains the character U+0000"),
    ] {
        let error = of(query).unwrap_err().0.remove(0);
        assert_eq!(error.parameter.as_deref(), Some(name), "{query}");
        assert!(error.detail.contains(detail), "{query}: {}", error.detail);
    }
    let many = |count: usize| (0..count).map(|at| format!("metadata[m{at}]=1")).collect::<Vec<_>>().join("&");
    assert_eq!(of(&many(CallFilter::MAX_METADATA)).unwrap().len(), 16);
    assert!(of(&many(CallFilter::MAX_METADATA + 1)).is_err());
}

#[test]
fn a_blank_value_can_be_asked_for() {
    let filter = ListQuery::from_query("metadata.x=%22%22&agentId=!*").unwrap().filter;
    assert_eq!(filter, CallFilter::new().metadata("x", "").agent_id(OneOf::absent()));
    assert_eq!(ListQuery::from_query(&filter.to_query()).unwrap().filter, filter);
    // An empty text is no value, so a program that sends one does not get every call.
    let nobody = CallFilter::new().agent_id("");
    assert_eq!(nobody.to_query(), "agentId=!*");
}

/// A text with the characters that mean something in a query string, a set or JSON.
fn any_text() -> impl Strategy<Value = String> {
    r#"[a-cA-C0-9 ,!*\\+&=%#;@._"'\[{é東-]{1,12}"#.prop_filter("blank", |text: &String| !text.trim().is_empty())
}

fn any_set(is_enum: bool) -> impl Strategy<Value = Option<OneOf>> {
    let has_letters = move |text: &String| !is_enum || text.contains(char::is_alphanumeric);
    let values = vec(any_text().prop_filter("no letters", has_letters).prop_map(TextPattern::Exact), 1..4);
    let any_value = Just(vec![TextPattern::Prefix(String::new())]);
    let set = (any::<bool>(), prop_oneof![4 => values, 1 => any_value]);
    option::of(set.prop_map(|(negated, values)| OneOf { negated, values }))
}

fn any_phone_set() -> impl Strategy<Value = Option<OneOf>> {
    let pattern = (any::<bool>(), any_text()).prop_map(|(is_prefix, text)| match is_prefix {
        true => TextPattern::Prefix(text),
        false => TextPattern::Exact(text),
    });
    option::of((any::<bool>(), vec(pattern, 1..4)).prop_map(|(negated, values)| OneOf { negated, values }))
}

fn any_outcomes() -> impl Strategy<Value = Option<OneOf>> {
    let outcomes = vec(select(CallOutcome::KNOWN), 1..4);
    option::of((any::<bool>(), outcomes).prop_map(|(negated, names)| OneOf { negated, ..OneOf::any(names) }))
}

fn any_currencies() -> impl Strategy<Value = Option<OneOf>> {
    let codes = vec("[A-Za-z]{3}", 1..4).prop_map(OneOf::any);
    let set = (any::<bool>(), prop_oneof![4 => codes, 1 => Just(OneOf::present())]);
    option::of(set.prop_map(|(negated, set)| OneOf { negated, ..set }))
}

fn any_time_range() -> impl Strategy<Value = (Option<Timestamp>, Option<Timestamp>)> {
    let time = |from: i64| (from..from + 4_000_000_000_000_000_000).prop_map(Timestamp::from_unix_nanos);
    (option::of(time(0)), option::of(time(4_000_000_000_000_000_001)))
}

prop_compose! {
    fn any_filter()(
        (agent_id, call_flow_id, batch_id) in (any_set(false), any_set(false), any_set(false)),
        (status, direction, call_type) in (any_set(true), any_set(true), any_set(true)),
        (outcome, answered, currency) in (any_outcomes(), option::of(any::<bool>()), any_currencies()),
        (from_phone_number, to_phone_number, phone_number) in (any_phone_set(), any_phone_set(), any_phone_set()),
        call_ids in option::of(vec(any_text(), 1..4)),
        ((started_after, started_before), (updated_after, updated_before)) in (any_time_range(), any_time_range()),
        metadata in btree_map("[a-z]{1,3}", prop_oneof![any_text(), Just(String::new()), Just(" ".to_owned())], 0..3),
        search in option::of("[a-z]{1,5}( [a-z+&]{1,5}){0,3}"),
        time_zone in option::of(select(vec!["Europe/Berlin", "Asia/Kolkata", "UTC"])),
    ) -> CallFilter {
        let mut filter = CallFilter::new();
        filter.agent_id = agent_id;
        filter.call_flow_id = call_flow_id;
        filter.batch_id = batch_id;
        filter.status = status;
        filter.direction = direction;
        filter.call_type = call_type;
        filter.outcome = outcome;
        filter.answered = answered;
        filter.currency = currency;
        filter.from_phone_number = from_phone_number;
        filter.to_phone_number = to_phone_number;
        filter.phone_number = phone_number;
        filter.call_ids = call_ids;
        filter.started_after = started_after;
        filter.started_before = started_before;
        filter.updated_after = updated_after;
        filter.updated_before = updated_before;
        filter.search = search;
        filter.metadata = metadata.into_iter().collect();
        filter.time_zone = time_zone.map(|zone| zone.parse().unwrap());
        filter
    }
}

proptest! {
    #[test]
    fn a_written_query_is_read_as_the_same_query(filter in any_filter(), page in option::of(1_u32..100)) {
        let mut list = ListQuery::new().filter(filter.clone()).limit(1000);
        list.page = page;
        prop_assert_eq!(ListQuery::from_query(&list.to_query()), Ok(list));
        // In any order: what a time means does not depend on the place of the zone.
        let parameters = format!("startedBefore=2027-01-01&{}&updatedAfter=2026-10-25T02:30", filter.to_query());
        let mut reversed: Vec<_> = parameters.split('&').filter(|pair| !pair.is_empty()).collect();
        reversed.reverse();
        let sorted = |query: &str| {
            let mut list = ListQuery::from_query(query).ok()?;
            list.filter.metadata.sort();
            Some(list)
        };
        prop_assert_eq!(sorted(&parameters), sorted(&reversed.join("&")));
    }
}

#[test]
fn a_local_time_is_one_of_the_zone() {
    let after = |query: &str| {
        let filter = ListQuery::from_query(query).unwrap_or_else(|errors| panic!("{query}: {errors}")).filter;
        filter.started_after.unwrap().to_string()
    };
    for (query, expected) in [
        ("startedAfter=2026-10-25", "2026-10-25T00:00:00Z"),
        ("startedAfter=2026-10-25&timezone=Europe/Berlin", "2026-10-24T22:00:00Z"),
        ("timezone=Europe/Berlin&startedAfter=2026-10-25T00:00", "2026-10-24T22:00:00Z"),
        ("timezone=Europe%2FBerlin&startedAfter=2026-10-25T00:00:00.250", "2026-10-24T22:00:00.250Z"),
        // Clocks show this time twice, and skip that one.
        ("startedAfter=2026-10-25T02:30&timezone=Europe/Berlin", "2026-10-25T00:30:00Z"),
        ("startedAfter=2026-03-29T02:30&timezone=Europe/Berlin", "2026-03-29T01:00:00Z"),
        // With a zone of their own.
        ("startedAfter=2026-10-25T00:00:00%2B0200&timezone=Asia/Tokyo", "2026-10-24T22:00:00Z"),
        ("startedAfter=2026-10-25T00:00:00+02:00", "2026-10-24T22:00:00Z"),
        ("startedAfter=2026-10-25T00:00Z&timezone=Asia/Tokyo", "2026-10-25T00:00:00Z"),
        ("startedAfter=2026-10-25t00:00:00z", "2026-10-25T00:00:00Z"),
        ("startedAfter=1767225600&timezone=Asia/Tokyo", "2026-01-01T00:00:00Z"),
    ] {
        assert_eq!(after(query), expected, "{query}");
    }
    // A day of 25 hours.
    let range = "dateRange=%7B%22from%22:%222026-10-25%22,%22to%22:%222026-10-25%22%7D&timezone=Europe/Berlin";
    let filter = ListQuery::from_query(range).unwrap().filter;
    let bounds = [filter.started_after.unwrap(), filter.started_before.unwrap()].map(|time| time.to_string());
    assert_eq!(bounds, ["2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"]);
    let refused = ListQuery::from_query("timezone=Europe/Berlim").unwrap_err();
    assert!(refused[0].detail.contains("Europe/Berlin"), "{refused}");
}

#[test]
fn an_outcome_is_one_of_the_published_ones() {
    let outcome = |value: &str| ListQuery::from_query(&format!("outcome={value}"));
    for value in ["!busy,no-answer", "!BUSY,NO_ANSWER"] {
        assert_eq!(outcome(value).unwrap().filter.outcome, Some(OneOf::none(["busy", "no-answer"])), "{value}");
    }
    for (value, detail) in [("complted", "did you mean \"completed\"?"), ("*", "is not one of"), ("busy,", "empty")] {
        let errors = outcome(value).unwrap_err();
        assert!(errors[0].detail.contains(detail), "{value}: {errors}");
    }
}

#[test]
fn a_currency_has_three_letters() {
    let currency = |value: &str| ListQuery::from_query(&format!("currency={value}"));
    assert_eq!(currency("!usd,EUR").unwrap().filter.currency, Some(OneOf::none(["usd", "EUR"])));
    assert_eq!(currency("!*").unwrap().filter.currency, Some(OneOf::absent()));
    for (value, detail) in [("EU", "three letters"), ("USD,", "empty"), ("US*", "prefix"), ("US$", "three letters")] {
        let errors = currency(value).unwrap_err();
        assert!(errors[0].detail.contains(detail), "{value}: {errors}");
    }
    let answered = |value: &str| ListQuery::from_query(&format!("answered={value}"));
    assert_eq!(answered("false").unwrap().filter.answered, Some(false));
    assert!(answered("yes").unwrap_err()[0].detail.contains("true, false"));
}

#[test]
fn a_blank_member_of_metadata_is_not_given() {
    let list = ListQuery::from_query("metadata.a=1&metadata.a=&metadata.b=+").unwrap();
    assert_eq!(list.filter.metadata, [("a".to_owned(), "1".to_owned())]);
    assert!(ListQuery::from_query("metadata.=").is_err());
}

/// The query of a group finds no call that the filter of the metrics excludes.
#[test]
fn a_group_within_a_filter_of_texts_is_a_text() {
    let seven = MetadataValue::at(r#"{"k":"7"}"#, "k").unwrap();
    for (within, expected) in [(None, "=7"), (Some("7"), "=7"), (Some(r"\7"), r"=\7"), (Some(r"=\7"), r"=\7")] {
        assert_eq!(seven.to_parameter(within), expected, "{within:?}");
    }
}
