//! Creates one call record for a job, however often the job is run.

use std::time::Duration;

use callhistory_client::{CallInput, CallStatus, ClientBuilder, Direction};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = ClientBuilder::from_env().user_agent_suffix("example/1.0").build()?;
    let input = CallInput {
        direction: Some(Direction::Inbound),
        status: Some(CallStatus::Completed),
        metadata: Some(r#"{"ticket":"A-1009"}"#.parse()?),
        ..CallInput::default()
    };
    let job = client.with(|options| options.idempotency_key("job-42").timeout(Duration::from_secs(60)));
    let created = job.create_call(&input).await?;
    println!("{} has version {}", created.id, created.version()?);
    Ok(())
}
