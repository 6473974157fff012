//! Imports the lines of a file, and prints what has been written so far.

use callhistory_client::{CallInput, ClientBuilder, ImportQuery, model::FieldErrors};
use futures_util::stream;
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = ClientBuilder::from_env().build()?;
    let path = std::env::args().nth(1).unwrap_or_else(|| "calls.ndjson".to_owned());
    let lines = BufReader::new(tokio::fs::File::open(path).await?).lines();
    let calls = stream::try_unfold(lines, |mut lines| async move {
        let Some(line) = lines.next_line().await? else { return Ok(None) };
        let call = CallInput::from_json(line.as_bytes()).map_err(|error: FieldErrors| std::io::Error::other(error))?;
        Ok::<_, std::io::Error>(Some((call, lines)))
    });
    let import = client.import(ImportQuery::default());
    let import = import.on_progress(|report| println!("{} records processed", report.processed()));
    match import.stream(calls).await {
        Ok(report) => println!("{} created, {} rejected", report.created, report.rejected),
        Err(error) => println!("{error}; written before: {:?}", error.import_report()),
    }
    Ok(())
}
