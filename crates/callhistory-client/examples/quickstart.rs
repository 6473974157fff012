//! Writes one call record and reads it back.

use callhistory_client::{CallCost, CallInput, CallStatus, Client};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
    let client = Client::builder(&url).workspace("abcdef1234567890").build()?;

    let input = CallInput {
        status: Some(CallStatus::Completed),
        start_time: Some(1_680_000_000.try_into()?),
        end_time: Some(1_680_000_300.try_into()?),
        cost: Some(CallCost::new([("customer_charge", "0.10".parse()?)])?),
        summary: Some("The caller asked about an order.".to_owned()),
        ..CallInput::default()
    };
    client.replace_call("1234567890abcdef", &input).await?;

    let call = client.get_call("1234567890abcdef").await?;
    let status = call.status.as_ref().map_or("unknown", CallStatus::as_str);
    let charge = call.cost.as_ref().and_then(CallCost::customer_charge).map_or("nothing", |amount| amount.as_str());
    println!("{}: {status}, charged {charge}", call.id);
    Ok(())
}
