//! The queries of lists, searches, metrics and the change feed: an accepted query is written as an equal query.
#![no_main]

use callhistory_model::{ChangesQuery, ListQuery, MetricsQuery, SearchQuery};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|query: &str| {
    if let Ok(list) = ListQuery::from_query(query) {
        assert_eq!(ListQuery::from_query(&list.to_query()).expect("a written query is accepted"), list);
    }
    if let Ok(search) = SearchQuery::from_query(query) {
        assert_eq!(SearchQuery::from_query(&search.to_query()).expect("a written query is accepted"), search);
    }
    if let Ok(metrics) = MetricsQuery::from_query(query) {
        assert_eq!(MetricsQuery::from_query(&metrics.to_query()).expect("a written query is accepted"), metrics);
    }
    if let Ok(changes) = ChangesQuery::from_query(query) {
        assert_eq!(ChangesQuery::from_query(&changes.to_query()).expect("a written query is accepted"), changes);
    }
});
