//! Follows the change feed until Ctrl-C, over restarts of the service and of this program.

use callhistory_client::ClientBuilder;

const CURSOR: &str = "callhistory.cursor";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = ClientBuilder::from_env().build()?;
    let cursor = std::fs::read_to_string(CURSOR).ok();
    let changes = client.follow_changes(cursor).on_outage(|error| eprintln!("waiting: {error}"));
    let mut changes = changes.stop_on(async { drop(tokio::signal::ctrl_c().await) });
    while let Some(page) = changes.try_next().await? {
        for change in &page.changes {
            println!("{} {}", change.kind, change.id);
        }
        std::fs::write(CURSOR, &page.cursor)?;
    }
    Ok(())
}
