//! Changes a call record that others change as well: reads, writes, and starts again if another write came between.

use callhistory_client::{CallInput, CallPatch, ClientBuilder};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = ClientBuilder::from_env().build()?;
    let id = std::env::args().nth(1).unwrap_or_else(|| "1234567890abcdef".to_owned());
    let written = loop {
        let call = client.get_call(&id).await?;
        let summary = format!("{} (checked)", call.summary.as_deref().unwrap_or_default());
        let patch = CallPatch::from(CallInput { summary: Some(summary), ..CallInput::default() });
        match client.if_version(call.version()?).update_call(&id, &patch).await {
            Err(error) if error.is_precondition_failed() => continue,
            written => break written?,
        }
    };
    // The version of a write is the precondition of the next one.
    let patch = CallPatch::default().without("roomName");
    client.if_version(written.version()?).update_call(&id, &patch).await?;
    Ok(())
}
