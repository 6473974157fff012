//! One function per operation: the code samples of the contract. The tests of this crate compile them, run them, and compare
//! what they send and read with the examples of the contract.

use callhistory_client::{
    CallChange, CallCost, CallFilter, CallInput, CallMetrics, CallPatch, CallRecord, CallStatus, ChangesQuery, Client,
    Direction, Error, GroupKey, ImportReport, ListQuery, MetricsQuery, OneOf, Original, OriginalInfo, SearchPage,
    SearchQuery,
};

type Failure = Box<dyn std::error::Error>;

pub(crate) async fn list_calls(client: &Client) -> Result<Vec<CallRecord>, Failure> {
    let filter = CallFilter {
        status: Some(OneOf::any(["completed", "failed"])),
        started_after: Some("2023-01-01T00:00:00Z".parse()?),
        ..CallFilter::default()
    };
    let page = client.list_calls(&ListQuery { filter, limit: Some(50), ..ListQuery::default() }).await?;
    // `page.next` is the cursor of the next page; `client.stream_calls` goes through all of them.
    Ok(page.calls)
}

pub(crate) async fn search_calls(client: &Client) -> Result<SearchPage, Failure> {
    let filter = CallFilter { search: Some("customer engagement".to_owned()), ..CallFilter::default() };
    let page = client.search_calls(&SearchQuery { filter, ..SearchQuery::default() }).await?;
    for text in page.hits.iter().flat_map(|hit| &hit.evidence) {
        println!("{}: {}", text.member, text.snippet);
    }
    Ok(page)
}

pub(crate) async fn create_call(client: &Client) -> Result<CallRecord, Failure> {
    let call = CallInput {
        agent_id: Some("abcdef1234567890".to_owned()),
        direction: Some(Direction::Outbound),
        from_phone_number: Some("+10000000000".to_owned()),
        to_phone_number: Some("+10000000001".to_owned()),
        status: Some(CallStatus::Ongoing),
        start_time: Some(1_680_000_000.try_into()?),
        ..CallInput::default()
    };
    Ok(client.create_call(&call).await?.call)
}

pub(crate) async fn import_calls(client: &Client) -> Result<ImportReport, Failure> {
    let calls = [
        CallInput { id: Some("call-1".parse()?), status: Some(CallStatus::Completed), ..CallInput::default() },
        CallInput { id: Some("call-2".parse()?), status: Some(CallStatus::Busy), ..CallInput::default() },
    ];
    let report = client.import_calls(calls).await?;
    for error in &report.errors {
        eprintln!("record {}: {}", error.line, error.detail);
    }
    Ok(report)
}

pub(crate) async fn list_call_changes(client: &Client) -> Result<Vec<CallChange>, Failure> {
    let page = client.list_call_changes(&ChangesQuery { limit: Some(100), ..ChangesQuery::default() }).await?;
    // Keep `page.cursor` and go on there; `client.follow_changes` does, and waits for what is new.
    Ok(page.changes)
}

pub(crate) async fn export_calls(client: &Client) -> Result<Vec<CallRecord>, Failure> {
    let filter = CallFilter { agent_id: Some(OneOf::any(["abcdef1234567890"])), ..CallFilter::default() };
    let calls = client.export_calls(filter).await?;
    // A history of any size: take the records one by one with `calls.try_next()` instead of collecting them.
    Ok(calls.collect().await?)
}

pub(crate) async fn get_call_metrics(client: &Client) -> Result<CallMetrics, Failure> {
    let status = Some(OneOf::any(["completed", "failed"]));
    let filter = CallFilter { status, time_zone: Some("Europe/Berlin".parse()?), ..CallFilter::default() };
    let query = MetricsQuery { filter, group_by: vec![GroupKey::Day], fill: false };
    Ok(client.get_call_metrics(&query).await?)
}

pub(crate) async fn get_call(client: &Client) -> Result<Option<CallRecord>, Error> {
    match client.get_call("1234567890abcdef").await {
        Ok(call) => Ok(Some(call.call)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) async fn replace_call(client: &Client) -> Result<CallRecord, Failure> {
    let call = CallInput {
        agent_id: Some("abcdef1234567890".to_owned()),
        status: Some(CallStatus::Completed),
        start_time: Some(1_680_000_000.try_into()?),
        end_time: Some(1_680_000_300.try_into()?),
        cost: Some(CallCost::new([("customer_charge", "0.10".parse()?)])?),
        summary: Some("Generic conversation summary about customer engagement.".to_owned()),
        ..CallInput::default()
    };
    Ok(client.replace_call("1234567890abcdef", &call).await?.call)
}

pub(crate) async fn update_call(client: &Client) -> Result<CallRecord, Failure> {
    let metadata = Some(r#"{"ticket":"A-1009"}"#.parse()?);
    let patch = CallPatch::from(CallInput { metadata, ..CallInput::default() }).without("roomName");
    Ok(client.update_call("1234567890abcdef", &patch).await?.call)
}

pub(crate) async fn delete_call(client: &Client) -> Result<(), Error> {
    client.delete_call("1234567890abcdef").await
}

pub(crate) async fn list_originals(client: &Client) -> Result<Vec<OriginalInfo>, Error> {
    client.list_originals("1234567890abcdef").await
}

pub(crate) async fn get_original(client: &Client) -> Result<Original, Error> {
    client.get_original("1234567890abcdef", 1).await
}
