//! Exports the calls of an agent to a CSV file.

use callhistory_client::{CallFilter, ClientBuilder, ExportFormat, ExportQuery, OneOf};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = ClientBuilder::from_env().build()?;
    let filter = CallFilter { agent_id: Some(OneOf::any(["abcdef1234567890"])), ..CallFilter::default() };
    let query = ExportQuery { format: ExportFormat::Csv, ..ExportQuery::from(filter) };
    let mut file = tokio::fs::File::create("calls.csv").await?;
    let bytes = client.export_file(&query).await?.write_to(&mut file).await?;
    println!("{bytes} bytes");
    Ok(())
}
