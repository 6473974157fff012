//! Lists the failed and busy calls of this year, newest first, with some of their members.

use callhistory_client::{CallFilter, ClientBuilder, ListQuery, OneOf};

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    #[serde(rename = "_id")]
    id: String,
    summary: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = ClientBuilder::from_env().build()?;
    let filter = CallFilter {
        status: Some(OneOf::any(["failed", "busy"])),
        started_after: Some("2026-01-01T00:00:00Z".parse()?),
        ..CallFilter::default()
    };
    let fields = vec!["_id".to_owned(), "summary".to_owned()];
    let mut calls = client.stream_calls_as::<Summary>(ListQuery { filter, fields, ..ListQuery::default() });
    while let Some(call) = calls.try_next().await? {
        println!("{}: {}", call.id, call.summary.as_deref().unwrap_or("-"));
    }
    Ok(())
}
