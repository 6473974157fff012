//! Exports the calls of an agent to a CSV file.

use callhistory_client::{CallFilter, ClientBuilder, ExportFormat, ExportQuery};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = ClientBuilder::from_env().build()?;
    let filter = CallFilter::new().agent_id("abcdef1234567890");
    let query = ExportQuery::new().filter(filter).format(ExportFormat::Csv);
    let mut file = tokio::fs::File::create("calls.csv").await?;
    let bytes = client.export_file(&query).await?.write_to(&mut file).await?;
    println!("{bytes} bytes");
    Ok(())
}
