//! Query strings: what they mean, and that a query which is written and parsed is the same query.

use callhistory_model::{
    CallFilter, ChangesQuery, ExportQuery, ImportQuery, ListQuery, MetricsQuery, OneOf, UpdateQuery,
};

/// A query of these parameters, all with one value.
fn with_value(lists: &[&[&str]], value: &str) -> String {
    lists.concat().iter().map(|name| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[test]
fn a_blank_parameter_is_not_given() {
    for blank in ["", "+", "%20%20", "%09+"] {
        let filters = [CallFilter::PARAMETERS, &["metadata.x"]].concat();
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
        assert!(ListQuery::from_query(&format!("agent={blank}")).is_err(), "an unknown parameter is an error");
    }
    // The value that counts is the other one.
    let list = ListQuery::from_query("agentId=&agentId=a&status=").unwrap();
    assert_eq!(list.filter, CallFilter { agent_id: Some("a".into()), ..CallFilter::default() });
}

#[test]
fn a_blank_value_can_be_asked_for() {
    let filter = ListQuery::from_query("metadata.x=%22%22&agentId=!*").unwrap().filter;
    let metadata = vec![("x".to_owned(), String::new())];
    assert_eq!(filter, CallFilter { metadata, agent_id: Some(OneOf::absent()), ..CallFilter::default() });
    assert_eq!(ListQuery::from_query(&filter.to_query()).unwrap().filter, filter);
    // An empty text is no value, so a program that sends one does not get every call.
    let nobody = CallFilter { agent_id: Some("".into()), ..CallFilter::default() };
    assert_eq!(nobody.to_query(), "agentId=!*");
}
