//! The conversions that a newcomer tries first.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use callhistory_model::{
    Amount, CallCost, CallFilter, CallId, CallStatus, Direction, FieldError, GroupKey, JsonArray, JsonObject,
    ListQuery, MetricsQuery, OneOf, Seconds, Sort, SortKey, Timestamp, UnixSeconds, WorkspaceId,
};
use serde_json::json;

#[test]
fn enums_are_texts_and_texts_are_enums() {
    assert_eq!(OneOf::any([CallStatus::Completed]).to_string(), "completed");
    let filter: OneOf = CallStatus::Completed.into();
    assert_eq!(CallFilter::new().status(filter), CallFilter::new().status("completed"));
    assert_eq!(ListQuery::new().direction(Direction::Inbound).to_query(), "direction=inbound");
    assert_eq!("busy".parse::<CallStatus>(), Ok(CallStatus::Busy));
    assert_eq!(CallStatus::from(String::from("busy")), CallStatus::Busy);
    assert_eq!(CallStatus::Busy, "busy");
    assert_eq!(String::from(CallStatus::Busy), "busy");
    // A text that was not read is the same value as the one that it spells.
    assert_eq!(CallStatus::Other("busy".to_owned()), CallStatus::Busy);
    let counts = BTreeMap::from([(CallStatus::Busy, 1), (CallStatus::Ongoing, 2)]);
    assert_eq!(counts.get("busy"), Some(&1));
    assert!(CallStatus::Busy < CallStatus::Ongoing);
}

#[test]
fn ids_are_texts() {
    let id = CallId::try_from(String::from("a")).unwrap();
    assert_eq!(CallId::try_from("a").unwrap(), id);
    assert!(CallId::try_from("a b").is_err());
    assert!(id == "a");
    assert!(id == *"a");
    let map: HashMap<CallId, u8> = [(id.clone(), 1)].into();
    assert_eq!(map.get("a"), Some(&1));
    // A method that takes a `&str` takes a `&CallId`.
    let get_call = |id: &str| id.len();
    assert_eq!(get_call(&id), 1);
    assert_eq!(String::from(id), "a");
    assert_eq!("w".parse::<WorkspaceId>().unwrap(), "w");
}

#[test]
fn times_convert_and_have_an_order() {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_735_725_600_500);
    let stamp = Timestamp::from(time);
    assert_eq!(stamp.as_str(), "2025-01-01T10:00:00.500Z");
    assert_eq!(SystemTime::from(&stamp), time);
    let stamps: Vec<Timestamp> =
        ["2025-01-01T10:00:00Z", "2025-01-01T11:00:00+02:00"].map(|text| text.parse().unwrap()).into();
    assert!(stamps[1] < stamps[0]);
    let start = UnixSeconds::try_from(1_680_000_000.25).unwrap();
    assert_eq!(start.as_str(), "1680000000.25");
    assert_eq!(f64::from(&start), 1_680_000_000.25);
    assert!(UnixSeconds::try_from(f64::NAN).is_err());
    assert!(UnixSeconds::try_from("9.5").unwrap() < UnixSeconds::try_from("10").unwrap());
    assert_eq!(Seconds::from(Duration::from_millis(1_500)).as_str(), "1.5");
    assert_eq!(Seconds::from(Duration::from_secs(100)).as_str(), "100");
    assert_eq!(Duration::try_from(&Seconds::try_from("1.5").unwrap()).unwrap(), Duration::from_millis(1_500));
    assert!(Duration::try_from(&Seconds::try_from("-1").unwrap()).is_err());
}

#[test]
fn numbers_are_ordered_by_value_at_any_length() {
    let sorted = ["-1e40", "-2", "-1.9999999999", "0.1", "0.10", "0.1000000001", "1e3", "1001", "1e40"];
    let amounts: Vec<Amount> = sorted.iter().map(|text| text.parse().unwrap()).collect();
    assert!(amounts.is_sorted());
    assert!(amounts.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn an_amount_is_a_binary_fraction_only_if_that_is_exact() {
    let amount = |value: f64| Amount::try_from(value).map(|amount| amount.to_string());
    assert_eq!(amount(0.25).unwrap(), "0.25");
    assert_eq!(amount(-3.0).unwrap(), "-3");
    assert_eq!(amount(100.0).unwrap(), "100");
    for inexact in [0.1, 0.10 + 0.20, f64::NAN, f64::INFINITY] {
        let FieldError { detail, .. } = amount(inexact).unwrap_err();
        assert!(detail.contains("write it as text: \""), "{detail}");
    }
    assert!(CallCost::new([("customer_charge", "0.10".parse().unwrap())]).is_ok());
}

#[test]
fn free_form_members_are_made_from_values_and_types() {
    assert_eq!(JsonObject::try_from(json!({"a": 1})).unwrap().as_str(), r#"{"a":1}"#);
    assert_eq!(JsonArray::try_from(json!([1])).unwrap().as_str(), "[1]");
    assert!(JsonObject::try_from(json!([1])).is_err());
    assert_eq!(JsonObject::from_serialize(&BTreeMap::from([("a", 1)])).unwrap().as_str(), r#"{"a":1}"#);
    assert!(JsonObject::from_serialize(&1).unwrap_err().detail.contains("an object is expected"));
    assert_eq!(JsonArray::from_serialize(&[1, 2]).unwrap().as_str(), "[1,2]");
}

#[test]
fn queries_are_made_by_setters_and_are_parameters() {
    let query = ListQuery::new().agent_id("a&b").metadata("ticket", "A-1").sort(Sort::ascending(SortKey::Cost));
    assert_eq!(ListQuery::from_query(&query.to_query()).unwrap(), query);
    let parameters = serde_json::to_value(&query).unwrap();
    assert_eq!(parameters, json!({"agentId": "a&b", "metadata.ticket": "A-1", "sort": "cost"}));
    let query = ListQuery::new().answered(true).currency(OneOf::any(["USD", "EUR"]));
    assert_eq!(query.to_query(), "answered=true&currency=USD%2CEUR");
    let metrics = MetricsQuery::new().group_by([GroupKey::Hour]).fill(true);
    assert_eq!(metrics.to_query(), "groupBy=hour&fill=true");
}
